"""Two trees, one measurement: today's code beside the commit before, in one run.

The earlier tree is that of a git revision, laid out in a temporary directory. A measurement is a
function of :mod:`tests.benchmarks.measurements`, always today's, which each process runs with the
packages of one tree; the trees take turns (ABAB), so that a busy machine hits both. What is
compared is CPU time. Only ratios of one run are to be compared.
"""

import io
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

HERE = Path(__file__).resolve().parents[2]
BEFORE = "62aaff2561ed53f9fd65a6c8ec2f511fb44b7448"
"""What today's tree is held against unless the environment variable BEFORE names another."""
_SHORT = 7
_MEASUREMENTS = HERE / "tests/benchmarks/measurements.py"

Work: TypeAlias = Callable[[], dict[str, float]]
"""Does what is measured; returns its figures, of which one is ``seconds`` of CPU."""


class CannotMeasure(Exception):
    """A tree does not have what is to be measured, or there is no such tree."""


@dataclass(frozen=True)
class Trees:
    """Today's tree, and the one before, if it can be had."""

    before: Path | None
    revision: str
    missing: str = ""
    """Why there is none before."""


@dataclass
class Taken:
    """What the repetitions of one measurement took in one tree."""

    seconds: list[float] = field(default_factory=list)
    """Of CPU."""
    figures: dict[str, float] = field(default_factory=dict)
    """What else the measurement told the last time."""

    @property
    def least(self) -> float:
        """The best time in s: the one to compare."""
        return min(self.seconds)

    def __str__(self) -> str:
        """The best and the median time."""
        return f"{self.least:.3g} s (median {statistics.median(self.seconds):.3g})"


@contextmanager
def trees(revision: str | None = None) -> Iterator[Trees]:
    """Lay out the tree of a revision for as long as the context is entered."""
    revision = revision or os.environ.get("BEFORE") or BEFORE
    made = subprocess.run(
        ["git", "archive", "--format=tar", revision],  # noqa: S607 - the user's git
        cwd=HERE,
        capture_output=True,
        check=False,
    )
    if made.returncode:
        why = made.stderr.decode(errors="replace").strip().splitlines()[-1:]
        yield Trees(None, revision, f"{revision} is not in this clone ({' '.join(why)})")
        return
    with tempfile.TemporaryDirectory(prefix="pinlab-before-") as folder:
        with tarfile.open(fileobj=io.BytesIO(made.stdout)) as archive:
            archive.extractall(folder, filter="data")
        yield Trees(Path(folder), revision[:_SHORT])


def measured(tree: Path, measurement: str, *arguments: str) -> dict[str, float]:
    """Run a measurement once in a fresh process; its figures, of which one is ``seconds``.

    Raises:
        CannotMeasure: the tree lacks something that the measurement uses.
    """
    made = subprocess.run(
        [sys.executable, "-P", str(_MEASUREMENTS), str(tree), measurement, *arguments],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        raise CannotMeasure(" ".join(made.stderr.strip().splitlines()[-1:]))
    figures: dict[str, float] = json.loads(made.stdout)
    return figures


def in_turn(works: Mapping[str, Work], *, repetitions: int) -> dict[str, Taken]:
    """What each of these takes, by its name, when they take turns.

    Raises:
        CannotMeasure: one of them cannot be done.
    """
    taken = {name: Taken() for name in works}
    for _ in range(repetitions):
        for name, work in works.items():
            figures = work()
            taken[name].seconds.append(figures.pop("seconds"))
            taken[name].figures = figures
    return taken


def tell(
    both: Trees,
    what: str,
    measurement: str,
    *arguments: str,
    repetitions: int = 3,
    beside: Mapping[str, Work] = MappingProxyType({}),
) -> None:
    """Measure in both trees, and other work in turn with them; print the times and the ratios.

    A ratio above 1 says by how much today's tree is faster than what stands beside it.
    """
    works: dict[str, Work] = {"now": partial(measured, HERE, measurement, *arguments)}
    if both.before is not None:
        works = {both.revision: partial(measured, both.before, measurement, *arguments), **works}
    try:
        taken = in_turn({**works, **beside}, repetitions=repetitions)
    except CannotMeasure as fault:
        if both.before is None:
            print(f"{what}: not measured ({fault})", flush=True)
        else:
            print(f"{what}: nothing to compare it with ({fault})", flush=True)
            alone = Trees(None, both.revision)
            tell(alone, what, measurement, *arguments, repetitions=repetitions, beside=beside)
        return
    now = taken.pop("now")
    others = "".join(
        f"; {name} {other}{_also(other)}: ratio {other.least / now.least:.2f}"
        for name, other in taken.items()
    )
    print(f"{what}: {now}{_also(now)}{others}", flush=True)


def _also(taken: Taken) -> str:
    return "".join(f", {value:,.4g} {name}" for name, value in taken.figures.items())
