"""What any search yields: an execution, what it was judged to be, and the tape to make it again.

Searches are lazy. A caller that wants to show progress counts what comes, one that has enough
stops asking, and one that wants to keep a failure writes down its tape.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from sim.explore.cpu import Seen
from sim.explore.execution import Execution, Scheduler, Taping
from sim.explore.program import Finding, Program
from sim.tape import Tape


@dataclass(frozen=True)
class Attempt:
    """One execution of a search."""

    search: str
    """Which search, or which strategy of the portfolio."""
    number: int
    """Its place in the search, from 0."""
    execution: Execution
    finding: Finding | None
    _taping: Taping = field(repr=False, compare=False)

    @property
    def tape(self) -> Tape:
        """Every answer that decided it."""
        return self._taping.tape


@dataclass(frozen=True)
class TapedProgram(Program):
    """A program whose executions leave their tapes, whichever search makes them."""

    tapings: list[Taping] = field(default_factory=list)
    """That of the latest execution."""
    runs: list[int] = field(default_factory=lambda: [0])
    """How many executions were made, also those that a search keeps to itself."""

    def run(
        self,
        scheduler: Scheduler,
        *,
        goes_on: bool = False,
        seen: Callable[[Seen], None] | None = None,
    ) -> Execution:
        """As the program."""
        taping = Taping(scheduler)
        self.tapings[:] = [taping]
        self.runs[0] += 1
        return super().run(taping, goes_on=goes_on, seen=seen)


def taped(program: Program) -> TapedProgram:
    """The same program, for :func:`attempts` to search."""
    return TapedProgram(**vars(program))


def attempts(
    search: str, executions: Iterable[Execution], program: TapedProgram
) -> Iterator[Attempt]:
    """The executions of a search of this program, each judged while the world is as it left it."""
    for number, execution in enumerate(executions):
        yield _judged(search, number, execution, program)


def attempt(search: str, number: int, scheduler: Scheduler, program: TapedProgram) -> Attempt:
    """One execution, as the scheduler decides it."""
    return _judged(search, number, program.run(scheduler), program)


def _judged(search: str, number: int, execution: Execution, program: TapedProgram) -> Attempt:
    # One that was broken off has no end to be judged.
    broken_off = execution.stopped and execution.failure is None
    finding = None if broken_off else program.judge(execution)
    return Attempt(search, number, execution, finding, program.tapings[0])


def until_finding(found: Iterable[Attempt]) -> Iterator[Attempt]:
    """All of them up to the first that is a finding."""
    for one in found:
        yield one
        if one.finding is not None:
            return
