"""Tables of equally probable quantiles in integers, the same bytes on every machine.

A library's ``exp`` and ``log`` differ in their last bits from one machine to the next: numpy picks
theirs by what the CPU can do, and C libraries differ. IEEE 754 fixes the results of adding,
subtracting, multiplying, dividing, of square roots and of scaling by powers of two. Everything here
is made of these alone, element by element; sums are of integers, so that their order is
no matter.
"""

from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Units: TypeAlias = NDArray[np.int64]

POINT_BITS = 16
POINTS = 1 << POINT_BITS
"""Point i of a table stands for the probability (i + 1/2) / 65,536."""

LARGEST = 1 << 50
"""No entry is larger, so that 4,096 of them, and a carry, can be added in 64 bits."""

_WEIGHT_BITS = 46  # the weights' sum fits into 62 bits

_SQRT_HALF = 0.7071067811865476
_LN2 = 0.6931471805599453
# ln 2 in two parts; products of the first with small whole numbers are exact.
_LN2_HIGH, _LN2_LOW = float.fromhex("0x1.62e42feep-1"), float.fromhex("0x1.a39ef35793c76p-33")
_LOG_TERMS = 11
_EXP_TERMS = 14
_PART = 8192

# M. J. Wichura, Algorithm AS 241: The Percentage Points of the Normal Distribution, Applied
# Statistics 37 (1988), PPND16: numerators and denominators near the median and away from it,
# highest power first. Its third pair is for probabilities that these tables do not have.
_CENTRE = (
    (
        2.5090809287301226727e3,
        3.3430575583588128105e4,
        6.7265770927008700853e4,
        4.5921953931549871457e4,
        1.3731693765509461125e4,
        1.9715909503065514427e3,
        1.3314166789178437745e2,
        3.3871328727963666080e0,
    ),
    (
        5.2264952788528545610e3,
        2.8729085735721942674e4,
        3.9307895800092710610e4,
        2.1213794301586595867e4,
        5.3941960214247511077e3,
        6.8718700749205790830e2,
        4.2313330701600911252e1,
        1.0,
    ),
)
_TAIL = (
    (
        7.74545014278341407640e-4,
        2.27238449892691845833e-2,
        2.41780725177450611770e-1,
        1.27045825245236838258e0,
        3.64784832476320460504e0,
        5.76949722146069140550e0,
        4.63033784615654529590e0,
        1.42343711074968357734e0,
    ),
    (
        1.05075007164441684324e-9,
        5.47593808499534494600e-4,
        1.51986665636164571966e-2,
        1.48103976427480074590e-1,
        6.89767334985100004550e-1,
        1.67638483018380384940e0,
        2.05319162663775882187e0,
        1.0,
    ),
)


@lru_cache(maxsize=128)
def lognormal(mean: float, sigma: float, fraction_bits: int) -> Units:
    """Quantiles of the lognormal distribution, in units of 2**-fraction_bits.

    The outermost points lie 4.32 deviations of the logarithm from the median, so rarer values do
    not come; what they would add to the mean is spread over the others. A mean of 40 with a sigma
    of 0.3 has a deviation of 12.2747 instead of 12.2751.
    """
    return _scaled(*_lognormal_shape(sigma), mean, fraction_bits)


@lru_cache(maxsize=128)
def exponential(mean: float, fraction_bits: int) -> Units:
    """Quantiles of the exponential distribution, in units of 2**-fraction_bits.

    The largest is 11.8 times the mean.
    """
    return _scaled(*_exponential_shape(), mean, fraction_bits)


