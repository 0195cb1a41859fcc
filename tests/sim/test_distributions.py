"""Distributions of costs: their means are what a profile says, and draws come in blocks."""

import math

import numpy as np
import pytest

from sim.distributions import Constant, Distribution, Exponential, Lognormal, Uniform

SAMPLE = 200_000


def sample(distribution: Distribution) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Many draws, always the same ones."""
    return distribution.block(np.random.default_rng(3), SAMPLE)


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


def test_constant_is_always_its_value() -> None:
    """Mean and every draw."""
    constant = Constant(12.5)

    assert constant.mean == 12.5
    assert [12.5, 12.5, 12.5] == constant.block(np.random.default_rng(3), 3).tolist()


def test_constant_draws_nothing() -> None:
    """Other draws from the same generator are not displaced."""
    used, unused = np.random.default_rng(3), np.random.default_rng(3)
    Constant(12.5).block(used, 100)

    assert unused.random() == used.random()


@pytest.mark.parametrize(
    "distribution", [Lognormal(5.0, 1.0), Exponential(5.0), Uniform(1, 2), Constant(3)], ids=repr
)
def test_block_is_float64(distribution: Distribution) -> None:
    """Sums of many draws need the precision."""
    assert np.float64 == distribution.block(np.random.default_rng(3), 4).dtype
