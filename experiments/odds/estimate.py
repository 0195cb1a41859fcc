"""The odds of a race: runs of a workload until their share of hits is known well enough.

A race offers *trials*: one run of its workload each, which says whether the race was hit, how many
opportunities there were, how close it came, and how long its window stood open. Odds are a
statement of probability about the workload and its latencies; that a race *exists* is another
claim, and none of these. docs/concepts/odds.md tells which estimator is used when.
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import numpy as np

from experiments.record.trial import Trial
from sim.estimate.intervals import Estimate, bound_when_unseen, share
from sim.estimate.paired import (
    Difference,
    RatioDifference,
    difference_of_ratios,
    difference_of_shares,
)
from sim.estimate.rare_events import Conditions, TimeAverage, expected_hits, time_average
from sim.estimate.ratios import per_opportunity, per_time
from sim.estimate.sequential import Precision, next_look

NS_PER_HOUR = 3_600_000_000_000
_QUANTILES = {"p10_ns": 0.1, "p50_ns": 0.5, "p90_ns": 0.9, "p99_ns": 0.99, "max_ns": 1.0}
_PRECISION = re.compile(r"(\d+(?:\.\d+)?(?:[eE]-?\d+)?) ?(%?)")


class Over(Protocol):
    """Calls a function for each of these numbers; the answers are in their order."""

    def __call__(
        self, function: Callable[[int], Trial], numbers: Sequence[int], /
    ) -> Iterable[Trial]:
        """As ``map``, or by several processes."""


@dataclass(frozen=True)
class Windows:
    """How many windows there were, and how long: quantiles in ns, ``max_ns`` the longest."""

    count: int
    mean_ns: float
    quantiles: dict[str, float]


@dataclass(frozen=True)
class Odds:
    """What so many runs say of a race. Intervals hold the truth with 95 % confidence."""

    runs: int
    hits: int
    opportunities: int
    near_misses: int
    time_ns: int
    per_run: Estimate
    per_opportunity: Estimate | None
    """Hits for each opportunity, by plain sampling; None where there was no opportunity."""
    per_hour: Estimate
    """Hits for each simulated hour of the workload, by plain sampling."""
    windows: Windows | None
    time_average: TimeAverage | None
    """The same by the time that the window is open, in hits per opportunity and per hour; None
    where the race does not state its conditions, or the window was never open."""
    no_time_average: str
    """Why there is none, where that was said."""
    precise: bool
    """Is the estimate as precise as asked for? Otherwise the runs were used up."""
    seed: int

    @property
    def best(self) -> Estimate:
        """The estimate that sampling went by: see :func:`odds`."""
        if self.time_average is not None and self.time_average.agrees:
            return self.time_average.per_opportunity
        return self.per_run if self.per_opportunity is None else self.per_opportunity

    @property
    def sentence(self) -> str:
        """The answer in words."""
        said = seen(self.hits, self.runs)
        if self.time_average is None:
            return said
        expected = f"{self.time_average.expected_hits:.3g}"
        if self.time_average.agrees:
            return (
                f"{said}; by the time that the window is open, "
                f"{between(self.time_average.per_opportunity)} per opportunity, "
                f"by which {expected} hits were to be expected"
            )
        return (
            f"{said}; by the time that the window is open there should have been {expected} hits, "
            "so arrivals are not independent of it, and plain sampling counts"
        )

    def record(self) -> dict[str, Any]:
        """The same as plain values for JSON; estimates as mean, low and high."""
        average = self.time_average
        return {
            "seed": self.seed,
            "runs": self.runs,
            "hits": self.hits,
            "opportunities": self.opportunities,
            "near_misses": self.near_misses,
            "time_ns": self.time_ns,
            "per_run": self.per_run._asdict(),
            "per_opportunity": None if (own := self.per_opportunity) is None else own._asdict(),
            "per_hour": self.per_hour._asdict(),
            "window": (
                None
                if (windows := self.windows) is None
                else {"count": windows.count, "mean_ns": windows.mean_ns, **windows.quantiles}
            ),
            "time_average": (
                None
                if average is None
                else {
                    "per_opportunity": average.per_opportunity._asdict(),
                    "per_hour": average.per_time._asdict(),
                    "expected_hits": average.expected_hits,
                    "agrees": average.agrees,
                    "p_value": average.p_value,
                    "variance_ratio": average.variance_ratio,
                }
            ),
            "no_time_average": self.no_time_average or None,
            "precise": self.precise,
            "sentence": self.sentence,
        }


def odds(
    trial: Callable[[int, int], Trial],
    *,
    precision: Precision,
    most: int,
    seed: int,
    conditions: Conditions | None = None,
    why_not: str = "",
    earlier: Sequence[Trial] = (),
    over: Over = map,
) -> Odds:
    """Run trials until the probability per opportunity is as precise as asked, or ``most`` are run.

    ``trial(seed, replication)`` makes one; its draws come from ``Streams(seed, replication)``, so
    that other configurations meet the same chance. With ``conditions`` that hold, the time
    average is what gets precise, as long as plain sampling agrees with it. A race without
    opportunities is measured per run. ``earlier`` are trials that were made before, of the
    replications from 0 on: the answer is the same as if sampling had not been broken off.
    ``over`` makes many trials; how does not show in the answer. ``why_not`` is said where there
    are no conditions.

    Raises:
        ValueError: ``most`` is less than two, or there are more earlier trials.
    """
    return sampled(
        trial,
        precision=precision,
        most=most,
        seed=seed,
        conditions=conditions,
        why_not=why_not,
        earlier=earlier,
        over=over,
    )[0]


def sampled(
    trial: Callable[[int, int], Trial],
    *,
    precision: Precision,
    most: int,
    seed: int,
    conditions: Conditions | None = None,
    why_not: str = "",
    earlier: Sequence[Trial] = (),
    over: Over = map,
) -> tuple[Odds, list[Trial]]:
    """As :func:`odds`, with the trials that were made."""
    if most < 2:
        raise ValueError("odds need two runs at least")
    trials = list(earlier)
    sum_up = partial(
        conclude, precision=precision, seed=seed, conditions=conditions, why_not=why_not
    )
    while len(trials) < most:
        look = next_look(len(trials), most)
        trials += over(partial(trial, seed), range(len(trials), look))
        known = sum_up(trials)
        if known.precise:
            return known, trials
    return sum_up(trials), trials


def conclude(
    trials: Sequence[Trial],
    *,
    precision: Precision,
    seed: int,
    conditions: Conditions | None = None,
    why_not: str = "",
) -> Odds:
    """What these trials say; of two at least, with some time in them."""
    hits = [int(trial.hit) for trial in trials]
    opportunities = [trial.opportunities for trial in trials]
    times = [trial.time_ns for trial in trials]
    hours = [time_ns / NS_PER_HOUR for time_ns in times]
    average = None
    if conditions is not None:
        average, why_not = _by_time(trials, conditions)
    known = Odds(
        runs=len(trials),
        hits=sum(hits),
        opportunities=sum(opportunities),
        near_misses=sum(trial.near_misses for trial in trials),
        time_ns=sum(times),
        per_run=share(sum(hits), len(trials)),
        per_opportunity=(
            per_opportunity(hits, opportunities) if any(opportunities) or any(hits) else None
        ),
        per_hour=per_time(hits, hours),
        windows=_windows([ns for trial in trials for ns in trial.window_ns]),
        time_average=average,
        no_time_average=why_not,
        precise=False,
        seed=seed,
    )
    return replace(known, precise=precision.reached(known.best))


def _by_time(trials: Sequence[Trial], conditions: Conditions) -> tuple[TimeAverage | None, str]:
    """The odds by the time that the window is open; None and why not."""
    if conditions.unmet():
        return None, " and ".join(conditions.unmet())
    hits = [int(trial.hit) for trial in trials]
    opportunities = [trial.opportunities for trial in trials]
    hours = [trial.time_ns / NS_PER_HOUR for trial in trials]
    unopened = None, "no attempt could have hit in any run, so its share of the time is not known"
    if not any(opportunities):
        return unopened
    exposures = [trial.exposure for trial in trials if trial.exposure is not None]
    if exposures:
        expected = [own.expected_hits for own in exposures]
        others = [own.other_hits for own in exposures]
        if not any(expected):
            return unopened
        return expected_hits(expected, others, hours, hits, opportunities, conditions), ""
    open_hours = [trial.open_ns / NS_PER_HOUR for trial in trials]
    if not any(open_hours):
        return unopened
    return time_average(open_hours, hours, hits, opportunities, conditions), ""


def moved(first: Sequence[Trial], second: Sequence[Trial]) -> RatioDifference | None:
    """How much more probable a hit is per opportunity in the second configuration's runs.

    Run by run with the same seeds, as many as both have. None if either had no opportunity.
    """
    runs = min(len(first), len(second))
    columns = [
        (
            [int(trial.hit) for trial in trials[:runs]],
            [trial.opportunities for trial in trials[:runs]],
        )
        for trials in (first, second)
    ]
    if runs < 2 or not all(any(opportunities) for _, opportunities in columns):
        return None
    return difference_of_ratios(*columns)


def difference(
    first: Callable[[int, int], Trial],
    second: Callable[[int, int], Trial],
    *,
    runs: int,
    seed: int,
) -> Difference:
    """How much more often the first configuration hits, in runs with the same seeds."""
    return difference_of_shares(
        [first(seed, replication).hit for replication in range(runs)],
        [second(seed, replication).hit for replication in range(runs)],
    )


def seen(hits: int, runs: int) -> str:
    """How often a race was seen, and what that says of its probability, in words."""
    if not hits:
        return f"not seen in {runs:,} runs, p < {_rounded_up(bound_when_unseen(runs))} at 95 %"
    if hits == runs:
        # The bound is rounded to the safe side as the complement that it is known of.
        least = 1 - float(_rounded_up(bound_when_unseen(runs)))
        return f"seen in all {runs:,} runs, p > {least:.12g} at 95 %"
    return f"seen in {hits:,} of {runs:,} runs: {between(share(hits, runs))}"


def between(estimate: Estimate) -> str:
    """An estimate and its interval, in words, to two digits of each and of the interval's width."""
    mean, low, high = (_digits(value, estimate.high - estimate.low) for value in estimate)
    return f"p = {mean} ({low} to {high})"


