"""Distributions of costs: their means are what a profile says, and draws are whole units."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.distributions import Constant, Distribution, Exponential, Lognormal, Uniform
from sim.streams import Streams

SAMPLE = 200_000


def sample(distribution: Distribution) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Many draws, always the same ones."""
    units = np.empty(SAMPLE, np.int64)
    distribution.drawn_from(Streams(3).bits("sample"))(units)
    return np.ldexp(units, -distribution.fraction_bits)


@pytest.mark.parametrize(
    ("distribution", "mean", "deviation"),
    [
        (Lognormal(41.0, 0.5), 41.0, 41.0 * math.sqrt(math.exp(0.25) - 1)),
        (Lognormal(700.0, 1.2), 700.0, 700.0 * math.sqrt(math.exp(1.44) - 1)),
        (Exponential(250.0), 250.0, 250.0),
        (Uniform(10.0, 40.0), 25.0, 30.0 / math.sqrt(12)),
    ],
    ids=repr,
)
def test_sample_has_the_mean_and_spread_of_the_formula(
    distribution: Distribution, mean: float, deviation: float
) -> None:
    """The mean within four standard errors, the deviation within a few per cent."""
    values = sample(distribution)

    assert mean == distribution.mean
    assert pytest.approx(mean, abs=4 * deviation / math.sqrt(SAMPLE)) == values.mean()
    assert pytest.approx(deviation, rel=0.05) == values.std()


def test_half_of_lognormal_draws_lie_below_the_median() -> None:
    """The median is the mean times exp(-sigma**2 / 2): the long tail is on the right."""
    below = sample(Lognormal(100.0, 0.8)) < 100.0 * math.exp(-0.32)

    assert pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(SAMPLE)) == below.mean()


def test_uniform_draws_stay_in_the_range() -> None:
    """From low on, and below high."""
    values = sample(Uniform(10.0, 40.0))

    assert values.min() >= 10.0
    assert values.max() < 40.0


@pytest.mark.parametrize("distribution", [Lognormal(5.0, 1.0), Exponential(5.0)], ids=repr)
def test_costs_are_never_negative(distribution: Distribution) -> None:
    """Time does not run backwards."""
    assert sample(distribution).min() >= 0.0


@pytest.mark.parametrize("value", [0.0, 0.3, 1 / 3, 1.0, 12.5, 1e9, 123456789.123])
def test_constant_is_always_its_value(value: float) -> None:
    """Mean and every draw, to the last bit."""
    constant = Constant(value)

    assert value == constant.mean
    assert {value} == set(sample(constant).tolist())


def test_constant_draws_nothing() -> None:
    """Other draws from the same bits are not displaced."""
    used, unused = Streams(3).bits("a"), Streams(3).bits("a")
    Constant(12.5).drawn_from(used)(np.empty(100, np.int64))

    assert unused.number(64) == used.number(64)


@given(st.floats(1e-9, 1e9))
def test_mean_of_a_drawn_distribution_has_32_bits(mean: float) -> None:
    """Enough that rounding to units does not show, and few enough that sums fit."""
    for distribution in (Lognormal(mean, 0.5), Exponential(mean), Uniform(0.0, 2 * mean)):
        assert 2**31 <= math.ldexp(mean, distribution.fraction_bits) < 2**32


@given(st.floats(0.0, 1e6), st.floats(0.001, 1e6))
def test_uniform_draws_are_middles_of_equal_parts(low: float, width: float) -> None:
    """Of each word the 30 highest bits say which."""
    uniform = Uniform(low, low + width)
    units = np.empty(4, np.int64)
    uniform.drawn_from(Streams(3).bits("a"))(units)
    bottom = round(math.ldexp(low, uniform.fraction_bits))
    span = round(math.ldexp(low + width, uniform.fraction_bits)) - bottom

    expected = [
        bottom + (2 * (int(word) >> 34) + 1) * span // 2**31
        for word in Streams(3).bits("a").words(4)
    ]

    assert expected == units.tolist()
