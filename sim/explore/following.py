"""Schedules that are followed: a tape to the letter, or blocks of steps as far as they go."""

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

from sim.explore.execution import STOP
from sim.tape import Chosen, Picked, Tape, TapeReader, as_word


class Repeating:
    """Gives the answers of a tape again, and fails where the run asks for others.

    ``until``: stop after so many steps. ``stopped``: the run of the tape was ended by whoever
    decided it, and so is this one, where the tape ends.
    """

    def __init__(self, tape: Tape, *, until: int | None = None, stopped: bool = False) -> None:
        self._reader = TapeReader(tape)
        self._left = until
        self._stopped = stopped
        self.cut = False
        """It was ended by ``until``."""

    def pick(self, ready: Sequence[int]) -> int:
        """Who went on.

        Raises:
            Diverged: others were ready, or something else was asked, or nothing more.
        """
        if self._left is not None:
            if not self._left:
                self.cut = True
                return STOP
            self._left -= 1
        if self._stopped and self._reader.at_end:
            return STOP
        return self._reader.pick(ready)

    def choose(self, name: str, alternatives: int) -> int:
        """Which alternative was taken.

        Raises:
            Diverged: something else was asked, or nothing more.
        """
        return self._reader.choose(name, alternatives)

    def end(self) -> None:
        """The run is over, and so must the tape be.

        Raises:
            Diverged: it is not.
        """
        if not self.cut:
            self._reader.end()


class Block(NamedTuple):
    """A vCPU makes so many steps in a row."""

    vcpu: int
    steps: int


class Answer(NamedTuple):
    """What a vCPU was answered when it met an open question; -1: before its first step."""

    vcpu: int
    name: str
    taken: int


def blocks_of(schedule: Iterable[int]) -> list[Block]:
    """The schedule as blocks; neighbours are of different vCPUs."""
    return [Block(vcpu, len(list(steps))) for vcpu, steps in groupby(schedule)]


def answers_of(tape: Tape) -> list[Answer]:
    """The answers on a tape, with who got them."""
    answers, vcpu = [], -1
    for entry in tape.entries:
        if isinstance(entry, Picked):
            vcpu = entry.vcpu
        elif isinstance(entry, Chosen):
            answers.append(Answer(vcpu, entry.name, entry.taken))
    return answers


class Following:
    """Goes through blocks of steps, and makes do where they no longer fit.

    A block ends early where its vCPU has to wait, and is left out where it cannot go on at all.
    Each vCPU gets its answers in their order, by the names of the questions, and the first
    alternative to others. What comes after the last block: nothing (``stops``), or each vCPU goes
    on as far as it can. vCPUs in ``without`` make no step at all.
    """

    def __init__(
        self,
        blocks: Iterable[Block],
        answers: Iterable[Answer] = (),
        *,
        stops: bool = False,
        without: frozenset[int] = frozenset(),
    ) -> None:
        self._blocks = deque(blocks)
        self._left = self._blocks[0].steps if self._blocks else 0
        self._answers: dict[tuple[int, str], deque[int]] = {}
        for vcpu, name, taken in answers:
            self._answers.setdefault((vcpu, name), deque()).append(taken)
        self._stops = stops
        self._without = without
        self._current = -1

    def pick(self, ready: Sequence[int]) -> int:
        """Who goes on."""
        ready = [vcpu for vcpu in ready if vcpu not in self._without]
        blocks = self._blocks
        while blocks and not (self._left and blocks[0].vcpu in ready):
            blocks.popleft()
            self._left = blocks[0].steps if blocks else 0
        if blocks:
            self._left -= 1
            self._current = blocks[0].vcpu
        elif self._stops or not ready:
            return STOP
        elif self._current not in ready:
            self._current = ready[0]
        return self._current

    def choose(self, name: str, alternatives: int) -> int:
        """The answer that was given to this vCPU then."""
        answers = self._answers.get((self._current, as_word(name)))
        taken = answers.popleft() if answers else 0
        return taken if taken < alternatives else 0
