"""Ratios of sums over runs: hits per opportunity, hits per hour.

The runs are independent, what happens within one is not: its opportunities share a state, and it
may end with its first hit. So the spread is taken between runs (a ratio's linearised variance), and
the sample is said to be worth as many independent opportunities as would spread as much, never
more than there were. Of these counts the intervals are exact, and so they hold for few hits.
Source: E. L. Korn and B. I. Graubard, Survey Methodology 24 (1998).
"""

import math
from collections.abc import Sequence

import numpy as np

from sim.estimate.intervals import CONFIDENCE, UPPER, Estimate, clopper_pearson, share
from sim.estimate.quantiles import gamma_quantile, student_quantile

Column = Sequence[float]
"""One value a run."""


def per_opportunity(hits: Sequence[int], opportunities: Sequence[int]) -> Estimate:
    """Hits per opportunity, of runs with so many hits among so many opportunities each.

    Raises:
        ValueError: fewer than two runs, no opportunity, or more hits than opportunities.
    """
    seen, among = sum(hits), sum(opportunities)
    if any(own > chances for own, chances in zip(hits, opportunities, strict=True)):
        raise ValueError("a run has more hits than opportunities")
    runs = _runs(hits)
    if seen in (0, among):
        return share(seen, among)
    mean = seen / among
    worth = 1 / max(1.0, _spread(hits, opportunities) / (mean * (1 - mean) / among))
    if among > runs:
        # The spread itself is only known as well as the runs are many.
        worth *= (student_quantile(UPPER, among - 1) / student_quantile(UPPER, runs - 1)) ** 2
    return clopper_pearson(worth * seen, worth * among)._replace(mean=mean)


def per_time(hits: Sequence[int], times: Column) -> Estimate:
    """Hits per unit of time, of runs with so many hits in so much time each.

    A Poisson count's exact interval (F. Garwood, Biometrika 28, 1936), of the count that the
    sample is worth; one-sided where nothing was seen.

    Raises:
        ValueError: fewer than two runs, or no time.
    """
    seen, total = sum(hits), float(sum(times))
    _runs(hits)
    if total <= 0:
        raise ValueError("a rate needs time")
    if not seen:
        return Estimate(0.0, 0.0, -math.log1p(-CONFIDENCE) / total)
    worth = 1 / max(1.0, _spread(hits, times) / (seen / total**2))
    low = gamma_quantile(1 - UPPER, worth * seen) / (worth * total)
    high = gamma_quantile(UPPER, worth * seen + 1) / (worth * total)
    return Estimate(seen / total, low, high)


def product_of_sums(*factors: tuple[Column, int]) -> Estimate:
    """The product of sums over runs, each raised to a power: ``(column, power)``.

    For quantities that every run has plenty of, such as times; the interval is Student's, on a
    logarithmic scale (the delta method), and so never negative.

    Raises:
        ValueError: fewer than two runs, or a sum that is not positive.
    """
    runs = _runs(factors[0][0])
    if any(sum(column) <= 0 for column, _ in factors):
        raise ValueError("a product of sums needs each of them to be positive")
    product = math.prod(float(sum(column)) ** power for column, power in factors)
    half = student_quantile(UPPER, runs - 1) * math.sqrt(relative_variance(*factors))
    return Estimate(product, product * math.exp(-half), product * math.exp(half))


def relative_variance(*factors: tuple[Column, int]) -> float:
    """The variance of such a product as a part of its square, linearised."""
    columns = [(np.asarray(column, float), power) for column, power in factors]
    moves = np.zeros(len(factors[0][0]))
    for column, power in columns:
        moves += power * column / column.mean()
    return float(moves.var(ddof=1)) / moves.size


def _runs(column: Column) -> int:
    if len(column) < 2:
        raise ValueError("an interval of a ratio needs two runs at least")
    return len(column)


def _spread(hits: Sequence[int], amounts: Column) -> float:
    """The linearised variance of the ratio of two sums over runs."""
    numerators, denominators = np.asarray(hits, float), np.asarray(amounts, float)
    total = float(denominators.sum())
    residuals = numerators - numerators.sum() / total * denominators
    return float((residuals**2).sum()) / total**2
