"""Ratios over runs: independent opportunities, opportunities in clumps, times."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sim.estimate.intervals import clopper_pearson, share
from sim.estimate.ratios import per_opportunity, per_time, product_of_sums

SAMPLES = 600
ENOUGH = 0.95 - 3 * math.sqrt(0.95 * 0.05 / SAMPLES)
"""The least that a correct interval should reach in so many samples: three deviations below."""


@given(st.lists(st.booleans(), min_size=2, max_size=200))
def test_one_opportunity_a_run_gives_the_interval_of_a_share(hits: list[bool]) -> None:
    """Runs are then the independent opportunities."""
    counts = [int(hit) for hit in hits]
    expected = share(sum(counts), len(counts))

    assert pytest.approx(expected, rel=1e-9) == per_opportunity(counts, [1] * len(counts))


@given(
    st.lists(
        st.integers(1, 50).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))),
        min_size=2,
        max_size=50,
    )
)
def test_interval_holds_the_ratio_and_is_never_narrower_than_the_exact_one(
    runs: list[tuple[int, int]],
) -> None:
    """Opportunities are worth no more than if they were independent."""
    hits, opportunities = zip(*runs, strict=True)
    mean, low, high = per_opportunity(hits, opportunities)
    exact = share(sum(hits), sum(opportunities))

    assert exact.mean == mean
    assert 0 <= low <= mean <= high <= 1
    assert low <= exact.low + 1e-9
    assert high >= exact.high - 1e-9


def test_opportunities_that_share_their_fate_count_as_one() -> None:
    """In each of 100 runs all ten opportunities hit, or none: as good as 100 opportunities."""
    hits = [10] * 30 + [0] * 70
    clumped = per_opportunity(hits, [10] * 100)
    runs = clopper_pearson(30, 100)

    assert pytest.approx((runs.mean, runs.low, runs.high), abs=0.005) == clumped


def test_runs_of_different_size_do_not_spread_the_ratio() -> None:
    """Half of the opportunities of each run hit, of 2 or of 200: as good as independent ones."""
    hits, opportunities = [1, 100] * 500, [2, 200] * 500

    expected = pytest.approx(clopper_pearson(50_500, 101_000), rel=1e-4)
    assert expected == per_opportunity(hits, opportunities)


def test_clumped_hits_are_held_as_often_as_said() -> None:
    """A run's own probability is drawn first; taking opportunities for independent falls short."""
    generator = np.random.default_rng(7)
    held = naive = 0
    for _ in range(SAMPLES):
        opportunities = generator.integers(5, 40, 80)
        hits = generator.binomial(opportunities, generator.beta(0.2, 1.8, 80))
        ours = per_opportunity(hits.tolist(), opportunities.tolist())
        independent = clopper_pearson(int(hits.sum()), int(opportunities.sum()))
        held += ours.low <= 0.1 <= ours.high
        naive += independent.low <= 0.1 <= independent.high

    assert held / SAMPLES > ENOUGH
    assert naive / SAMPLES < 0.8


def test_runs_that_end_with_their_first_hit_are_held_as_often_as_said() -> None:
    """Up to 50 opportunities with p = 0.02: how many there were depends on the hit."""
    generator = np.random.default_rng(8)
    held = 0
    for _ in range(SAMPLES):
        first = generator.geometric(0.02, 40)
        hits = (first <= 50).astype(int)
        _, low, high = per_opportunity(hits.tolist(), np.minimum(first, 50).tolist())
        held += low <= 0.02 <= high

    assert held / SAMPLES > ENOUGH


@pytest.mark.parametrize("hits", [0, 1, 4, 90])
def test_rate_of_runs_of_equal_length_is_the_exact_one_of_a_poisson_count(hits: int) -> None:
    """Garwood's: half of chi-squared quantiles. Nothing seen in T says rate < 3 / T."""
    mean, low, high = per_time([1] * hits + [0] * (10_000 - hits), [0.5] * 10_000)
    bounds = (
        (stats.chi2.ppf(0.025, 2 * hits) / 2, stats.chi2.ppf(0.975, 2 * hits + 2) / 2)
        if hits
        else (0.0, stats.chi2.ppf(0.95, 2) / 2)
    )

    assert hits / 5000 == mean
    assert pytest.approx((bounds[0] / 5000, bounds[1] / 5000), rel=1e-6) == (low, high)


def test_rates_of_clumped_hits_are_held_as_often_as_said() -> None:
    """Each run has a rate of its own, three an hour on average."""
    generator = np.random.default_rng(9)
    held = 0
    for _ in range(SAMPLES):
        hours = generator.uniform(0.1, 2.0, 60)
        hits = generator.poisson(hours * generator.gamma(1.5, 2.0, 60))
        _, low, high = per_time(hits.tolist(), hours.tolist())
        held += low <= 3.0 <= high

    assert held / SAMPLES > ENOUGH - 0.01


def test_rate_is_the_product_of_its_factors() -> None:
    """Hits per opportunity times opportunities per hour."""
    hits, opportunities, hours = [1, 0, 2, 0], [10, 8, 12, 9], [2.0, 1.5, 2.5, 2.0]
    factors = per_opportunity(hits, opportunities).mean * sum(opportunities) / sum(hours)

    assert pytest.approx(factors) == per_time(hits, hours).mean


def test_product_of_sums_is_held_as_often_as_said() -> None:
    """Two cycles of exponential times: a ratio of 1 to 9, 60 runs of 20 cycles."""
    generator = np.random.default_rng(10)
    held = 0
    for _ in range(SAMPLES):
        opened = generator.gamma(20, 1.0, 60)
        times = opened + generator.gamma(20, 8.0, 60)
        mean, low, high = product_of_sums((opened.tolist(), 1), (times.tolist(), -1))
        held += low <= 1 / 9 <= high
        assert low < mean < high

    assert ENOUGH < held / SAMPLES < 1 - (1 - ENOUGH) / 3


@pytest.mark.parametrize(
    ("estimate", "arguments", "complaint"),
    [
        (per_opportunity, ([1], [1]), "two runs"),
        (per_opportunity, ([0, 0], [0, 0]), "one run"),
        (per_opportunity, ([0, 2], [5, 1]), "more hits than opportunities"),
        (per_time, ([1], [1.0]), "two runs"),
        (per_time, ([0, 0], [0.0, 0.0]), "needs time"),
        (product_of_sums, (([1.0], 1),), "two runs"),
        (product_of_sums, (([0.0, 0.0], 1), ([1.0, 1.0], -1)), "positive"),
    ],
)
def test_samples_without_an_interval_are_refused(
    estimate: object, arguments: tuple[object, ...], complaint: str
) -> None:
    """One run has no spread, nothing has no ratio."""
    assert callable(estimate)
    with pytest.raises(ValueError, match=complaint):
        estimate(*arguments)
