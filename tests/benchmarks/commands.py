"""Whole commands, from their first to their last instant, beside the commit before.

``python -m tests.benchmarks commands odds-command``
"""

import os
import resource
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from tests.benchmarks.beside_before import HERE, Trees, in_turn

_COMMANDS = (
    ("aim 0.2 s", "--help"),
    ("aim 0.6 s", "run", "guest-512M"),
    ("aim 4 s on two quiet cores", "compare"),
)
_ODDS = ("odds", "R1", "--set", "vcpus=4", "--set", "fix=off", "--precision", "10%", "--quiet")
_START = "import sys; from experiments.cli import main; sys.exit(main())"
_REPETITIONS = 5


def usual(both: Trees) -> None:
    """Print what the commands take that people begin with."""
    for aim, *command in _COMMANDS:
        _tell(both, aim, *command, repetitions=_REPETITIONS)


def odds(both: Trees) -> None:
    """Print what it takes to know the odds of R1 on 4 vCPUs to 10 %, on two CPUs."""
    _tell(both, "aim 15 s on two quiet cores", *_ODDS, "--jobs", "2", repetitions=1)


def _tell(both: Trees, aim: str, *command: str, repetitions: int) -> None:
    """One line: the best time by the clock and of CPU in each tree, and their ratios."""
    trees = {} if both.before is None else {both.revision: both.before}
    trees["now"] = HERE
    works = {name: partial(_took, tree, *command) for name, tree in trees.items()}
    clock = in_turn(works, repetitions=repetitions)
    line = f"pinlab {' '.join(command)} ({aim}):"
    for name, taken in clock.items():
        line += f" {name} {taken.least:.2f} s by the clock, {taken.figures['cpu']:.2f} of CPU;"
    if both.before is not None:
        before, now = clock[both.revision], clock["now"]
        line += f" ratio {before.least / now.least:.2f} by the clock,"
        line += f" {before.figures['cpu'] / now.figures['cpu']:.2f} of CPU"
    print(line, flush=True)


def _took(tree: Path, *command: str) -> dict[str, float]:
    """The time of a command in this tree: by the clock as ``seconds``, and of CPU."""
    cpu, start = _cpu_of_children(), time.perf_counter()
    subprocess.run(
        [sys.executable, "-P", "-c", _START, *command],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    return {"seconds": time.perf_counter() - start, "cpu": _cpu_of_children() - cpu}


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
