"""Odds of a rare race from the time that its window is open.

Where mappers arrive as a Poisson process that knows nothing of the window, an arrival finds it
open as often as it *is* open: *Poisson arrivals see time averages* (R. W. Wolff, Operations
Research 30, 1982). The share of time is then an estimate of the odds without a single hit, with a
fraction of the variance. Where a condition fails it is simply wrong, so the conditions must be
stated, gaps between arrivals can be tested, and the answer is held against plain sampling.

A run may end with its first hit; both sides of the equation stop at the same moment then.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sim.estimate.intervals import Estimate
from sim.estimate.quantiles import gamma_cdf, gamma_survival
from sim.estimate.ratios import Column, product_of_sums, relative_variance

DOUBTFUL = 0.01
"""A p-value below which two answers are said to differ."""


@dataclass(frozen=True)
class Conditions:
    """What a model says of the arrivals that may hit."""

    poisson_arrivals: bool
    """Gaps between arrivals are independent draws of one exponential distribution."""
    independent_of_state: bool
    """Whether the window is open has no influence on arrivals to come."""

    def unmet(self) -> tuple[str, ...]:
        """The conditions that do not hold, as sentences."""
        sentences = {
            "arrivals are not a Poisson process": self.poisson_arrivals,
            "arrivals depend on whether the window is open": self.independent_of_state,
        }
        return tuple(sentence for sentence, met in sentences.items() if not met)


class TimeAverage(NamedTuple):
    """Odds by the time that the window is open, beside those by plain sampling."""

    per_opportunity: Estimate
    per_time: Estimate
    """Hits per unit of the time that went in."""
    expected_hits: float
    """How many hits plain sampling should have seen."""
    p_value: float
    """How often plain sampling would be as far off by chance."""
    variance_ratio: float | None
    """By how much the variance of plain sampling is larger; None where it saw nothing, or where
    the window was open for the same share of each run."""

    @property
    def agrees(self) -> bool:
        """Does plain sampling say the same?"""
        return self.p_value >= DOUBTFUL


def time_average(
    open_times: Column,
    times: Column,
    hits: Sequence[int],
    opportunities: Sequence[int],
    conditions: Conditions,
) -> TimeAverage:
    """Odds of runs whose window was open for so much of so much time.

    An opportunity is an arrival. All columns have one value a run; times are in one unit.

    Raises:
        ValueError: a condition does not hold, there are fewer than two runs, or the window was
            never open.
    """
    unmet = conditions.unmet()
    if unmet:
        raise ValueError(f"the time that a window is open gives no odds: {' and '.join(unmet)}")
    share = product_of_sums((open_times, 1), (times, -1))
    per_time = product_of_sums((open_times, 1), (opportunities, 1), (times, -2))
    seen, among = sum(hits), sum(opportunities)
    expected = share.mean * among
    ratio = None
    if seen:
        plain = (seen / among) ** 2 * relative_variance((hits, 1), (opportunities, -1))
        own = share.mean**2 * relative_variance((open_times, 1), (times, -1))
        ratio = plain / own if own else None
    return TimeAverage(share, per_time, expected, _tail(seen, expected), ratio)


def expected_hits(
    expected: Column,
    others: Sequence[int],
    times: Column,
    hits: Sequence[int],
    opportunities: Sequence[int],
    conditions: Conditions,
) -> TimeAverage:
    """The same where an attempt takes time, so that not all of them arrive out of the blue.

    ``expected``: by run, the hits to be expected of the attempts that begin in an open window, from
    the rate at which those begin who could, and how long one would have found the window
    open still. ``others``: hits of attempts that had begun before it opened, which are counted.
    Rests that are exponential know nothing of the window, so the first are an expectation
    given all else (*conditional PASTA*: E. A. van Doorn and G. J. K. Regterschot, Operations
    Research Letters 7, 1988).

    Raises:
        ValueError: as :func:`time_average`.
    """
    unmet = conditions.unmet()
    if unmet:
        raise ValueError(f"the time that a window is open gives no odds: {' and '.join(unmet)}")
    both = [own + other for own, other in zip(expected, others, strict=True)]
    per_one = product_of_sums((both, 1), (opportunities, -1))
    per_time = product_of_sums((both, 1), (times, -1))
    seen, among = sum(hits), sum(opportunities)
    ratio = None
    if seen:
        plain = (seen / among) ** 2 * relative_variance((hits, 1), (opportunities, -1))
        own = per_one.mean**2 * relative_variance((both, 1), (opportunities, -1))
        ratio = plain / own if own else None
    tail = _tail(seen - sum(others), float(sum(expected)))
    return TimeAverage(per_one, per_time, float(sum(both)), tail, ratio)


def _tail(seen: int, expected: float) -> float:
    """How often a Poisson count is as far from its expectation, or farther, to either side.

    That the window is open more in one run than in another does not matter: given when it was open,
    the hits of Poisson arrivals are a Poisson count.
    """
    fewer = gamma_survival(expected, seen + 1)
    more = gamma_cdf(expected, seen) if seen else 1.0
    return min(1.0, 2 * min(fewer, more))
