"""How long commands take from their first to their last instant, beside another checkout.

``python -m tests.benchmarks.start [CHECKOUT]``: each command is run by this checkout and by the
other one in turn, so that a busy machine hits both. CPU time is that of all processes of a command.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parents[2]
COMMANDS = (("--help",), ("run", "guest-512M"), ("compare",))
_REPETITIONS = 5


class Took(NamedTuple):
    """The time of one command, in seconds."""

    wall: float
    cpu: float


def main(other: Path | None = None) -> None:
    """Print the times of each command, and their ratios to those of another checkout."""
    checkouts = [HERE] if other is None else [HERE, other]
    for command in COMMANDS:
        for checkout in checkouts:
            _took(checkout, command)  # Not counted: files come into memory, modules are compiled.
        times = [[_took(checkout, command) for checkout in checkouts] for _ in range(_REPETITIONS)]
        print(f"pinlab {' '.join(command)}")
        for kind in Took._fields:
            _tell(kind, [[getattr(took, kind) for took in pair] for pair in times])


def _tell(kind: str, times: Sequence[Sequence[float]]) -> None:
    """One line: the least and the median of ours, of theirs, and of the ratios in pairs."""
    ours, *theirs = zip(*times, strict=True)
    line = f"  {kind:4}  {min(ours):6.2f} s, median {statistics.median(ours):6.2f} s"
    for other in theirs:
        ratios = [one / another for one, another in zip(ours, other, strict=True)]
        line += (
            f"; the other {min(other):6.2f} s, median {statistics.median(other):6.2f} s"
            f"; ratio {min(ratios):.2f}, median {statistics.median(ratios):.2f}"
        )
    print(line)


def _took(checkout: Path, command: Sequence[str]) -> Took:
    before, start = os.times(), time.perf_counter()
    subprocess.run(
        [str(checkout / ".venv" / "bin" / "pinlab"), *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    wall, after = time.perf_counter() - start, os.times()
    cpu = after.children_user + after.children_system
    return Took(wall, cpu - before.children_user - before.children_system)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
