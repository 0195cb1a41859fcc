"""A failing execution with everything that is told of it."""

from dataclasses import dataclass

from experiments.counterexamples.cause import cause
from experiments.counterexamples.conflicts import Conflict, conflicts
from experiments.counterexamples.observed import Observed, observe
from experiments.counterexamples.rows import Row, rows_of
from experiments.subjects.orders import Explored
from sim.explore.following import Repeating
from sim.explore.program import Finding
from sim.explore.shrink import AT_MOST, Size, shrink, size_of
from sim.tape import Tape


@dataclass(frozen=True)
class Counterexample:
    """A failing execution."""

    explored: Explored
    tape: Tape
    stopped: bool
    """It was ended where others could have gone on."""
    observed: Observed
    finding: Finding
    size: Size
    found_size: Size
    """Before it was shrunk."""
    conflicts: tuple[Conflict, ...]
    rows: tuple[Row, ...]
    cause: str


def counterexample(
    explored: Explored, tape: Tape, *, stopped: bool = False, at_most: int = AT_MOST
) -> Counterexample:
    """Shrink a failing execution, in so many runs at most, and look at what is left.

    Raises:
        ValueError: the execution on the tape does not fail.
        Diverged: the tape is not of this program.
    """
    shrunk = shrink(explored.program, tape, stopped=stopped, at_most=at_most)
    return looked_at(explored, shrunk.tape, stopped=shrunk.stopped, found_size=shrunk.before)


def looked_at(
    explored: Explored, tape: Tape, *, stopped: bool, found_size: Size | None = None
) -> Counterexample:
    """The failing execution on a tape as it is.

    Raises:
        ValueError: it does not fail.
        Diverged: the tape is not of this program.
    """
    observed = observe(explored, Repeating(tape, stopped=stopped))
    if observed.diverged is not None:
        raise observed.diverged
    if observed.finding is None:
        raise ValueError("the execution on this tape has no finding")
    found = conflicts(observed.steps, explored.matters)
    size = size_of(tape)
    return Counterexample(
        explored=explored,
        tape=tape,
        stopped=stopped,
        observed=observed,
        finding=observed.finding,
        size=size,
        found_size=size if found_size is None else found_size,
        conflicts=tuple(found),
        rows=tuple(rows_of(observed.steps, found, explored.told, explored.operation)),
        cause=cause(explored, observed, found),
    )