def parse_precision(text: str) -> Precision:
    """A precision as it is asked for: ``10%`` of the probability, or ``0.001``, absolute.

    Raises:
        ValueError: it is neither; the message continues a sentence that begins with the text.
    """
    amount = _PRECISION.fullmatch(text.strip())
    value = float(amount[1]) if amount else 0.0
    if amount is None or not 0 < value <= (100 if amount[2] else 1):
        raise ValueError('is not a precision; write "10%" of the probability, or "0.001", absolute')
    return Precision(relative=value / 100) if amount[2] else Precision(absolute=value)


def _windows(lengths_ns: Sequence[int]) -> Windows | None:
    if not lengths_ns:
        return None
    sample = np.asarray(lengths_ns, float)
    values = np.quantile(sample, list(_QUANTILES.values())).tolist()
    return Windows(
        len(lengths_ns), float(sample.mean()), dict(zip(_QUANTILES, values, strict=True))
    )


def _digits(value: float, width: float) -> str:
    """A probability to two significant digits of its own, and of this width."""
    finest = min(number for number in (abs(value), width, 1.0) if number)
    places = 1 - math.floor(math.log10(finest))
    significant = places + 1 + (math.floor(math.log10(abs(value))) if value else 0)
    return f"{value:.{significant}g}"


def _rounded_up(bound: float) -> str:
    """A bound to two significant digits, none of which may promise more than it holds."""
    places = 1 - math.floor(math.log10(bound))
    # Scaling leaves a trace of rounding, which must not push a whole number up to the next.
    return f"{math.ceil(round(bound * 10**places, 6)) / 10**places:.2g}"
