"""Random streams: found by name, drawn in blocks, summed to whole nanoseconds."""

import hashlib
import math
import struct
from collections.abc import Iterable
from itertools import accumulate, islice
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sim import streams as streams_module
from sim.distributions import Constant, Distribution, Exponential, Lognormal, Uniform
from sim.streams import Durations, Streams
from tests.sim import pcg64

DRAWN = [Exponential(3.0), Uniform(0.0, 7.0), Lognormal(40.0, 0.5)]
SPLITS = st.lists(st.integers(0, 700) | st.integers(4000, 9000), max_size=12)


def drawn(streams: Streams, *names: str, n: int = 5) -> list[float]:
    """The first values of a uniform stream."""
    values = streams.values(Uniform(0, 1), *names)
    return [values.next() for _ in range(n)]


def totals(durations: Durations, calls: Iterable[int]) -> list[int]:
    """What successive calls hand out."""
    return [durations.total(n) for n in calls]


def test_same_names_and_seed_give_the_same_values() -> None:
    """A run can be repeated."""
    assert drawn(Streams(7), "vcpu0", "pin") == drawn(Streams(7), "vcpu0", "pin")


def test_order_of_creation_does_not_matter() -> None:
    """A stream that one run has and another has not leaves the others as they are."""
    first, second = Streams(7), Streams(7)
    drawn(first, "new in this run")

    values = [drawn(first, "a"), drawn(first, "b")]

    assert [drawn(second, "b"), drawn(second, "a")][::-1] == values


@pytest.mark.parametrize(
    ("streams", "names"),
    [
        (Streams(8), ("vcpu0", "pin")),
        (Streams(7, replication=1), ("vcpu0", "pin")),
        (Streams(7), ("vcpu1", "pin")),
        (Streams(7), ("pin", "vcpu0")),
        (Streams(7), ("vcpu0pin",)),
        (Streams(7), ("vcpu0", "pin", "")),
    ],
    ids=["seed", "replication", "first name", "order of names", "joined names", "more names"],
)
def test_other_seed_replication_or_names_give_other_values(
    streams: Streams, names: tuple[str, ...]
) -> None:
    """Streams are independent of each other."""
    assert drawn(Streams(7), "vcpu0", "pin") != drawn(streams, *names)


def test_streams_of_two_names_are_not_correlated() -> None:
    """Of 4000 pairs the correlation is noise: within four deviations of 1/sqrt(4000)."""
    a, b = (drawn(Streams(7), name, n=4000) for name in ("vcpu0", "vcpu1"))

    assert abs(np.corrcoef(a, b)[0, 1]) < 4 / math.sqrt(4000)


def test_number_of_a_name_is_fixed() -> None:
    """It belongs to the name, not to the moment of asking."""
    streams = Streams(7)

    assert streams.number("tie") == streams.number("tie")
    assert streams.number("tie") != streams.number("other")


