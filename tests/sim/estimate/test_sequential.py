"""Sampling until an interval is narrow enough."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.estimate.intervals import Estimate, share
from sim.estimate.sequential import FIRST_LOOK, Precision, next_look

NO_END = 10**9
SAMPLES = 1500


def sample(
    probability: float, precision: Precision, generator: np.random.Generator, most: int = NO_END
) -> tuple[int, int]:
    """Hits and runs when sampling has come to its end."""
    hits = runs = 0
    while runs < most:
        look = next_look(runs, most)
        hits += int(generator.binomial(look - runs, probability))
        runs = look
        if precision.reached(share(hits, runs)):
            break
    return hits, runs


@pytest.mark.parametrize(
    ("probability", "precision", "most"),
    [
        (0.3, Precision(relative=0.1), NO_END),
        (0.02, Precision(relative=0.1), NO_END),
        (0.001, Precision(relative=0.2), NO_END),
        (0.01, Precision(relative=0.5), NO_END),
        (0.01, Precision(relative=0.8), NO_END),
        (0.01, Precision(absolute=0.01), NO_END),
        (0.003, Precision(absolute=0.005), NO_END),
        (0.2, Precision(absolute=0.05), NO_END),
        (0.001, Precision(relative=0.1), 3000),
    ],
    ids=str,
)
def test_intervals_hold_the_truth_nearly_as_often_when_sampling_stops_at_them(
    probability: float, precision: Precision, most: int
) -> None:
    """Between 92 and 98 %, within what 1,500 samples can tell (0.6 % a deviation)."""
    generator = np.random.default_rng(5)
    held = 0
    for _ in range(SAMPLES):
        estimate = share(*sample(probability, precision, generator, most))
        held += estimate.low <= probability <= estimate.high

    assert 0.925 < held / SAMPLES < 0.985


def test_sampling_stops_soon_after_the_precision_is_reached() -> None:
    """10 % takes (1.96 / 0.1) ** 2 = 384 hits or some more, and a look a quarter more at most."""
    generator = np.random.default_rng(6)
    hits = [sample(0.02, Precision(relative=0.1), generator)[0] for _ in range(200)]

    assert min(hits) > 384
    assert 400 < np.mean(hits) < 1.3 * 400


def test_what_is_never_seen_runs_to_the_cap() -> None:
    """No number of misses has a relative precision."""
    generator = np.random.default_rng(7)

    assert (0, 10_000) == sample(0.0, Precision(relative=0.5), generator, most=10_000)


def test_absolute_precision_can_be_reached_without_a_hit() -> None:
    """To say p < 0.01 takes 299 misses; looks are after 64, 80, 100, 125, 156, 195, 243, 303."""
    generator = np.random.default_rng(8)

    assert (0, 303) == sample(0.0, Precision(absolute=0.01), generator)


@given(st.integers(0, 100_000), st.integers(1, 200_000))
def test_looks_come_in_a_fixed_order(runs: int, most: int) -> None:
    """Wherever sampling is taken up, the next look is one of those, or the cap."""
    looks = [FIRST_LOOK]
    while looks[-1] < most:
        looks.append(looks[-1] + looks[-1] // 4)
    if runs >= most:
        with pytest.raises(ValueError, match="is the most"):
            next_look(runs, most)
    else:
        assert min(most, *(look for look in looks if look > runs), most) == next_look(runs, most)


@pytest.mark.parametrize(
    ("precision", "reached"),
    [
        (Precision(relative=0.21), True),
        (Precision(relative=0.19), False),
        (Precision(absolute=0.021), True),
        (Precision(absolute=0.019), False),
    ],
    ids=str,
)
def test_the_farther_end_counts(precision: Precision, *, reached: bool) -> None:
    """0.1 with an interval from 0.09 to 0.12."""
    assert reached == precision.reached(Estimate(0.1, 0.09, 0.12))


@pytest.mark.parametrize(
    ("relative", "absolute"), [(None, None), (0.1, 0.1), (0.0, None), (None, -1.0)]
)
def test_precision_is_one_positive_number(relative: float | None, absolute: float | None) -> None:
    """Neither, both, zero and less are refused."""
    with pytest.raises(ValueError, match="one positive number"):
        Precision(relative, absolute)
