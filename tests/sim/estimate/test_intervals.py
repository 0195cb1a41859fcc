"""Intervals for means and shares: against SciPy, against what they promise, at their edges."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sim.estimate.intervals import (
    Estimate,
    bound_when_unseen,
    clopper_pearson,
    share,
    student,
)

Method = Callable[[int, int], Estimate]
SHARES: list[Method] = [clopper_pearson, share]


@st.composite
def counts(draw: st.DrawFn) -> tuple[int, int]:
    """So many hits of so many runs."""
    runs = draw(st.one_of(st.integers(1, 30), st.integers(1, 100_000)))
    return draw(st.integers(0, runs)), runs


def coverage(method: Method, probability: float, runs: int) -> float:
    """In which share of samples the interval holds the truth: summed over all counts."""
    return float(
        sum(
            stats.binom.pmf(hits, runs, probability)
            for hits in range(runs + 1)
            if method(hits, runs).low <= probability <= method(hits, runs).high
        )
    )


@given(counts())
def test_clopper_pearson_is_scipys(hits_of_runs: tuple[int, int]) -> None:
    """The exact method there."""
    theirs = stats.binomtest(*hits_of_runs).proportion_ci(0.95, "exact")

    assert (
        pytest.approx((theirs.low, theirs.high), rel=1e-7, abs=1e-12)
        == (clopper_pearson(*hits_of_runs)[1:])
    )


@given(counts())
def test_claimed_share_is_exact_and_one_sided_at_the_ends(hits_of_runs: tuple[int, int]) -> None:
    """At the ends it is what scipy.stats gives for the alternative "less" or "greater"."""
    hits, runs = hits_of_runs
    side = {0: "less", runs: "greater"}.get(hits, "two-sided")
    theirs = stats.binomtest(hits, runs, alternative=side).proportion_ci(0.95, "exact")

    assert pytest.approx((theirs.low, theirs.high), rel=1e-7, abs=1e-12) == share(hits, runs)[1:]


@pytest.mark.parametrize("method", SHARES)
@given(counts())
def test_interval_holds_the_share_and_stays_between_0_and_1(
    method: Method, hits_of_runs: tuple[int, int]
) -> None:
    """Whatever was counted."""
    hits, runs = hits_of_runs
    mean, low, high = method(hits, runs)

    assert hits / runs == mean
    assert 0 <= low <= mean <= high <= 1
    assert low < high


@pytest.mark.parametrize("method", SHARES)
@given(counts())
def test_more_hits_move_both_ends_up(method: Method, hits_of_runs: tuple[int, int]) -> None:
    """The ends follow the count, also where the interval changes to a one-sided one."""
    hits, runs = hits_of_runs
    lower, upper = method(max(hits - 1, 0), runs), method(hits, runs)

    assert lower.low <= upper.low
    assert lower.high <= upper.high


@pytest.mark.parametrize("method", SHARES)
@given(counts())
def test_misses_are_hits_seen_in_a_mirror(method: Method, hits_of_runs: tuple[int, int]) -> None:
    """Which of the two outcomes is called a hit does not matter."""
    hits, runs = hits_of_runs
    mirrored = Estimate(*(1 - value for value in method(runs - hits, runs)))

    assert pytest.approx((mirrored.mean, mirrored.high, mirrored.low), abs=1e-9) == method(
        hits, runs
    )


@pytest.mark.parametrize("method", SHARES)
@pytest.mark.parametrize(("hits", "runs"), [(0, 0), (-1, 5), (6, 5)])
def test_impossible_counts_are_refused(method: Method, hits: int, runs: int) -> None:
    """No runs, or hits that are no part of them."""
    with pytest.raises(ValueError, match="run"):
        method(hits, runs)


@pytest.mark.parametrize("runs", [10, 60, 300])
@pytest.mark.parametrize("expected_hits", [0.17, 1.0, 3.3, 7.4])
def test_clopper_pearson_holds_the_truth_at_least_as_often_as_it_says(
    runs: int, expected_hits: float
) -> None:
    """For rare hits, too; the sum over all outcomes is exact."""
    assert coverage(clopper_pearson, expected_hits / runs, runs) >= 0.95


def test_claimed_share_is_held_nearly_as_often_wherever_the_truth_is() -> None:
    """The one-sided bound costs up to one in a hundred samples, as its docstring says."""
    worst = min(coverage(share, expected / 200, 200) for expected in np.arange(0.05, 12, 0.05))

    assert 0.935 < worst < 0.95


def test_unseen_for_n_runs_is_about_three_in_n() -> None:
    """The rule of three: ln 20 is 2.996."""
    assert pytest.approx(2.9957e-6, rel=1e-4) == bound_when_unseen(1_000_000)


@pytest.mark.parametrize("runs", [1, 7, 4096])
def test_more_probable_events_stay_unseen_less_often(runs: int) -> None:
    """At the bound, exactly one sample in twenty shows nothing."""
    assert pytest.approx(0.05) == (1 - bound_when_unseen(runs)) ** runs


def test_interval_of_a_mean_is_students() -> None:
    """Of the values 1, 2, 3: the mean 2, and 4.303 standard errors of 0.577 (two degrees)."""
    assert (2.0, -0.484, 4.484) == tuple(round(value, 3) for value in student([1, 2, 3]))


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=40))
def test_interval_of_a_mean_is_scipys(values: list[float]) -> None:
    """scipy.stats.t.interval around the mean; equal values have no spread."""
    mean, error = np.mean(values), stats.sem(values)
    half = stats.t.ppf(0.975, len(values) - 1) * error

    assert pytest.approx((mean, mean - half, mean + half), rel=1e-7, abs=1e-6) == student(values)


def test_interval_of_one_value_is_none() -> None:
    """Nothing tells how far it may be off."""
    with pytest.raises(ValueError, match="two values"):
        student([1])


def test_intervals_of_means_hold_the_truth_as_often_as_they_say() -> None:
    """95 % of them, within what 500 trials can tell."""
    generator = np.random.default_rng(1)
    held = [
        low <= 10.0 <= high
        for _, low, high in (student(generator.exponential(10.0, 60).tolist()) for _ in range(500))
    ]
    assert 0.90 < np.mean(held) < 0.98
