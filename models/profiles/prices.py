"""From a latency profile to the prices of the work that the models name."""

from collections import Counter
from collections.abc import Mapping

from models.profiles.catalogue import Cost, Profile, ProfileError
from sim.distributions import Constant, Distribution, Lognormal
from sim.timed import Price

# Some keys of a profile hold a whole operation, the way into the hypervisor included. The models
# charge that way once for each trap, so here are the operations without it.
_BODIES = {
    "update_va_mapping_body": "update_va_mapping",
    "pin_l1_body": "pin_l1_fixed",
    "new_baseptr_body": "new_baseptr",
}


def prices(profile: Profile) -> dict[str, Price]:
    """A price for each cost of the profile, and for the bodies of its composite ones.

    Raises:
        ProfileError: a composite costs less than the hypercall that it contains.
    """
    table = {
        key: Price(_distribution(cost, cost.value_ns), cost.account)
        for key, cost in profile.costs.items()
    }
    way_in_ns = profile.costs["hypercall_null"].value_ns
    for body, key in _BODIES.items():
        cost = profile.costs[key]
        if cost.value_ns <= way_in_ns:
            raise ProfileError(
                f"{key} = {cost.value_ns:g} ns contains a hypercall, so it must be more than "
                f"hypercall_null = {way_in_ns:g} ns"
            )
        table[body] = Price(_distribution(cost, cost.value_ns - way_in_ns), cost.account)
    return table


def unit_prices(profile: Profile) -> dict[str, Price]:
    """One nanosecond for each unit of any cost: what a run then takes is how many there were."""
    return {cost: Price(Constant(1)) for cost in prices(profile)}


def units_by_parameter(units: Mapping[str, int]) -> dict[str, int]:
    """From how many units of each cost were spent to how often each key of a profile counts.

    The mean time of the work is the sum over the keys of count times mean. A count is negative
    where composites, which contain the way into the hypervisor, outnumber the ways in.
    """
    counts: Counter[str] = Counter()
    for cost, number in units.items():
        counts[_BODIES.get(cost, cost)] += number
        if cost in _BODIES:
            counts["hypercall_null"] -= number
    return dict(counts)


def _distribution(cost: Cost, mean_ns: float) -> Distribution:
    if cost.sigma is None:
        return Constant(mean_ns)
    return Lognormal(mean_ns, cost.sigma)
