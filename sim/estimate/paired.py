"""Differences between two configurations that were run with the same seeds.

Run *r* of both draws from the same named streams (common random numbers), so chance mostly falls
out of the difference: only runs in which one hits and the other does not tell anything.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from sim.estimate.intervals import UPPER, Estimate
from sim.estimate.quantiles import beta_cdf, normal_quantile


class Difference(NamedTuple):
    """How much more often the first hits than the second."""

    difference: Estimate
    only_first: int
    only_second: int
    runs: int
    p_value: float
    """How often as lopsided a split would come about if neither hit more often (McNemar, exact)."""
    variance_ratio: float | None
    """By how much the variance of runs with seeds of their own would be larger; None: no spread."""


def difference_of_shares(first: Sequence[bool], second: Sequence[bool]) -> Difference:
    """The difference of two shares of hits, run by run with the same seeds.

    The interval is Wald's with one more run of either kind (D. G. Bonett and R. M. Price, J. Educ.
    Behav. Stat. 37, 2012), good also where hardly any pair differs.

    Raises:
        ValueError: no runs, or not as many of one as of the other.
    """
    runs = len(first)
    if not runs:
        raise ValueError("a difference needs one pair of runs at least")
    pairs = list(zip(first, second, strict=True))
    only_first = sum(own and not other for own, other in pairs)
    only_second = sum(other and not own for own, other in pairs)
    mean = (only_first - only_second) / runs
    more, less = (only_first + 1) / (runs + 2), (only_second + 1) / (runs + 2)
    middle = more - less
    half = normal_quantile(UPPER) * math.sqrt((more + less - middle**2) / (runs + 2))
    interval = Estimate(mean, max(-1.0, middle - half), min(1.0, middle + half))
    return Difference(
        interval,
        only_first,
        only_second,
        runs,
        _even_split(only_first, only_second),
        _gain(sum(first) / runs, sum(second) / runs, (only_first + only_second) / runs),
    )


def _even_split(one: int, other: int) -> float:
    """How often as many or fewer of fair coins would fall on the rarer side, doubled."""
    fewer, coins = min(one, other), one + other
    if 2 * fewer == coins:
        return 1.0
    # At most k of n fair coins: the beta distribution's tail (DLMF 8.17.5).
    return min(1.0, 2 * beta_cdf(0.5, coins - fewer, fewer + 1))


def _gain(first: float, second: float, discordant: float) -> float | None:
    paired = discordant - (first - second) ** 2
    apart = first * (1 - first) + second * (1 - second)
    return apart / paired if paired > 0 else None
