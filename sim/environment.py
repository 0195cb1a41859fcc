"""SimPy's environment with a whole-nanosecond clock that does not end in silence."""

from collections.abc import Callable
from heapq import heappop
from typing import Any

import simpy
from simpy.core import SimTime
from simpy.events import Event, Timeout


class Deadlock(Exception):
    """Nothing can happen any more and somebody still waits.

    ``waits`` holds one sentence for each waiting process: who waits for what.
    """

    def __init__(self, waits: list[str]) -> None:
        super().__init__("; ".join(waits))
        self.waits = waits


class Environment(simpy.Environment):
    """A simulation environment that counts time in integer nanoseconds.

    SimPy's own ``run`` returns when no event is left, also when processes still wait. Here
    whoever makes processes registers a function that tells who waits, and ``run`` raises
    :class:`Deadlock` with its answer.
    """

    def __init__(self) -> None:
        super().__init__(initial_time=0)
        self._who_waits: list[Callable[[], list[str]]] = []
        self._looks = 0

    @property
    def now_ns(self) -> int:
        """The present time in nanoseconds."""
        return int(self.now)

    @property
    def events_posted(self) -> int:
        """How many events were put on the queue so far."""
        # The counter of event numbers cannot be read without taking one (copying it is
        # deprecated since Python 3.12); a gap in the numbers changes no order.
        posted = next(self._eid) - self._looks
        self._looks += 1
        return posted

    def report_waits(self, who_waits: Callable[[], list[str]]) -> None:
        """Ask this function who waits, once no event is left."""
        self._who_waits.append(who_waits)

    def timeout(self, delay: SimTime = 0, value: Any = None) -> Timeout:
        """An event ``delay`` whole nanoseconds from now."""
        if not isinstance(delay, int):
            raise TypeError(f"a delay is a whole number of nanoseconds, not {delay!r}")
        return super().timeout(delay, value)

    def run(self, until: SimTime | Event | None = None) -> Any:
        """Run until no event is left (or as SimPy's ``until`` says).

        Raises:
            Deadlock: no event is left and somebody waits.
        """
        if until is not None:
            return super().run(until)
        # SimPy's step() for each event, without the call.
        queue = self._queue
        while queue:
            self._now, _, _, event = heappop(queue)
            callbacks, event.callbacks = event.callbacks, None  # type: ignore[assignment]
            for callback in callbacks:
                callback(event)
            if not event._ok and not hasattr(event, "_defused"):  # noqa: SLF001
                raise event._value  # noqa: SLF001
        waits = [wait for who_waits in self._who_waits for wait in who_waits()]
        if waits:
            raise Deadlock(waits)
        return None
