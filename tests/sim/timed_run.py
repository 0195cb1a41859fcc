"""Running activities against the clock, with everything that they note kept."""

from sim.distributions import Constant
from sim.effects import Activity, Spend
from sim.locks import SpinLock
from sim.oracle import Oracle
from sim.streams import Streams
from sim.timed import Price, Simulation

PRICES = {
    "ns": Price(Constant(1.0)),
    "refill": Price(Constant(1.0), "tlb"),
}
"""``Spend("ns", 250)`` takes 250 ns, wherever it is spent; a refill is booked under ``tlb``."""


class BriefLock(SpinLock):
    """A lock that is held for a moment only."""

    brief = True


class Notes:
    """A probe that keeps what it is told: (time in ns, vCPU, what), in the order of telling."""

    def __init__(self) -> None:
        self.all: list[tuple[int, int, object]] = []

    def note(self, vcpu: int, time_ns: int, what: object) -> None:
        """Keep it."""
        self.all.append((time_ns, vcpu, what))

    def times(self, what: object) -> list[int]:
        """When this was noted."""
        return [time_ns for time_ns, _, noted in self.all if noted == what]


def busy(ns: int) -> Spend:
    """Work that takes this long."""
    return Spend("ns", ns)


def simulate(
    *activities: Activity,
    prices: dict[str, Price] = PRICES,
    seed: int = 0,
    oracle: Oracle | None = None,
    every_event: bool = False,
) -> tuple[Simulation, Notes]:
    """Run one activity a vCPU to the end: the simulation, and what was noted in it."""
    notes = Notes()
    simulation = Simulation(
        prices, Streams(seed), oracle=oracle, probe=notes, every_event=every_event
    )
    for activity in activities:
        simulation.start(activity)
    simulation.run()
    return simulation, notes
