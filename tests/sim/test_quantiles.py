"""Tables of quantiles: those of scipy and the C library, though made without either."""

import math
from fractions import Fraction
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtri

from sim import quantiles

PROBABILITIES = (np.arange(quantiles.POINTS) + 0.5) / quantiles.POINTS
MEANS = st.floats(1e-6, 1e9)
SIGMAS = st.floats(0.01, 2.0)


def bits_for(mean: float) -> int:
    """As many as give the mean 32 bits, as distributions want it."""
    return max(0, 32 - math.frexp(mean)[1])


def test_normal_quantiles_are_scipys() -> None:
    """All of them, to 1e-12."""
    assert np.abs(quantiles.standard_normal() - ndtri(PROBABILITIES)).max() < 1e-12


@pytest.mark.parametrize("top", [1.0, 30.0, 700.0])
def test_powers_of_e_are_the_c_librarys(top: float) -> None:
    """To 14 digits."""
    x = -np.linspace(0.0, top, 20_001)

    expected = np.array([math.exp(value) for value in x])

    assert np.abs(quantiles.exponentials(x) / expected - 1.0).max() < 1e-14


def test_power_of_e_too_small_for_a_table_is_the_smallest() -> None:
    """No float underflows, and nothing is divided by 0."""
    [least, same] = quantiles.exponentials(np.array([-700.0, -1e9]))

    assert 0.0 < least == same


def test_logarithms_are_the_c_librarys() -> None:
    """From the smallest probability of a table to 1, to 1e-14."""
    x = np.concatenate((PROBABILITIES, [0.5, 1.0, math.sqrt(0.5)]))

    expected = np.array([math.log(value) for value in x])

    assert np.abs(quantiles.logarithms(x) - expected).max() < 1e-14


@given(MEANS, SIGMAS)
def test_lognormal_table_is_scaled_to_the_exact_mean(mean: float, sigma: float) -> None:
    """Its sum is the mean times 65,536 to the unit, and it never falls."""
    bits = bits_for(mean)
    table = quantiles.lognormal(mean, sigma, bits)

    assert round(Fraction(mean) * 2 ** (bits + 16)) == int(table.sum())
    assert table[0] >= 0
    assert (np.diff(table) >= 0).all()


@given(MEANS)
def test_exponential_table_is_scaled_to_the_exact_mean(mean: float) -> None:
    """Its sum is the mean times 65,536 to the unit, and it never falls."""
    bits = bits_for(mean)
    table = quantiles.exponential(mean, bits)

    assert round(Fraction(mean) * 2 ** (bits + 16)) == int(table.sum())
    assert table[0] >= 0
    assert (np.diff(table) >= 0).all()


def test_lognormal_points_are_those_of_the_formula() -> None:
    """exp(sigma z) at the quantiles z of the normal distribution, by Python's own functions.

    Up to the factor that makes the mean of the 65,536 points exact.
    """
    table = quantiles.lognormal(40.0, 0.3, 26)
    points = [math.exp(0.3 * NormalDist().inv_cdf(float(p))) for p in PROBABILITIES]
    scale = 40.0 / (math.fsum(points) / len(points))

    assert np.abs(table / 2**26 - scale * np.array(points)).max() < 1e-7


def test_spread_that_the_clipped_tails_leave() -> None:
    """12.2751 is sqrt(exp(sigma**2) - 1) times the mean; the tails beyond 4.32 deviations lack."""
    table = quantiles.lognormal(40.0, 0.3, 26) / 2**26
    exact = 40.0 * math.sqrt(math.exp(0.09) - 1.0)

    assert pytest.approx(12.2751, abs=5e-5) == exact
    assert 12.2740 < table.std() < exact
    assert pytest.approx(4.32, abs=0.005) == quantiles.standard_normal()[-1]


def test_exponential_points_are_those_of_the_formula() -> None:
    """-log(1 - p), whose largest is log(131,072)."""
    table = quantiles.exponential(1.0, 32) / 2**32

    assert np.abs(table + np.log1p(-PROBABILITIES)).max() < 1e-4
    assert pytest.approx(math.log(131_072), rel=1e-4) == table[-1]


def test_table_is_not_to_be_written() -> None:
    """Everybody who draws from the distribution reads the same one."""
    with pytest.raises(ValueError, match="read-only"):
        quantiles.exponential(1.0, 32)[0] = 1


def test_table_whose_sums_would_not_fit_is_refused() -> None:
    """Units of weeks, of which 4,096 were to be added up."""
    with pytest.raises(ValueError, match="too long"):
        quantiles.exponential(1e15, 0)


def test_largest_sums_fit() -> None:
    """4,096 of the largest entry and a carry, whatever the spread."""
    largest = max(int(quantiles.lognormal(1e9, sigma, 2)[-1]) for sigma in (0.1, 2.0, 200.0))

    assert 4096 * min(largest, quantiles.LARGEST) + 2**62 < 2**63
