"""Where simulated time went."""

from dataclasses import dataclass, field

ACCOUNTS = ("guest", "hypervisor", "tlb", "lock_wait", "steal")


@dataclass
class Accounts:
    """Nanoseconds of one CPU by heading, and by named cost.

    ``tlb`` takes the costs that a profile books there in whichever mode they are spent;
    ``lock_wait`` the time blocked on locks, conditions and acknowledgements.
    """

    guest: int = 0
    hypervisor: int = 0
    tlb: int = 0
    lock_wait: int = 0
    steal: int = 0
    by_cost: dict[str, int] = field(default_factory=dict)

    def copy(self) -> "Accounts":
        """The same figures, detached from the CPU that goes on."""
        return Accounts(
            self.guest, self.hypervisor, self.tlb, self.lock_wait, self.steal, dict(self.by_cost)
        )

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
