"""What an interpreter yields to itself: moments that are none of an activity's own effects.

Like effects they wait for their turn, can be put off by an interrupt, and are taken up again.
"""

from typing import Any

from simpy.events import Event

from sim.effects import CpuMode, Effect, Trap, WaitUntil


class Ended(Effect):
    """An activity has come to its end: seen by the others at this vCPU's time."""

    __slots__ = ("failure", "value")

    def __init__(self, value: Any, failure: BaseException | None = None) -> None:
        self.value = value
        self.failure = failure


class Moment(Effect):
    """The one in which all of a trap's work happens, which comes from ``mode``."""

    __slots__ = ("mode", "trap")

    def __init__(self, mode: CpuMode, trap: Trap) -> None:
        self.mode = mode
        self.trap = trap


class Return(Effect):
    """A trap's activity has ended with ``value``: the CPU goes back to ``mode``."""

    __slots__ = ("mode", "value")

    def __init__(self, mode: CpuMode, value: Any) -> None:
        self.mode = mode
        self.value = value


class Idle(Effect):
    """Nothing is left to do but to take interrupts."""

    __slots__ = ()


class Coming(WaitUntil):
    """An event of SimPy's that has been made for :class:`sim.effects.Await`."""

    __slots__ = ("event",)

    def __init__(self, what: str, event: Event) -> None:
        super().__init__(what, self.has_come)
        self.event = event

    def has_come(self) -> bool:
        """Has it been processed?"""
        return self.event.processed


IDLE = Idle()
