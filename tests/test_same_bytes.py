"""What holds two checkouts against each other must see a difference, and no other."""

import json

import pytest

from tests.benchmarks.digests import REFUSED, Job, answer
from tests.benchmarks.same_bytes import Tally, as_before, first_difference

SMALL = Job("run", "guest-512M", "reserve-hook", settings=("guest.ram=64MiB",))


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        ({"counts": {"traps": 1}}, {"counts": {"traps": 2}}, "counts.traps: 1 and 2"),
        ({"rows": [{"a": 1}]}, {"rows": [{"a": 1}, {"a": 2}]}, "rows[1]: 'absent' and {'a': 2}"),
        ({"a": 1}, {"a": 1.0}, "a: 1 and 1.0"),
        ({"a": None}, {}, "a: None and 'absent'"),
        ({"a": 1}, {"a": 1}, "the same values, written in another way"),
    ],
)
def test_the_first_difference_of_two_records_is_named_by_its_keys(
    one: object, other: object, told: str
) -> None:
    """A record is large; what differs is told by its place."""
    assert told == first_difference(json.dumps(one), json.dumps(other))


@pytest.mark.parametrize(
    ("ours", "theirs", "alike"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": None}, {"a": {"l1": 0, "l2": 0}}, True),
        ({"a": None}, {"a": []}, True),
        ({"a": None}, {"a": {"l1": 0, "l2": 1}}, False),
        ({"a": None}, {"a": 3}, False),
        ({"b": 1}, {"a": 1, "b": 1}, False),
        ({"rows": [{"a": 1, "b": 1}]}, {"rows": [{"a": 1}]}, True),
        ({"rows": [1]}, {"rows": [1, 2]}, False),
    ],
)
def test_what_is_added_or_null_is_no_difference_to_before(
    ours: object,
    theirs: object,
    alike: bool,  # noqa: FBT001
) -> None:
    """But whatever is lost or another value is one."""
    assert alike == (theirs == as_before(ours, theirs))


def test_a_run_by_single_events_leaves_the_same_record_and_the_same_memory() -> None:
    """As the command line promises of --every-event."""
    fast = answer(SMALL)
    single = answer(Job(**{**vars(SMALL), "every_event": True}))
    assert {"record", "pages", "type", "count", "owner", "stamp", "p2m"} <= fast.keys()
    assert [] == Tally().take(fast, single)


def test_another_seed_draws_other_times_and_leaves_the_same_memory() -> None:
    """Only times are drawn."""
    assert ["record"] == Tally().take(answer(SMALL), answer(Job(**{**vars(SMALL), "seed": 1})))


def test_another_strategy_leaves_another_memory() -> None:
    """The digests of memory see what they are there to see."""
    other = answer(Job(**{**vars(SMALL), "strategy": "auto-translated"}))
    assert {"pages", "type", "count", "stamp"} <= set(Tally().take(answer(SMALL), other))


def test_what_is_refused_is_told_in_words_and_counted_apart() -> None:
    """Both sides must refuse in the same words."""
    refused = answer(Job("run", "guest-512M", "reserve-hook", settings=("guest.ram=4KiB",)))
    assert [REFUSED] == list(refused)
    tally = Tally()
    assert [] == tally.take(refused, refused)
    assert (1, 1) == (tally.done, tally.unable[REFUSED])
    assert [REFUSED] == tally.take(refused, {REFUSED: "other words"})
