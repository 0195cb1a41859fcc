"""SimPy's environment with a whole-nanosecond clock, shared by vCPUs and anybody's processes.

Nothing here or elsewhere touches a name of SimPy's that begins with an underscore
(``tests/test_simpy_names.py``). ``run`` and ``step`` are SimPy's own; what is added comes from
``schedule``, through which every event goes.

On one nanosecond events come up by their priority: SimPy's own (urgent, then normal), whoever
looks what these have done, interrupts on their way, schedulers, vCPUs. Within the last three a draw
decides.
"""

from collections.abc import Callable
from functools import partial
from typing import NoReturn

import simpy
from simpy.core import SimTime, StopSimulation
from simpy.events import NORMAL, URGENT, Event, EventPriority

DRAW_BITS = 61
"""A tie is broken by a whole number of so many bits."""
_AT_ONCE = EventPriority(-1)
"""Before all else: as SimPy ends a run at a given time."""
_LOOKS = (1 << DRAW_BITS) - 1
INTERRUPTS = 1 << DRAW_BITS
"""Interrupts have priorities from here on, each with its draw added."""
SCHEDULERS = 2 << DRAW_BITS
VCPUS = 3 << DRAW_BITS


class Deadlock(Exception):
    """Nothing can happen any more and somebody still waits.

    ``waits`` holds one sentence for each waiting process: who waits for what.
    """

    def __init__(self, waits: list[str]) -> None:
        super().__init__(waits)  # its only argument: SimPy copies what a process raises
        self.waits = waits

    def __str__(self) -> str:
        """All of them."""
        return "; ".join(self.waits)


class _Nowhere(simpy.Environment):
    """Where an event is made ready without being posted: SimPy's ``succeed`` does both."""

    def schedule(self, event: Event, priority: EventPriority = NORMAL, delay: SimTime = 0) -> None:
        """Post it nowhere."""


_NOWHERE = _Nowhere()


class Environment(simpy.Environment):
    """A simulation environment that counts time in integer nanoseconds.

    SimPy's own ``run`` returns when no event is left, also when processes still wait. Here
    whoever makes processes registers a function that tells who waits, and :meth:`run_out` raises
    :class:`Deadlock` with its answer.
    """

    def __init__(self) -> None:
        super().__init__(initial_time=0)
        self.events_posted = 0
        """How many events were put on the queue so far."""
        self._who_waits: list[Callable[[], list[str]]] = []
        self._when_others_acted: Callable[[], None] | None = None
        self._looks_at: set[int] = set()
        self.post = partial(simpy.Environment.schedule, self)
        """:meth:`schedule` without its first lines, for the vCPUs' own events; they count these."""

    @property
    def now_ns(self) -> int:
        """The present time in nanoseconds."""
        return int(self.now)

    # -- events ------------------------------------------------------------------------------

    def schedule(self, event: Event, priority: EventPriority = NORMAL, delay: SimTime = 0) -> None:
        """Have an event come up ``delay`` whole nanoseconds from now.

        Raises:
            TypeError: the delay is no whole number. A float would make the clock inexact.
        """
        self.events_posted += 1
        if priority < _LOOKS:  # what vCPUs post is whole anyway
            if not isinstance(delay, int):
                raise TypeError(f"a delay is a whole number of nanoseconds, not {delay!r}")
            if priority > URGENT and self._when_others_acted is not None:
                self._look_after(delay)
        super().schedule(event, priority, delay)

    def ready_event(self) -> Event:
        """An event that succeeds whenever it comes up; it is not on the queue.

        It may be posted by :meth:`schedule` again and again, with callbacks of its own each time.
        """
        event = Event(_NOWHERE)
        event.succeed()
        event.env = self
        return event

    def call_at(self, time_ns: int, priority: int, act: Callable[[], None]) -> None:
        """Call this function at a time, which is not before now."""
        event = self.ready_event()
        event.callbacks = [lambda _: act()]
        self.schedule(event, EventPriority(priority), time_ns - self.now_ns)

    # -- others than the vCPUs -----------------------------------------------------------------

    def when_others_acted(self, act: Callable[[], None]) -> None:
        """Call this function after each moment at which others than vCPUs have acted.

        These are processes of SimPy's kind: their events have SimPy's priorities.
        """
        self._when_others_acted = act

    @property
    def others_are_due(self) -> bool:
        """Is an event on the queue at which others than the vCPUs may act?"""
        return bool(self._looks_at)

    def _look_after(self, delay_ns: int) -> None:
        time_ns = self.now_ns + delay_ns
        if time_ns not in self._looks_at:
            self._looks_at.add(time_ns)
            self.look_at(time_ns)

    def look_at(self, time_ns: int) -> None:
        """Call that function at this time in any case."""
        self.call_at(time_ns, _LOOKS, self._look)

    def _look(self) -> None:
        self._looks_at.discard(self.now_ns)
        if self._when_others_acted is not None:
            self._when_others_acted()

    # -- the end -------------------------------------------------------------------------------

    def report_waits(self, who_waits: Callable[[], list[str]]) -> None:
        """Ask this function who waits, once no event is left."""
        self._who_waits.append(who_waits)

    def stop(self) -> None:
        """End the run before anything else happens; what is on the queue stays there."""
        self.call_at(self.now_ns, _AT_ONCE, _stop)

    def run_out(self) -> None:
        """Run until no event is left, or until it is stopped.

        Raises:
            Deadlock: somebody waits then.
        """
        self.run()
        waits = [wait for who_waits in self._who_waits for wait in who_waits()]
        if waits:
            raise Deadlock(waits)


def _stop() -> NoReturn:
    raise StopSimulation(None)