@pytest.mark.parametrize("distribution", DRAWN, ids=repr)
def test_length_of_a_block_does_not_show_in_values(
    distribution: Distribution, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks are an economy, no more."""
    usual = Streams(7).values(distribution, "a")
    usual_values = [usual.next() for _ in range(1000)]
    monkeypatch.setattr(streams_module, "_FIRST_BLOCK", 12)

    other = Streams(7).values(distribution, "a")

    assert usual_values == [other.next() for _ in range(1000)]


@pytest.mark.parametrize("distribution", DRAWN, ids=repr)
def test_length_of_a_block_does_not_show_in_durations(
    distribution: Distribution, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sum runs on across blocks."""
    usual = totals(Streams(7).durations(distribution, "a"), [1] * 1000)
    monkeypatch.setattr(streams_module, "_FIRST_BLOCK", 12)
    monkeypatch.setattr(streams_module, "_LARGEST_BLOCK", 52)

    assert usual == totals(Streams(7).durations(distribution, "a"), [1] * 1000)


@pytest.mark.parametrize("distribution", [*DRAWN, Constant(0.1), Constant(1 / 3)], ids=repr)
@given(SPLITS)
@settings(max_examples=60, deadline=None)
def test_units_in_many_calls_take_as_long_as_in_one(
    distribution: Distribution, calls: list[int]
) -> None:
    """Fractions of a nanosecond are carried, so how work is split changes nothing."""
    in_one = Streams(7).durations(distribution, "a").total(sum(calls))

    assert in_one == sum(totals(Streams(7).durations(distribution, "a"), calls))


@pytest.mark.parametrize("distribution", [*DRAWN, Constant(0.3), Constant(1 / 3)], ids=repr)
@given(SPLITS)
@settings(max_examples=30, deadline=None)
def test_durations_are_the_sums_of_the_streams_own_draws(
    distribution: Distribution, calls: list[int]
) -> None:
    """After any calls the time handed out is the first carry and all draws, cut to nanoseconds."""
    bits = Streams(7).bits("a")
    carried = bits.number(distribution.fraction_bits)
    draws = np.empty(-(-sum(calls) // 4) * 4, np.int64)
    distribution.drawn_from(bits)(draws)
    exact = carried + sum(draws[: sum(calls)].tolist())

    durations = Streams(7).durations(distribution, "a")

    assert exact >> distribution.fraction_bits == sum(totals(durations, calls))


def test_durations_are_the_published_bits_at_the_formulas_quantiles() -> None:
    """A lognormal cost once more, by Python's integers, its normal quantiles and its exp."""
    half = hashlib.sha256(b"vcpu0\0pin").digest()[:16]
    words = pcg64.words(7, (0, *struct.unpack("<4I", half)))
    carried = next(words) / 2**64
    picked = [word >> shift & 0xFFFF for word in islice(words, 25) for shift in (0, 16, 32, 48)]
    points = [math.exp(0.5 * NormalDist().inv_cdf((i + 0.5) / 65536)) for i in range(65536)]
    scale = 40.0 / (math.fsum(points) / 65536)
    ends = [math.floor(carried + end) for end in accumulate(scale * points[i] for i in picked)]

    durations = Streams(7).durations(Lognormal(40.0, 0.5), "vcpu0", "pin")

    assert ends == list(accumulate(totals(durations, [1] * 100)))


@pytest.mark.parametrize("value", [1.0, 3.0, 90_000.0, 1e9])
@given(SPLITS, st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_constants_of_whole_nanoseconds_stay_exact(
    value: float, calls: list[int], seed: int
) -> None:
    """Whatever is carried: n units are n times the value."""
    durations = Streams(seed).durations(Constant(value), "a")

    assert [int(value) * n for n in calls] == totals(durations, calls)


def test_constants_below_a_nanosecond_are_not_lost() -> None:
    """A thousand units of a quarter of a nanosecond, one at a time, are 250 ns."""
    durations = Streams(7).durations(Constant(0.25), "a")

    assert 250 == sum(totals(durations, [1] * 1000))


def test_constant_hands_out_whole_nanoseconds_as_they_fill_up() -> None:
    """Units of 0.4 ns make 2 ns in any five that follow each other, and none makes 2 alone."""
    handed_out = totals(Streams(7).durations(Constant(0.4), "a"), [1] * 50)

    assert {0, 1} == set(handed_out)
    assert {2} == {sum(handed_out[i : i + 5]) for i in range(46)}


BELOW_A_NANOSECOND = [Constant(0.3), Lognormal(0.3, 0.3), Uniform(0.1, 0.5)]
REPLICATIONS = 1600


@pytest.mark.parametrize("distribution", [*BELOW_A_NANOSECOND, Lognormal(1.0, 0.3)], ids=repr)
def test_each_unit_is_as_long_as_it_should_be_over_replications(distribution: Distribution) -> None:
    """Each of ten, the first included: within four standard errors of 1,600 replications.

    A unit of 0.3 ns is 0 or 1 ns, so a replication deviates by sqrt(0.3 * 0.7); one of 1 ns, with
    its neighbours' rest, by less than 1.
    """
    units = np.array(
        [
            totals(Streams(7, run).durations(distribution, "a"), [1] * 10)
            for run in range(REPLICATIONS)
        ]
    )

    error = 4 * math.sqrt(0.3 * 0.7 if distribution.mean < 1 else 1.0) / math.sqrt(REPLICATIONS)
    assert np.abs(units.mean(axis=0) - distribution.mean).max() < error


def test_no_interval_is_locked_to_the_clock() -> None:
    """Where the first whole nanosecond ends is uniform over replications (Kolmogorov-Smirnov).

    Units of a thousandth show it: with a carry of c, the one that ends it is the (1 - c) * 1000th.
    """
    ends = []
    for run in range(REPLICATIONS // 2):
        handed_out = totals(Streams(7, run).durations(Constant(0.001), "a"), [1] * 1000)
        ends.append(handed_out.index(1) / 1000)

    assert stats.kstest(ends, "uniform").pvalue > 0.001


def test_streams_carry_different_phases() -> None:
    """Two costs of one run are not in step: their carries are not correlated."""
    first, second = (
        [Streams(7, run).durations(Constant(0.5), name).total(1) for run in range(REPLICATIONS)]
        for name in ("a", "b")
    )

    assert abs(np.corrcoef(first, second)[0, 1]) < 4 / math.sqrt(REPLICATIONS)


def test_no_units_take_no_time() -> None:
    """An empty table has no present entries to pay for."""
    for distribution in (Constant(5), Exponential(5)):
        assert [0, 0] == totals(Streams(7).durations(distribution, "a"), [0, 0])
