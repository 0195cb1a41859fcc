"""A failing execution made smaller: fewer switches between vCPUs, then fewer vCPUs, then steps.

Orders are changed block by block and run again; what still ends in the same kind of finding and is
smaller is kept. Source of leaving out ever smaller pieces: Zeller and Hildebrandt, Simplifying
and Isolating Failure-Inducing Input (IEEE TSE 2002).
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from sim.explore.cpu import CannotExplore
from sim.explore.execution import Execution, Scheduler, Taping
from sim.explore.following import Answer, Block, Following, Repeating, answers_of, blocks_of
from sim.explore.program import Finding, Program
from sim.tape import Tape

AT_MOST = 400
"""Runs, if nobody asks for another number."""
_FEWEST_TO_GATHER = 3
_SMALL = 6
"""Groups of blocks from here on are tried at each length."""


class Size(NamedTuple):
    """How much there is to look at in an execution; compared in this order."""

    switches: int
    """Places where another vCPU goes on than before."""
    vcpus: int
    """vCPUs that make steps."""
    steps: int
    answers: int
    """Questions that were answered with another than the first alternative."""


def size_of(tape: Tape) -> Size:
    """The size of the execution on a tape."""
    schedule = tape.schedule
    return Size(
        switches=sum(before != after for before, after in pairwise(schedule)),
        vcpus=len(set(schedule)),
        steps=len(schedule),
        answers=sum(answer.taken > 0 for answer in answers_of(tape)),
    )


class Shrunk(NamedTuple):
    """The smallest execution that was found."""

    tape: Tape
    stopped: bool
    """It was ended after the tape's last step, where others could have gone on."""
    finding: Finding
    before: Size
    after: Size
    runs: int
    """How many executions that took."""


class _OutOfRuns(Exception):
    """The budget is used up."""


def shrink(
    program: Program, tape: Tape, *, stopped: bool = False, at_most: int = AT_MOST
) -> Shrunk:
    """Make the failing execution on a tape smaller, in so many runs at most.

    Raises:
        ValueError: the execution on the tape has no finding.
        Diverged: the tape is not of this program.
    """
    return _Shrinking(program, tape, at_most, stopped=stopped).result()


