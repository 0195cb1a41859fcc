"""A small program to be explained: the pin race over words that are recorded."""

from collections.abc import Hashable, Sequence
from typing import Any

from sim.effects import STEP, Acquire, Activity, Release, Send, Trap
from sim.explore.execution import Execution
from sim.explore.program import Finding, Program
from sim.footprint import Access, Kind, RecordedWords, Recorder
from sim.locks import SpinLock

MAPPINGS, PINNED = 0, 1
NAMES = {("page", MAPPINGS): "mappings", ("page", PINNED): "pinned"}


class PinRace:
    """A pinner looks, and pins in a later step; a mapper maps a page that is not pinned."""

    title = "a pin against a mapping"
    document = {"kind": "toy"}  # noqa: RUF012 - nobody changes it

    def __init__(self) -> None:
        self.recorder = Recorder()
        self.program = Program(self._begin, self._judge, recorder=self.recorder)
        self.words: Any = []

    def told(self, access: Access) -> str:
        """As `mappings: 0 -> 1`."""
        changed = "" if access.kind is Kind.READ else f" -> {access.after}"
        return f"{NAMES[access.word]}: {access.before}{changed}"  # type: ignore[index]

    def operation(self, routines: Sequence[str]) -> str:
        """The outermost routine."""
        return routines[0]

    def matters(self, word: Hashable) -> bool:
        """All words do."""
        return word in NAMES

    def window_open(self) -> bool:
        """Is the page mapped?"""
        return bool(self.words[MAPPINGS])

    def _begin(self) -> list[Activity]:
        self.words = RecordedWords([0, 0], "page", self.recorder)
        return [self.pins(), self.maps()]

    def _judge(self, execution: Execution) -> Finding | None:
        if execution.failure is None:
            return None
        return Finding(type(execution.failure).__name__, str(execution.failure))

    def pins(self) -> Activity:
        """Ask, and pin in a hypercall."""
        yield from self.asks()
        yield Trap(self.pin(), "call")

    def asks(self) -> Activity:
        """Is the page mapped?"""
        yield STEP
        assert not self.words[MAPPINGS]

    def pin(self) -> Activity:
        """The hypervisor does not look again before it writes."""
        yield STEP
        if self.words[MAPPINGS]:
            raise ValueError("a page was pinned while it was mapped")
        self.words[PINNED] = 1

    def maps(self) -> Activity:
        """Map the page, and unmap it."""
        yield STEP
        if self.words[PINNED]:
            return
        self.words[MAPPINGS] += 1
        yield STEP
        self.words[MAPPINGS] -= 1


class Deadlock(PinRace):
    """Two locks, taken in two orders."""

    title = "two locks"

    def window_open(self) -> None:  # type: ignore[override]
        """There is none."""

    def _begin(self) -> list[Activity]:
        a, b = SpinLock("a"), SpinLock("b")
        return [self.taking(a, b), self.taking(b, a)]

    def _judge(self, execution: Execution) -> Finding | None:
        return Finding("deadlock", "nobody can go on") if execution.deadlock else None

    def taking(self, first: SpinLock, second: SpinLock) -> Activity:
        """One after the other."""
        yield STEP
        yield from self.inside(first, second)

    def inside(self, first: SpinLock, second: SpinLock) -> Activity:
        """Where they are taken."""
        yield Acquire(first)
        yield Acquire(second)
        yield Release(second)
        yield Release(first)


class Unseen(PinRace):
    """What decides is in a variable that nobody records; and a vCPU is interrupted."""

    title = "a flag that nobody records"

    def _begin(self) -> list[Activity]:
        self.words = [0, 0]
        self.flag = False
        return [self.sets(), self.looks()]

    def sets(self) -> Activity:
        """Set the flag by an interrupt of the other."""
        yield STEP
        yield Send("flag", (1,), self.handler)
        yield STEP

    def handler(self) -> Activity:
        """What the other does then."""
        yield STEP
        self.flag = True

    def looks(self) -> Activity:
        """Fail where it is set."""
        yield STEP
        yield STEP
        if self.flag:
            raise ValueError("the flag was set")
