"""Random streams: found by name, drawn in blocks, summed to whole nanoseconds."""

import math
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim import streams as streams_module
from sim.distributions import Constant, Distribution, Exponential, Lognormal, Uniform
from sim.streams import Durations, Streams

DRAWN = [Exponential(3.0), Uniform(0.0, 7.0), Lognormal(40.0, 0.5)]
SPLITS = st.lists(st.integers(0, 700), max_size=12)


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
    monkeypatch.setattr(streams_module, "_FIRST_BLOCK", 7)

    other = Streams(7).values(distribution, "a")

    assert usual_values == [other.next() for _ in range(1000)]


@pytest.mark.parametrize("distribution", DRAWN, ids=repr)
def test_length_of_a_block_does_not_show_in_durations(
    distribution: Distribution, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sum runs on across blocks, addition by addition."""
    usual = totals(Streams(7).durations(distribution, "a"), [1] * 1000)
    monkeypatch.setattr(streams_module, "_FIRST_BLOCK", 7)
    monkeypatch.setattr(streams_module, "_LARGEST_BLOCK", 50)

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


@pytest.mark.parametrize("distribution", DRAWN, ids=repr)
@given(SPLITS)
@settings(max_examples=30, deadline=None)
def test_durations_are_the_sums_of_the_streams_own_draws(
    distribution: Distribution, calls: list[int]
) -> None:
    """After any calls the time handed out is the sum of all draws, cut to nanoseconds."""
    values = Streams(7).values(distribution, "a")
    exact = 0.0
    for _ in range(sum(calls)):
        exact += values.next()

    assert int(exact) == sum(totals(Streams(7).durations(distribution, "a"), calls))


def test_constants_below_a_nanosecond_are_not_lost() -> None:
    """A thousand units of a quarter of a nanosecond, one at a time, are 250 ns."""
    durations = Streams(7).durations(Constant(0.25), "a")

    assert 250 == sum(totals(durations, [1] * 1000))


def test_constant_hands_out_whole_nanoseconds_as_they_fill_up() -> None:
    """Units of 0.4 ns end at 0.4, 0.8, 1.2, 1.6, 2.0 ns."""
    durations = Streams(7).durations(Constant(0.4), "a")

    assert [0, 0, 1, 0, 1] == totals(durations, [1] * 5)


def test_no_units_take_no_time() -> None:
    """An empty table has no present entries to pay for."""
    for distribution in (Constant(5), Exponential(5)):
        assert [0, 0] == totals(Streams(7).durations(distribution, "a"), [0, 0])