@lru_cache(maxsize=32)
def _lognormal_shape(sigma: float) -> tuple[Floats, int]:
    # Above the median and, one divided by that, below it; divided by the largest.
    above = exponentials(standard_normal()[POINTS // 2 :] * -sigma)
    return _with_weight(np.concatenate((above[::-1] * above[-1], above[-1] / above)))


@lru_cache(maxsize=1)
def _exponential_shape() -> tuple[Floats, int]:
    above = (np.arange(POINTS, 0, -1, dtype=np.float64) - 0.5) / POINTS
    return _with_weight(logarithms(above) / logarithms(above[-1:]))


def _with_weight(shape: Floats) -> tuple[Floats, int]:
    """Quantiles up to a factor, the largest 1, and their sum times 2**46."""
    weight = 0
    for part in _parts(shape):
        weight += int(np.rint(part * 2.0**_WEIGHT_BITS).astype(np.int64).sum())
    return shape, weight


def _scaled(shape: Floats, weight: int, mean: float, fraction_bits: int) -> Units:
    """The quantiles as integers whose mean is the given one, to a 65,536th of a unit."""
    total = round(_shifted(mean, fraction_bits + POINT_BITS))
    factor = _shifted(total / weight, _WEIGHT_BITS)
    if factor > LARGEST:
        raise ValueError(f"a mean of {mean:g} ns is too long for times to be added up in 64 bits")
    exact = shape * factor
    units = np.rint(exact, out=exact).astype(np.int64)
    left = total - int(units.sum())
    if left:
        # Less than one unit a point; the largest bear it most easily.
        units[-abs(left) :] += 1 if left > 0 else -1
    units.flags.writeable = False
    return units


def _shifted(value: float, bits: int) -> float:
    return float(np.ldexp(value, bits))


@lru_cache(maxsize=1)
def standard_normal() -> Floats:
    """Quantiles of the standard normal distribution, to about 16 digits."""
    from_median = (np.arange(POINTS // 2, dtype=np.float64) + 0.5) / POINTS
    central = int(0.425 * POINTS)
    near, far = from_median[:central], 0.5 - from_median[central:]
    above = np.empty(POINTS // 2)
    above[:central] = near * _ratio(_CENTRE, 0.180625 - near * near)
    above[central:] = _ratio(_TAIL, np.sqrt(-logarithms(far)) - 1.6)
    return np.concatenate((-above[::-1], above))


def _ratio(polynomials: tuple[tuple[float, ...], tuple[float, ...]], x: Floats) -> Floats:
    above, below = polynomials
    return _polynomial(above, x) / _polynomial(below, x)


def _polynomial(coefficients: tuple[float, ...], x: Floats) -> Floats:
    """By Horner's rule, highest power first."""
    value = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        value *= x
        value += coefficient
    return value


def _parts(x: Floats) -> list[Floats]:
    """The same numbers, as many in a part as stay in the CPU's caches while they are worked on."""
    return [x[start : start + _PART] for start in range(0, len(x), _PART)]


def logarithms(x: Floats) -> Floats:
    """Natural logarithms of positive numbers, to about 16 digits."""
    return np.concatenate([_logarithms(part) for part in _parts(x)])


def exponentials(x: Floats) -> Floats:
    """Powers of e, to about 16 digits, for numbers of -700 to 0 and, as that, below -700."""
    return np.concatenate([_exponentials(part) for part in _parts(x)])


def _logarithms(x: Floats) -> Floats:
    """By a series.

    The logarithm of m = x / 2**k, between 0.7 and 1.4, is twice the inverse hyperbolic tangent of
    (m - 1) / (m + 1), whose series converges fast.
    """
    m, k = np.frexp(x)
    low = m < _SQRT_HALF
    m = np.where(low, m * 2.0, m)
    exponent = (k - low).astype(np.float64)
    ratio = (m - 1.0) / (m + 1.0)
    odd = tuple(2.0 / (2 * term + 1) for term in range(_LOG_TERMS, -1, -1))
    return exponent * _LN2_HIGH + (ratio * _polynomial(odd, ratio * ratio) + exponent * _LN2_LOW)


def _exponentials(x: Floats) -> Floats:
    """By a series.

    x is k times the logarithm of 2 and a rest below 0.35, whose exponential is a short series.
    """
    x = np.maximum(x, -700.0)
    k = np.rint(x / _LN2)
    rest = (x - k * _LN2_HIGH) - k * _LN2_LOW
    series = [1.0]
    for term in range(1, _EXP_TERMS):
        series.append(series[-1] / term)
    # A float that is 2**k: its exponent alone, which begins at bit 52 and is kept plus 1023.
    power = ((k.astype(np.int64) + 1023) << 52).view(np.float64)
    return _polynomial(tuple(series[::-1]), rest) * power
