"""Where simulated time went."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace

ACCOUNTS = ("guest", "hypervisor", "tlb", "lock_wait", "steal", "idle")


@dataclass
class Accounts:
    """Nanoseconds of one CPU by heading, and by named cost.

    ``tlb`` takes the costs that a profile books there in whichever mode they are spent;
    ``lock_wait`` the time spun on locks, conditions and acknowledgements; ``steal`` the time
    without a pCPU although there was something to do; ``idle`` the time with nothing to do.
    """

    guest: int = 0
    hypervisor: int = 0
    tlb: int = 0
    lock_wait: int = 0
    steal: int = 0
    idle: int = 0
    by_cost: dict[str, int] = field(default_factory=dict)

    def copy(self) -> "Accounts":
        """The same figures, detached from the CPU that goes on."""
        return replace(self, by_cost=dict(self.by_cost))

    @property
    def total(self) -> int:
        """All of it."""
        return sum(getattr(self, name) for name in ACCOUNTS)

    def since(self, earlier: "Accounts") -> "Accounts":
        """What was added after ``earlier`` was taken from the same CPU."""
        added = {name: getattr(self, name) - getattr(earlier, name) for name in ACCOUNTS}
        by_cost = {cost: ns - earlier.by_cost.get(cost, 0) for cost, ns in self.by_cost.items()}
        return Accounts(**added, by_cost=by_cost)

    def add(self, other: "Accounts") -> None:
        """Add another CPU's, or another stretch's, figures."""
        for name in ACCOUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for cost, ns in other.by_cost.items():
            self.by_cost[cost] = self.by_cost.get(cost, 0) + ns


@dataclass
class LockFigures:
    """How often a lock was taken, and how long it was waited for and held, in nanoseconds."""

    taken: int = 0
    waited: int = 0
    """How often it was busy at first."""
    wait_total_ns: int = 0
    wait_max_ns: int = 0
    hold_total_ns: int = 0
    hold_max_ns: int = 0


class LockTimes:
    """Waits and holds of all locks, by wall time: a holder's preemption is part of them.

    ``name_of`` makes of a lock's key the name under which it is counted.
    """

    def __init__(self, name_of: Callable[[Hashable], Hashable] = lambda key: key) -> None:
        self.by_name: dict[Hashable, LockFigures] = {}
        self._name_of = name_of
        self._taken_ns: dict[Hashable, int] = {}

    def taken(self, key: Hashable, asked_ns: int, now_ns: int) -> None:
        """A lock was taken; ``asked_ns``: since when it was waited for, below 0 if it was free."""
        figures = self.by_name.setdefault(self._name_of(key), LockFigures())
        figures.taken += 1
        if asked_ns >= 0:
            figures.waited += 1
            figures.wait_total_ns += now_ns - asked_ns
            figures.wait_max_ns = max(figures.wait_max_ns, now_ns - asked_ns)
        self._taken_ns[key] = now_ns

    def released(self, key: Hashable, now_ns: int) -> None:
        """It was given back."""
        figures = self.by_name[self._name_of(key)]
        held_ns = now_ns - self._taken_ns.pop(key)
        figures.hold_total_ns += held_ns
        figures.hold_max_ns = max(figures.hold_max_ns, held_ns)
