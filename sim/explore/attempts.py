"""What any search yields: an execution, what it was judged to be, and the tape to make it again.

Searches are lazy. A caller that wants to show progress counts what comes, one that has enough
stops asking, and one that wants to keep a failure writes down its tape.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from sim.explore.cpu import Cpu, Seen
from sim.explore.execution import Execution, Known, Scheduler, Taping
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
    goes_on: bool
    """A failure has ended its vCPU only, as it must when its tape is to be followed to the end."""
    _taping: Taping = field(repr=False, compare=False)

    @property
    def tape(self) -> Tape:
        """Every answer that decided it."""
        return self._taping.tape


@dataclass
class Made:
    """What a program was made to do."""

    runs: int = 0
    """Executions, also those that a search keeps to itself."""
    taping: Taping | None = None
    """The answers of the latest ..."""
    goes_on: bool = False
    """... and whether it went on behind a failure."""


@dataclass(frozen=True)
class TapedProgram(Program):
    """A program whose executions leave their tapes, whichever search makes them."""

    made: Made = field(default_factory=Made)

    @property
    def tape(self) -> Tape:
        """That of the latest execution."""
        assert self.made.taping is not None
        return self.made.taping.tape

    def run(
        self,
        scheduler: Scheduler,
        *,
        goes_on: bool = False,
        seen: Callable[[Seen], None] | None = None,
        before: Callable[[Cpu], None] | None = None,
        known: Sequence[Known] = (),
    ) -> Execution:
        """As the program."""
        made = self.made
        made.runs += 1
        made.taping, made.goes_on = Taping(scheduler), goes_on
        return super().run(made.taping, goes_on=goes_on, seen=seen, before=before, known=known)


def taped(program: Program) -> TapedProgram:
    """The same program, for :func:`attempts` to search."""
    return TapedProgram(**vars(program))


def attempts(
    search: str, executions: Iterable[Execution], program: TapedProgram
) -> Iterator[Attempt]:
    """The executions of a search of this program, each judged while the world is as it left it."""
    for number, execution in enumerate(executions):
        yield _judged(search, number, execution, program)


def attempt(
    search: str, number: int, scheduler: Scheduler, program: TapedProgram, *, goes_on: bool = False
) -> Attempt:
    """One execution, as the scheduler decides it."""
    return _judged(search, number, program.run(scheduler, goes_on=goes_on), program)


def _judged(search: str, number: int, execution: Execution, program: TapedProgram) -> Attempt:
    # One that was broken off has no end to be judged.
    broken_off = execution.stopped and execution.failure is None
    finding = None if broken_off else program.judge(execution)
    made = program.made
    assert made.taping is not None, "the search has run another program than this one"
    return Attempt(search, number, execution, finding, made.goes_on, made.taping)
