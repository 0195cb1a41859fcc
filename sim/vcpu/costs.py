"""What a vCPU spends: a draw for each unit of a named cost, and where the time is booked.

An entry of a cost is a list, since the interpreter reads and adds to one with almost every effect:
``[function that draws n units, nanoseconds spent, heading of the accounts, units not drawn yet]``.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from sim.effects import CpuMode, Spent
from sim.metrics import Accounts
from sim.prices import Price
from sim.streams import Streams

UNITS = 3
"""Where in an entry the units stand that were counted and not drawn."""

Entry = list[Any]


class Counted(NamedTuple):
    """Units of a cost that are not drawn yet."""

    mode: CpuMode
    cost: str
    entry: Entry
    units: int


Stretch: TypeAlias = tuple[Counted, ...]
"""What was counted between two moments at which time mattered."""


class Marked:
    """What a vCPU has spent since a mark, cut at what it has told the observers."""

    __slots__ = ("told",)

    def __init__(self) -> None:
        self.told: list[tuple[Stretch, object]] = []
        """What was told, and what had been spent on the way there."""

    def spent(self, rest: Stretch) -> Spent:
        """All of it; ``rest`` is what was spent behind the last thing told."""
        stretches = [*(stretch for stretch, _ in self.told), rest]
        return Spent(
            tuple(
                tuple((each.mode.value, each.cost, each.units) for each in stretch)
                for stretch in stretches
            ),
            tuple(what for _, what in self.told),
        )


class ModeCosts(dict[str, Entry]):
    """The entries of what a vCPU spends in one mode; each is made when it is first looked up."""

    def __init__(self, costs: "Costs", mode: CpuMode) -> None:
        super().__init__()
        self._costs = costs
        self._mode = mode

    def __missing__(self, cost: str) -> Entry:
        """A cost that is spent for the first time in this mode."""
        entry = self[cost] = self._costs.new(self._mode, cost)
        return entry


class Costs:
    """The named costs of one vCPU, in nanoseconds; a random stream for each mode and cost."""

    def __init__(self, prices: Mapping[str, Price], streams: Streams, vcpu: str) -> None:
        """``vcpu`` is the name under which its streams are found."""
        self._prices = prices
        self._streams = streams
        self._vcpu = vcpu
        self.by_mode = {mode: ModeCosts(self, mode) for mode in CpuMode}
        self._durations: dict[str, Callable[[int], int]] = {}

    def draw(self, mode: CpuMode, cost: str) -> Callable[[int], int]:
        """The function that draws n units of a cost; their time is for the caller to book."""
        key = f"{mode.value} {cost}"
        if key not in self._durations:
            distribution = self._prices[cost].distribution
            durations = self._streams.durations(distribution, self._vcpu, mode.value, cost)
            self._durations[key] = durations.total
        return self._durations[key]

    def new(self, mode: CpuMode, cost: str) -> Entry:
        """A new entry for a cost in this mode."""
        return [self.draw(mode, cost), 0, self._prices[cost].account or mode.value, 0]

    def counted(self) -> Stretch:
        """The units that were only counted so far."""
        return tuple(
            Counted(mode, cost, entry, entry[UNITS])
            for mode, costs in self.by_mode.items()
            for cost, entry in costs.items()
            if entry[UNITS]
        )

    def settle(self) -> int:
        """Draw the units that were only counted so far; the time they take together.

        How units are asked for does not show in their time, so this is as if each had been
        drawn when it was spent.
        """
        total_ns = 0
        for costs in self.by_mode.values():
            for entry in costs.values():
                if entry[UNITS]:
                    ns = entry[0](entry[UNITS])
                    entry[UNITS] = 0
                    entry[1] += ns
                    total_ns += ns
        return total_ns

    def count_again(self, stretch: Stretch, times: int = 1) -> None:
        """Count the same units so many times more."""
        for each in stretch:
            each.entry[UNITS] += each.units * times

    def spend_again(self, stretch: Stretch) -> int:
        """Draw the same number of units once more; the time they take together."""
        total_ns = 0
        for _, _, entry, units in stretch:
            ns = entry[0](units)
            entry[1] += ns
            total_ns += ns
        return total_ns

    def book(self, accounts: Accounts) -> None:
        """Add what was spent up to now, by heading and by cost."""
        for costs in self.by_mode.values():
            for cost, (_, spent_ns, heading, _) in costs.items():
                setattr(accounts, heading, getattr(accounts, heading) + spent_ns)
                accounts.by_cost[cost] = accounts.by_cost.get(cost, 0) + spent_ns
