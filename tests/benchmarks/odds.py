"""The odds of a race to a precision, here and in a checkout of another commit, in one run.

``python -m tests.benchmarks.odds [CHECKOUT]``; the checkout has a ``.venv`` of its own. Both answer
the same question with the same seed, so both make the same trials, and it is said if they do not.
"""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parents[2]
RACE = "R1"
QUESTION = ("--set", "vcpus=4", "--set", "fix=off", "--precision", "10%")
JOBS = 2


class Asked(NamedTuple):
    """An answer, and what it took."""

    answer: dict[str, object]
    seconds: float
    cpu_seconds: float


def main(checkout: Path | None = None) -> None:
    """Print the time of the answer; with a checkout, also how much faster it is than there."""
    here = ask(HERE)
    print(f"{_told('odds', here)}; runs: {here.answer.get('runs')}")
    if checkout is None:
        return
    before = ask(checkout)
    print(
        f"{_told('the same in ' + checkout.name, before)}; ratio {_ratio(before, here):.2f} by CPU"
    )
    if before.answer != here.answer:
        print("the answers differ")


def ask(checkout: Path) -> Asked:
    """Have the question answered by the command of this checkout."""
    python = checkout / ".venv" / "bin" / "python"
    command = [
        str(python if python.exists() else sys.executable),
        "-c",
        "import sys; from experiments.cli import main; sys.exit(main())",
        *("odds", RACE, *QUESTION, "--jobs", str(JOBS), "--json", "--quiet"),
    ]
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    cpu, start = _cpu_of_children(), time.perf_counter()
    done = subprocess.run(
        command, cwd=checkout, env=environment, check=True, capture_output=True, text=True
    )
    seconds = time.perf_counter() - start
    return Asked(json.loads(done.stdout), seconds, _cpu_of_children() - cpu)


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _ratio(before: Asked, now: Asked) -> float:
    return before.cpu_seconds / now.cpu_seconds


def _told(what: str, asked: Asked) -> str:
    return (
        f"{what} of {RACE} {' '.join(QUESTION)}, {JOBS} processes: {asked.seconds:.1f} s, "
        f"{asked.cpu_seconds:.1f} s of CPU"
    )


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
