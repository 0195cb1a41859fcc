"""Could other latencies, within a profile's ranges, overturn a ranking? And which of them decides?

At a boot one vCPU runs and waits for nobody, so no latency changes what is done: the mean time of
a boot is the sum over the profile's parameters of how often each counts times its mean. One boot
with every price at a nanosecond gives the counts; any number of price lists is then tried on them.

The lists are a Latin hypercube over the ranges (McKay, Beckman, Conover 1979), each parameter
uniform in its logarithm, since the ranges are factors. What decides between the two strategies
that win most often are the Sobol' indices of the difference of their times (Saltelli 2010, as
scipy.stats.sobol_indices computes them): the share of its variance that a parameter explains
alone, and with all its interactions.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.errors import InputError
from experiments.processes import InOrder
from experiments.scenario.scenario import Scenario
from experiments.subjects.kinds import run
from models.profiles.catalogue import Cost, load_profile, with_overrides
from models.profiles.prices import unit_prices, units_by_parameter

Points = NDArray[np.float64]
Times = Callable[[Points], Points]

SAMPLES = 4096
_SOBOL_SAMPLES = 1024
_SHOWN = 5


def robustness(
    scenario: Scenario, strategies: Sequence[str], seed: int = 0, over: InOrder = map
) -> dict[str, Any]:
    """How often each strategy that boots is the fastest, and what decides.

    Latencies that the scenario sets itself stay as they are. ``over`` spreads the boots.

    Raises:
        InputError: the scenario cannot be run.
    """
    machine = scenario.machine
    if scenario.workload.kind != "boot" and scenario.guest.vcpus > 1:
        raise InputError(
            f"--robust is for one vCPU, and {scenario.name} runs on {scenario.guest.vcpus}: other "
            "latencies would change who waits for whom"
        )
    profile = load_profile(machine.profile)
    booted = zip(strategies, over(partial(_counted, scenario), strategies), strict=True)
    counts = {strategy: count for strategy, count in booted if count is not None}
    costs = with_overrides(profile, machine.latency).costs
    free = {
        name: cost
        for name, cost in costs.items()
        if name not in machine.latency and cost.low_ns < cost.high_ns
    }
    return rank(counts, costs, free, seed=seed)


def _counted(scenario: Scenario, strategy: str) -> Mapping[str, int] | None:
    """How often each parameter counts in a boot's time; None: it fails."""
    table = unit_prices(load_profile(scenario.machine.profile))
    record = run(scenario, strategy, prices=table)
    return units_by_parameter(record.time_by_cost_ns or {}) if record.ok else None


def rank(
    counts: Mapping[str, Mapping[str, int]],
    costs: Mapping[str, Cost],
    free: Mapping[str, Cost],
    *,
    seed: int = 0,
) -> dict[str, Any]:
    """Wins of each strategy over the ranges of the ``free`` costs, the others at their values.

    ``counts``: how often each parameter counts in a strategy's time. Strategies that win equally
    often stand in the order of their mean times.
    """
    if not counts:
        return {"samples": 0, "wins": {}, "open": False, "between": None, "decides": []}
    from scipy.stats import qmc

    names = sorted({name for count in counts.values() for name in count})
    varied = [name for name in names if name in free]
    means = np.array([costs[name].value_ns for name in names], float)
    weights = np.array([[count.get(name, 0) for name in names] for count in counts.values()], float)

    def times(unit: Points) -> Points:
        """ns[strategies, samples] for points of the unit cube, [parameters varied, samples]."""
        values = means[:, np.newaxis].repeat(unit.shape[1], axis=1)
        for name, points in zip(varied, unit, strict=True):
            values[names.index(name)] = _spread(free[name], points)
        return np.asarray(weights @ values)

    found = times(
        qmc.LatinHypercube(len(varied), rng=seed).random(SAMPLES).T if varied else np.zeros((0, 1))
    )
    fastest = np.isclose(found, found.min(axis=0), rtol=1e-12, atol=0)
    wins = (fastest / fastest.sum(axis=0)).mean(axis=1)
    order = np.lexsort((weights @ means, -wins))
    strategies = list(counts)
    between = [int(number) for number in order[:2]]
    return {
        "samples": found.shape[1],
        "wins": {strategies[number]: float(wins[number]) for number in order},
        "open": bool(wins[order[0]] < 1),
        "between": [strategies[number] for number in between] if len(between) == 2 else None,
        "decides": (
            _deciding(lambda unit: times(unit)[between[1]] - times(unit)[between[0]], varied, seed)
            if len(between) == 2 and varied
            else []
        ),
    }


def _spread(cost: Cost, points: Points) -> Points:
    """Points of [0, 1) to ns between the bounds, uniform in the logarithm if it exists."""
    if cost.low_ns == 0:
        return points * cost.high_ns
    return np.asarray(cost.low_ns * (cost.high_ns / cost.low_ns) ** points, float)


def _deciding(difference: Times, varied: Sequence[str], seed: int) -> list[dict[str, Any]]:
    """The parameters that explain most of a difference's variance, most first."""
    from scipy.stats import sobol_indices, uniform

    if np.ptp(difference(np.random.default_rng(seed).random((len(varied), 64)))) == 0:
        return []
    if len(varied) == 1:
        return [{"parameter": varied[0], "first_order": 1.0, "total_order": 1.0}]
    found = sobol_indices(
        func=difference, n=_SOBOL_SAMPLES, dists=[uniform()] * len(varied), rng=seed
    )
    ranked = np.argsort(-found.total_order)[:_SHOWN]
    return [
        {
            "parameter": varied[number],
            "first_order": round(max(0.0, float(found.first_order[number])), 4),
            "total_order": round(float(found.total_order[number]), 4),
        }
        for number in ranked
        if found.total_order[number] >= 0.005
    ]
