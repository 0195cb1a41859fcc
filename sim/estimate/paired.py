"""Differences between two configurations that were run with the same seeds.

Run *r* of both draws from the same named streams (common random numbers), so chance mostly falls
out of the difference: only runs in which one hits and the other does not tell anything.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sim.estimate.intervals import UPPER, Estimate, student
from sim.estimate.quantiles import beta_cdf, normal_quantile
from sim.estimate.ratios import Column


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


class RatioDifference(NamedTuple):
    """How much larger the second ratio of sums is than the first."""

    difference: Estimate
    runs: int
    variance_ratio: float | None
    """By how much the variance of runs with seeds of their own would be larger; None: no spread."""


def difference_of_ratios(
    first: tuple[Column, Column], second: tuple[Column, Column]
) -> RatioDifference:
    """The difference of two ratios of sums over runs, run by run with the same seeds.

    Each is a pair of columns, hits and opportunities (or hits and time), one value a run. The
    spread is that of the ratios' linearised variance, taken pair by pair; the interval is
    Student's, and needs some hits to mean anything.

    Raises:
        ValueError: fewer than two runs, not as many of one as of the other, or nothing to divide
            by.
    """
    moves, ratios = [], []
    for numerators, denominators in (first, second):
        above, below = np.asarray(numerators, float), np.asarray(denominators, float)
        if below.sum() <= 0:
            raise ValueError("a ratio needs something to divide by")
        ratio = float(above.sum() / below.sum())
        ratios.append(ratio)
        moves.append((above - ratio * below) / below.mean())
    if moves[0].size != moves[1].size:
        raise ValueError("a difference needs as many runs of one as of the other")
    middle, low, high = student((moves[1] - moves[0]).tolist())
    mean = ratios[1] - ratios[0]
    interval = Estimate(mean, mean + low - middle, mean + high - middle)
    paired = float((moves[1] - moves[0]).var())
    apart = float(moves[0].var() + moves[1].var())
    return RatioDifference(interval, moves[0].size, apart / paired if paired > 0 else None)


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