class _Shrinking:
    """The smallest failing execution so far, and the ways to a smaller one."""

    def __init__(self, program: Program, tape: Tape, at_most: int, *, stopped: bool) -> None:
        self._program = program
        self._at_most = at_most
        self._runs = 0
        self._kind: str | None = None
        self._size = size_of(tape)
        self._tried: set[tuple[object, ...]] = set()
        repeating = Repeating(tape, stopped=stopped)
        if not self._keeps(repeating):
            raise ValueError("the execution on this tape has no finding")
        repeating.end()
        self._before = self._size

    def result(self) -> Shrunk:
        """Go on until nothing gets smaller any more."""
        try:
            while True:
                reached = self._size
                self._cut_the_end()
                self._leave_out_vcpus()
                self._gather_blocks()
                self._leave_out_blocks()
                self._shorten_blocks()
                self._give_first_answers()
                if self._size == reached:
                    break
        except _OutOfRuns:
            pass
        return Shrunk(
            self._tape, self._stopped, self._finding, self._before, self._size, self._runs
        )

    # -- one attempt ----------------------------------------------------------------------------

    def _tries(
        self,
        blocks: Sequence[Block],
        *,
        stops: bool = False,
        without: frozenset[int] = frozenset(),
        answers: Sequence[Answer] | None = None,
    ) -> bool:
        """Is this execution smaller, and does it fail in the same way? Then it is the new one."""
        known = self._answers if answers is None else answers
        asked = tuple(blocks), stops, without, tuple(known)
        if asked in self._tried:
            return False
        if self._runs >= self._at_most:
            raise _OutOfRuns
        self._tried.add(asked)
        return self._keeps(Following(blocks, known, stops=stops, without=without))

    def _keeps(self, scheduler: Scheduler) -> bool:
        self._runs += 1
        taping = Taping(scheduler)
        try:
            execution: Execution = self._program.run(taping)
        except CannotExplore:
            return False
        finding = self._program.judge(execution)
        if finding is None or self._kind not in (None, finding.kind):
            return False
        size = size_of(taping.tape)
        if self._kind is not None and size >= self._size:
            return False
        self._kind = finding.kind
        self._finding, self._size, self._tape = finding, size, taping.tape
        self._stopped = execution.stopped
        self._blocks = blocks_of(taping.tape.schedule)
        self._answers = answers_of(taping.tape)
        return True

    # -- ways to get smaller --------------------------------------------------------------------

    def _cut_the_end(self) -> None:
        """Stop as early as possible."""
        if not self._tries(_first(self._blocks, self._size.steps - 1), stops=True):
            return  # it is the last step that fails
        too_few, enough = 0, self._size.steps
        while enough - too_few > 1:
            half = (too_few + enough) // 2
            if self._tries(_first(self._blocks, half), stops=True):
                enough = self._size.steps
            else:
                too_few = half

    def _leave_out_blocks(self) -> None:
        """Their steps come at the end, if at all: half of the blocks, a quarter, ... one."""
        length = len(self._blocks) // 2
        while length:
            first = 0
            while first < len(self._blocks):
                left = self._blocks[:first] + self._blocks[first + length :]
                if not self._tries(left):
                    first += length
            length //= 2

    def _gather_blocks(self) -> None:
        """Of neighbouring blocks, a vCPU's become one: of all, of half of them, ... of three."""
        length = len(self._blocks)
        while length >= _FEWEST_TO_GATHER:
            first = 0
            while first + _FEWEST_TO_GATHER <= len(self._blocks):
                if not any(map(self._tries, _gathered(self._blocks, first, length))):
                    first += max(1, length // 2)
            length = length - 1 if length <= _SMALL else length // 2

    def _leave_out_vcpus(self) -> None:
        for vcpu in sorted({block.vcpu for block in self._blocks}):
            left = [block for block in self._blocks if block.vcpu != vcpu]
            if left:
                self._tries(left, without=frozenset({vcpu}))

    def _shorten_blocks(self) -> None:
        """Each block by half of its steps, a quarter, ... one; without one, it is gone."""
        place = 0
        while place < len(self._blocks):
            vcpu, steps = self._blocks[place]
            fewer = steps
            while fewer:
                shorter = [
                    *self._blocks[:place],
                    Block(vcpu, self._blocks[place].steps - fewer),
                    *self._blocks[place + 1 :],
                ]
                count = len(self._blocks)
                if not self._tries([block for block in shorter if block.steps], stops=True):
                    fewer //= 2
                elif len(self._blocks) != count:
                    return  # another round begins with the new blocks
                else:
                    fewer = min(fewer, self._blocks[place].steps)
            place += 1

    def _give_first_answers(self) -> None:
        place = 0
        while place < len(self._answers):
            vcpu, name, taken = self._answers[place]
            if taken:
                changed = [*self._answers]
                changed[place] = Answer(vcpu, name, 0)
                self._tries(self._blocks, stops=self._stopped, answers=changed)
            place += 1


def _first(blocks: Sequence[Block], steps: int) -> list[Block]:
    """The first so many steps of the blocks."""
    kept = []
    for vcpu, length in blocks:
        if steps <= 0:
            break
        kept.append(Block(vcpu, min(length, steps)))
        steps -= length
    return kept


def _gathered(blocks: Sequence[Block], first: int, length: int) -> Iterator[list[Block]]:
    """The blocks with some neighbours in the order of each vCPU's first block, and of its last."""
    end = first + length
    inside = blocks[first:end]
    steps = Counter[int]()
    for vcpu, n in inside:
        steps[vcpu] += n
    for seen in (inside, inside[::-1]):
        order = list(dict.fromkeys(block.vcpu for block in seen))
        if seen is not inside:
            order.reverse()
        gathered = [Block(vcpu, steps[vcpu]) for vcpu in order]
        if len(gathered) < len(inside):
            yield [*blocks[:first], *gathered, *blocks[end:]]
