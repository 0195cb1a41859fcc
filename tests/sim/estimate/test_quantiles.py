"""Quantiles by the standard library alone, held to SciPy's."""

import math
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sim.estimate.quantiles import (
    beta_cdf,
    beta_quantile,
    gamma_cdf,
    gamma_quantile,
    gamma_survival,
    normal_quantile,
    student_quantile,
)

PROBABILITIES = st.sampled_from([0.0005, 0.025, 0.05, 0.5, 0.95, 0.975, 0.9995])
COUNTS = st.one_of(st.floats(0.3, 50), st.floats(0.3, 1e5), st.integers(1, 10**6))


@given(PROBABILITIES, COUNTS, COUNTS)
def test_beta_quantile_is_scipys(p: float, a: float, b: float) -> None:
    """Small and large counts, whole and broken ones."""
    assert pytest.approx(stats.beta.ppf(p, a, b), rel=1e-7) == beta_quantile(p, a, b)


@given(PROBABILITIES, COUNTS)
def test_gamma_quantile_is_scipys(p: float, a: float) -> None:
    """The exact interval of a Poisson count is made of these."""
    assert pytest.approx(stats.gamma.ppf(p, a), rel=1e-7) == gamma_quantile(p, a)


@given(PROBABILITIES, st.integers(1, 10**6))
def test_student_quantile_is_scipys(p: float, degrees: int) -> None:
    """From Cauchy's distribution to nearly the normal one."""
    expected = pytest.approx(stats.t.ppf(p, degrees), rel=1e-7, abs=1e-12)
    assert expected == student_quantile(p, degrees)


@given(PROBABILITIES)
def test_normal_quantile_is_scipys(p: float) -> None:
    """The limit of all of them."""
    assert pytest.approx(stats.norm.ppf(p), rel=1e-9, abs=1e-12) == normal_quantile(p)


@given(st.floats(0, 1), COUNTS, COUNTS)
def test_beta_distribution_is_scipys(x: float, a: float, b: float) -> None:
    """Between its ends and at them."""
    assert pytest.approx(stats.beta.cdf(x, a, b), abs=1e-9) == beta_cdf(x, a, b)


@given(st.floats(0, 2000), st.integers(0, 1000))
def test_gamma_distribution_gives_the_tails_of_poisson_counts(mean: float, count: int) -> None:
    """At most so many, and at least one more."""
    at_most = stats.poisson.cdf(count, mean)

    assert pytest.approx(at_most, abs=1e-9) == gamma_survival(mean, count + 1)
    assert pytest.approx(1 - at_most, abs=1e-9) == gamma_cdf(mean, count + 1)


def test_survival_keeps_its_digits_far_out() -> None:
    """One minus the distribution would be zero: nothing seen where 60 were expected."""
    assert pytest.approx(math.exp(-60), rel=1e-12) == gamma_survival(60, 1)


def test_intervals_need_no_scipy() -> None:
    """Nothing of it is imported by all the statistics of the engine."""
    code = (
        "import sys; from sim.estimate import intervals, paired, rare_events, ratios, sequential; "
        "intervals.share(3, 10); sys.exit('scipy' in sys.modules)"
    )
    assert 0 == subprocess.run([sys.executable, "-c", code], check=False).returncode
