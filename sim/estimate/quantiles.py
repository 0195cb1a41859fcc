"""Quantiles of the distributions that intervals are made of, with the standard library alone.

The engine does without SciPy, whose import takes a second. What is needed of it is small: the
regularised incomplete beta and gamma functions as continued fractions and a series (NIST's
Digital Library of Mathematical Functions, dlmf.nist.gov, 8.17.22, 8.9.2 and 8.7.1), turned round by
Newton's method. The tests hold them to ``scipy.stats``.
"""

import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import count
from statistics import NormalDist

_TINY = 1e-300
_ENOUGH = 1e-15
_PAIRS = 8192
"""Answers that are kept: looking at a growing sample asks for the same again and again."""


def normal_quantile(p: float) -> float:
    """The value below which a standard normal variable lies with probability ``p``."""
    return NormalDist().inv_cdf(p)


def student_quantile(p: float, degrees: float) -> float:
    """The value below which Student's t with so many degrees of freedom lies."""
    if p < 0.5:
        return -student_quantile(1 - p, degrees)
    if p == 0.5:
        return 0.0
    # t**2 / (degrees + t**2) follows a beta distribution (DLMF 8.17 has the same function).
    share = beta_quantile(2 * (1 - p), degrees / 2, 0.5)
    return math.sqrt(degrees * (1 - share) / share)


def beta_cdf(x: float, a: float, b: float) -> float:
    """The probability that a beta variable with parameters ``a`` and ``b`` is at most ``x``."""
    if x <= 0:
        return 0.0
    if x >= 1:
        return 1.0
    if x > (a + 1) / (a + b + 2):  # there the fraction of the other tail converges faster
        return 1 - _beta_tail(1 - x, b, a)
    return _beta_tail(x, a, b)


def gamma_cdf(x: float, a: float) -> float:
    """The probability that a gamma variable of shape ``a`` and scale 1 is at most ``x``.

    A Poisson count with mean x is at least k with the probability ``gamma_cdf(x, k)``.
    """
    if x <= 0:
        return 0.0
    if x > a + 1:
        return 1 - gamma_survival(x, a)
    term = total = 1 / a
    for n in count(1):
        term *= x / (a + n)
        total += term
        if term < total * _ENOUGH:
            break
    return math.exp(a * math.log(x) - x - math.lgamma(a)) * total


def gamma_survival(x: float, a: float) -> float:
    """One minus :func:`gamma_cdf`, exact also where next to nothing is left.

    A Poisson count with mean x is at most k with the probability ``gamma_survival(x, k + 1)``.
    """
    if x <= a + 1:
        return 1 - gamma_cdf(x, a)
    terms = ((n * (a - n), x + 2 * n + 1 - a) for n in count(1))
    fraction = _continued_fraction(x + 1 - a, terms)
    return math.exp(a * math.log(x) - x - math.lgamma(a)) / fraction


@lru_cache(_PAIRS)
def beta_quantile(p: float, a: float, b: float) -> float:
    """The value below which a beta variable lies with probability ``p``, 0 < p < 1."""
    log_beta = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)

    def density(x: float) -> float:
        return math.exp((a - 1) * math.log(x) + (b - 1) * math.log1p(-x) - log_beta)

    return _solve(lambda x: beta_cdf(x, a, b) - p, density, a / (a + b), 1.0)


@lru_cache(_PAIRS)
def gamma_quantile(p: float, a: float) -> float:
    """The value below which a gamma variable of scale 1 lies with probability ``p``, 0 < p < 1."""
    high = a + 1
    while gamma_cdf(high, a) < p:
        high *= 2

    def density(x: float) -> float:
        return math.exp((a - 1) * math.log(x) - x - math.lgamma(a))

    return _solve(lambda x: gamma_cdf(x, a) - p, density, min(a, high / 2), high)


def _beta_tail(x: float, a: float, b: float) -> float:
    log_beta = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)

    def terms() -> Iterator[tuple[float, float]]:
        for m in count():
            yield -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)), 1.0
            m1 = m + 1
            yield m1 * (b - m1) * x / ((a + 2 * m1 - 1) * (a + 2 * m1)), 1.0

    front = math.exp(a * math.log(x) + b * math.log1p(-x) - log_beta) / a
    return front / _continued_fraction(1.0, terms())


def _continued_fraction(first: float, terms: Iterator[tuple[float, float]]) -> float:
    """``first + n1 / (d1 + n2 / (d2 + ...))``, by the modified method of Lentz."""
    value = upper = first or _TINY
    lower = 0.0
    for numerator, denominator in terms:
        lower = 1 / (denominator + numerator * lower or _TINY)
        upper = denominator + numerator / upper or _TINY
        value *= upper * lower
        if abs(upper * lower - 1) < _ENOUGH:
            break
    return value


def _solve(
    excess: Callable[[float], float], slope: Callable[[float], float], start: float, high: float
) -> float:
    """Where a growing function of (0, high) is zero: Newton's steps, halving where they leave."""
    low, x = 0.0, start
    for _ in range(200):
        over = excess(x)
        if over > 0:
            high = x
        else:
            low = x
        rise = slope(x)
        following = x - over / rise if rise > _TINY else -1.0
        if not low < following < high:
            following = (low + high) / 2
        if abs(following - x) <= 4 * _ENOUGH * x:
            break
        x = following
    return x
