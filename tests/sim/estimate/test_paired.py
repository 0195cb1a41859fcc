"""Differences of shares between runs with the same seeds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sim.estimate.paired import difference_of_ratios, difference_of_shares

SAMPLES = 1500


def outcomes(both: int, first: int, second: int, neither: int) -> tuple[list[bool], list[bool]]:
    """So many pairs of each kind."""
    pairs = (
        [(True, True)] * both
        + [(True, False)] * first
        + [(False, True)] * second
        + [(False, False)] * neither
    )
    return [own for own, _ in pairs], [other for _, other in pairs]


PAIRS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=300)


@given(PAIRS)
def test_difference_is_that_of_the_shares(pairs: list[tuple[bool, bool]]) -> None:
    """And lies in its interval, which stays between -1 and 1."""
    first, second = zip(*pairs, strict=True)
    mean, low, high = difference_of_shares(first, second).difference

    assert pytest.approx((sum(first) - sum(second)) / len(pairs)) == mean
    assert -1 <= low <= mean <= high <= 1


@given(PAIRS)
def test_exchanging_the_two_turns_the_interval_round(pairs: list[tuple[bool, bool]]) -> None:
    """Which of them is called the first does not matter."""
    first, second = zip(*pairs, strict=True)
    there, back = difference_of_shares(first, second), difference_of_shares(second, first)

    assert (
        pytest.approx((-back.difference.mean, -back.difference.high, -back.difference.low))
        == there.difference
    )
    assert back.p_value == there.p_value


@given(PAIRS)
def test_p_value_is_mcnemars(pairs: list[tuple[bool, bool]]) -> None:
    """The exact binomial test of the pairs that differ."""
    first, second = zip(*pairs, strict=True)
    result = difference_of_shares(first, second)
    differing = result.only_first + result.only_second
    expected = stats.binomtest(result.only_first, differing).pvalue if differing else 1.0

    assert pytest.approx(expected, rel=1e-7) == result.p_value


@pytest.mark.parametrize(
    ("both", "first", "second", "runs", "most"),
    [
        (0.0, 0.02, 0.02, 50, 1.0),
        (0.0, 0.02, 0.02, 400, 0.98),
        (0.1, 0.05, 0.005, 50, 1.0),
        (0.1, 0.05, 0.005, 400, 0.98),
        (0.3, 0.2, 0.1, 50, 0.98),
        (0.3, 0.2, 0.1, 400, 0.97),
    ],
)
def test_interval_holds_the_truth_as_often_as_it_says(
    both: float, first: float, second: float, runs: int, most: float
) -> None:
    """And more often where one or two pairs differ, when it is wide to be safe."""
    generator = np.random.default_rng(11)
    held = 0
    for _ in range(SAMPLES):
        counts = generator.multinomial(runs, [both, first, second, 1 - both - first - second])
        _, low, high = difference_of_shares(*outcomes(*counts.tolist())).difference
        held += low <= first - second <= high

    assert 0.935 < held / SAMPLES <= most


def test_interval_of_a_few_pairs_is_that_of_the_formula() -> None:
    """Ten pairs, three and one that differ: (4 - 2) / 12 +- 1.96 sqrt((4 + 2 - 4 / 12) / 144)."""
    difference, *_ = difference_of_shares(*outcomes(5, 3, 1, 1))

    assert (0.2, -0.222, 0.555) == tuple(round(value, 3) for value in difference)


def test_same_seeds_tell_more_than_seeds_of_their_own() -> None:
    """100 of 1,000 hit in both, three more in the first: variances 0.1827 and 0.0030 a pair."""
    result = difference_of_shares(*outcomes(100, 3, 0, 897))

    assert 0.003 == result.difference.mean
    assert (0.1 * 0.9 + 0.103 * 0.897) / (0.003 - 0.003**2) == pytest.approx(result.variance_ratio)


def test_equal_outcomes_have_no_variance_to_compare() -> None:
    """Nothing differs, and how much might is still said."""
    result = difference_of_shares(*outcomes(5, 0, 0, 95))

    assert result.variance_ratio is None
    assert result.difference.low < 0 < result.difference.high
    assert 1.0 == result.p_value


@pytest.mark.parametrize(("first", "second"), [([], []), ([True], [True, False])])
def test_pairs_must_be_pairs(first: list[bool], second: list[bool]) -> None:
    """None at all, or one without its other."""
    with pytest.raises(ValueError, match=r"pair|shorter|longer"):
        difference_of_shares(first, second)


# -- ratios ---------------------------------------------------------------------------------------


def runs_of(seed: int, shares: tuple[float, float]) -> list[tuple[list[int], list[int]]]:
    """Hits and opportunities of two configurations that draw the same numbers."""
    generator = np.random.default_rng(seed)
    opportunities = generator.integers(5, 40, 200)
    chance = [generator.random(number) for number in opportunities]
    return [
        ([int((own < share).sum()) for own in chance], opportunities.tolist()) for share in shares
    ]


def test_difference_of_ratios_holds_the_truth_as_often_as_it_says() -> None:
    """In 95 % of samples, give or take."""
    held = 0
    for seed in range(400):
        first, second = runs_of(seed, (0.1, 0.15))
        difference = difference_of_ratios(first, second).difference
        held += difference.low < 0.05 < difference.high

    assert 0.92 < held / 400 < 0.98


def test_same_seeds_take_chance_out_of_a_difference_of_ratios() -> None:
    """Each hit of the first is one of the second, so little is left."""
    found = difference_of_ratios(*runs_of(1, (0.1, 0.12)))

    assert found.variance_ratio is not None
    assert found.variance_ratio > 3
    assert 200 == found.runs


def test_ratios_that_do_not_differ_have_no_spread() -> None:
    """The difference is zero, and so is its interval."""
    first, again = runs_of(2, (0.1, 0.1))

    assert (0, 0, 0) == difference_of_ratios(first, again).difference
    assert difference_of_ratios(first, again).variance_ratio is None


def test_ratio_needs_something_to_divide_by_and_as_many_runs() -> None:
    """Neither can be made up."""
    with pytest.raises(ValueError, match="divide by"):
        difference_of_ratios(([0, 0], [0, 0]), ([0, 0], [1, 1]))
    with pytest.raises(ValueError, match="as many runs"):
        difference_of_ratios(([0, 0], [1, 1]), ([0, 0, 0], [1, 1, 1]))
