"""Windows of a race on the clock: when they open and close, as notes of the actors themselves."""

from collections.abc import Callable
from dataclasses import dataclass, field

from sim.effects import Note


@dataclass(frozen=True)
class Turned:
    """The window has opened or closed."""

    opened: bool


@dataclass
class Windows:
    """A probe that keeps how long each window stood open."""

    is_open: Callable[[], bool]
    lengths_ns: list[int] = field(default_factory=list)
    now_open: bool = False
    _since_ns: int = 0

    def look(self) -> Note | None:
        """What is to be noted after a step: whether the window has turned."""
        state = self.is_open()
        if state == self.now_open:
            return None
        self.now_open = state
        return Note(Turned(opened=state))

    def note(self, _vcpu: int, time_ns: int, what: object) -> None:
        """Keep the times."""
        if isinstance(what, Turned):
            if what.opened:
                self._since_ns = time_ns
            else:
                self.lengths_ns.append(time_ns - self._since_ns)

    def close(self, time_ns: int) -> None:
        """The run is over; a window that is open counts up to here."""
        if self.now_open:
            self.lengths_ns.append(max(0, time_ns - self._since_ns))
