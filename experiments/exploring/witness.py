"""From existence to odds: does a failure that some order of steps has come about on the clock?

An exploration says that an order exists. Whether real latencies let it happen is another
question: the race's workload is run on the clock, and where it never fails, with one cost after
the other made longer.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from experiments.odds.estimate import parse_precision
from experiments.odds.race_odds import race_odds
from experiments.scenario.quantities import format_duration
from experiments.subjects.on_clock import Asked
from experiments.subjects.race_settings import Settings
from experiments.subjects.trial import Timed
from models.profiles.prices import prices
from models.races.race import Race

RUNS = 60
"""Runs with the profile's latencies ..."""
_FEWER = 4
"""... and with one that is longer."""
_TIMES = (10, 100, 1000)
_PRECISION = parse_precision("10%")


@dataclass(frozen=True)
class Witness:
    """What came of the search."""

    sentence: str
    profile: str
    runs: int
    hits: int
    per_opportunity: dict[str, Any] | None
    """The estimate and its interval (95 %)."""
    slower: dict[str, Any] | None = None
    """The cost that had to be longer, how much, and how often the failure was seen then."""


def witness(race: Race, settings: Settings, seed: int, seconds: float) -> Witness | None:
    """Look for the race's failure on the clock, for so long; None if it has no workload there."""
    until = time.monotonic() + seconds
    if not race.opportunity:
        return None
    record, _ = race_odds(race, settings, precision=_PRECISION, most=RUNS, seed=seed)
    runs, hits, odds = record["runs"], record["hits"], record["per_opportunity"]
    if hits:
        low, value, high = (odds[key] for key in ("low", "mean", "high"))
        return Witness(
            f"reachable: p = {value:.2g} per opportunity ({low:.2g} to {high:.2g}) under "
            f"{settings.profile}, seen in {hits} of {runs} runs",
            settings.profile,
            runs,
            hits,
            odds,
        )
    unseen = f"not seen in {runs} runs under {settings.profile}"
    if odds is not None:
        unseen += f": p < {odds['high']:.2g} per opportunity"
    table = prices(settings.priced)
    tried = "nor with any one cost up to 1,000 times as long"
    for cost, times in _longer(race, settings, seed):
        if time.monotonic() >= until:
            tried = f"nor with any one cost up to {times // 10:,} times as long, and some {times:,}"
            break
        seen = _hits(race, settings, seed, {cost: float(times)})
        if seen:
            usual = format_duration(table[cost].distribution.mean)
            return Witness(
                f"{unseen}; reachable only if something is slower: with {cost} {times} times as "
                f"long as its {usual} it was seen in {seen} of {_FEWER} runs",
                settings.profile,
                runs,
                hits,
                odds,
                {"cost": cost, "times": times, "runs": _FEWER, "hits": seen},
            )
    return Witness(
        f"{unseen}, {tried}",
        settings.profile,
        runs,
        hits,
        odds,
    )


def _longer(race: Race, settings: Settings, seed: int) -> Iterator[tuple[str, int]]:
    """The costs that the workload spends, each with how much longer it could be: a little first."""
    run = Timed(race, settings, Asked(seed=seed))
    spent = {cost for vcpu in run.simulation.vcpus for cost in vcpu.accounts.by_cost}
    costs = sorted(spent & prices(settings.priced).keys())
    return ((cost, times) for times in _TIMES for cost in costs)


def _hits(race: Race, settings: Settings, seed: int, slower: Mapping[str, float]) -> int:
    """In how many of a few runs it fails."""
    runs = (
        Timed(race, settings, Asked(seed=seed, replication=number), slower=slower)
        for number in range(_FEWER)
    )
    return sum(run.verdict.outcome != "ok" for run in runs)
