"""Windows of a race on the clock: when they open and close, as notes of the actors themselves."""

from collections.abc import Callable
from dataclasses import dataclass, field

from models.linux.crash import GuestCrash
from models.races.race import GAP
from sim.effects import Activity, Note


@dataclass(frozen=True)
class Turned:
    """The window has opened or closed, or what an attempt that begins now has to do."""

    opened: bool
    meets: int


@dataclass(frozen=True)
class Rests:
    """An actor begins a pause, or an attempt after it."""

    rests: bool


@dataclass
class Windows:
    """A probe that keeps how long each window stood open."""

    is_open: Callable[[], bool]
    unchanged: Callable[[], bool] = bool
    """Does all that the last call of ``is_open`` has read still read the same?"""
    lengths_ns: list[int] = field(default_factory=list)
    now: Turned = field(default_factory=lambda: Turned(opened=False, meets=0))
    _opened_ns: int = 0

    def look(self) -> Note | None:
        """What is to be noted after a step: whether the window has turned."""
        turned = self._seen()
        return None if turned is None else Note(turned)

    def _seen(self) -> Turned | None:
        if self.unchanged():
            return None
        opened = self.is_open()
        return None if opened is self.now.opened else Turned(opened, 0)

    def note(self, _vcpu: int, time_ns: int, what: object) -> None:
        """Keep the times."""
        if isinstance(what, Turned):
            before, self.now = self.now, what
            if what.opened and not before.opened:
                self._opened_ns = time_ns
            elif before.opened and not what.opened:
                self.lengths_ns.append(time_ns - self._opened_ns)

    def close(self, time_ns: int) -> None:
        """The run is over; a window that is open counts up to here."""
        if self.now.opened:
            self.lengths_ns.append(max(0, time_ns - self._opened_ns))


@dataclass(frozen=True)
class Met:
    """A stretch of a window in which an actor at rest could begin an attempt that hits."""

    work: int
    """How often such an attempt does its own work."""
    rested_ns: int
    """How long the actor rested in it, at most until the end ..."""
    left_ns: int
    """... which was so long after its beginning; without what held the actor up."""


@dataclass
class Attempts(Windows):
    """The same, and how the attempts of actors that rest in between meet the windows."""

    meets: Callable[[], int] = int
    held_up: Callable[[int], int] = int
    """How long an actor has been held up so far, in ns, by its vCPU's number."""
    met: list[Met] = field(default_factory=list)
    began_before: bool | None = None
    """The attempt that hit had begun before it could have met the window; None: there was none."""
    _resting: dict[int, int] = field(default_factory=dict)
    """Since when actors rest."""
    _could: dict[int, tuple[int, int]] = field(default_factory=dict)
    """For those who have rested since the window could be met: since when, held up for so long."""
    _rested_until: dict[int, int] = field(default_factory=dict)

    def attempting(self, activity: Activity) -> Activity:
        """The activity of an actor; its pauses and attempts are noted."""
        answer: object = None
        met = 0
        pausing = False
        while True:
            try:
                effect = activity.send(answer)
            except StopIteration as end:
                return end.value
            except GuestCrash:
                self.began_before = not met
                raise
            if effect is GAP:
                yield Note(Rests(rests=True))
                answer = yield effect
                pausing = True
                continue
            answer = yield effect
            if pausing:  # the step after the pause, in which the attempt begins
                pausing = False
                met = self.meets()
                yield Note(Rests(rests=False))

    def _seen(self) -> Turned | None:
        # What an attempt has to do in an open window depends on other words, too.
        if not self.now.opened and self.unchanged():
            return None
        opened = self.is_open()
        meets = self.meets() if opened else 0
        if opened is self.now.opened and meets == self.now.meets:
            return None
        return Turned(opened, meets)

    def note(self, vcpu: int, time_ns: int, what: object) -> None:
        """Keep the times."""
        if isinstance(what, Rests):
            if what.rests:
                self._resting[vcpu] = time_ns
                if self.now.meets:
                    self._could[vcpu] = time_ns, self.held_up(vcpu)
            else:
                self._resting.pop(vcpu, None)
                if vcpu in self._could:
                    self._rested_until[vcpu] = time_ns
        elif isinstance(what, Turned):
            if what.meets != self.now.meets:
                self._end(time_ns)
                if what.meets:
                    self._could = {
                        number: (max(time_ns, since_ns), self.held_up(number))
                        for number, since_ns in self._resting.items()
                    }
            super().note(vcpu, time_ns, what)

    def close(self, time_ns: int) -> None:
        """The run is over."""
        self._end(time_ns)
        super().close(time_ns)

    def _end(self, time_ns: int) -> None:
        """What could be met can be met no longer, or takes another amount of work."""
        for number, (since_ns, held_up_ns) in self._could.items():
            lost_ns = self.held_up(number) - held_up_ns
            rested_ns = self._rested_until.get(number, time_ns) - since_ns
            left_ns = max(0, time_ns - since_ns - lost_ns)
            self.met.append(Met(self.now.meets, min(max(0, rested_ns), left_ns), left_ns))
        self._could, self._rested_until = {}, {}
