"""Ordinary objects, once shared, note who reads and who changes them."""

from collections import Counter
from typing import ClassVar

import pytest

from sim.effects import STEP, Activity
from sim.explore.attempts import taped
from sim.explore.program import Program
from sim.explore.recheck import NotRecorded, recheck
from sim.explore.searches.dpor import ClassSearch
from sim.explore.world.shared import SharedState
from sim.explore.world.snapshot import Snapshot
from sim.footprint import Kind, Recorder


class Box:
    """State of a model."""

    COUNTED: ClassVar = ("tries",)

    def __init__(self) -> None:
        self.value = 0
        self.tries = 0
        self.constant = 5
        self.items: list[object] = []
        self.members: set[int] = set()
        self.by_key: dict[int, int] = {}
        self.counts: Counter[str] = Counter()


def shared_box() -> tuple[Box, Recorder]:
    """A shared box and who records it."""
    recorder = Recorder()
    box: Box = SharedState(recorder, [__name__]).share(Box())
    return box, recorder


def kinds(recorder: Recorder) -> dict[str, Kind]:
    """What the last step did, by the last part of each word."""
    return {
        str(access.word[1]): access.kind
        for access in recorder.take()
        if isinstance(access.word, tuple)
    }


def test_attribute_is_noted_once_somebody_changes_it() -> None:
    """And is as it was for whoever uses it."""
    box, recorder = shared_box()
    assert (0, 5) == (box.value, box.constant)
    assert {} == kinds(recorder)

    box.value = 3
    assert {"value": Kind.WRITE} == kinds(recorder)
    assert (3, 5) == (box.value, box.constant)
    assert {"value": Kind.READ} == kinds(recorder)
    assert ("Box", "value") in recorder.changing


def test_counted_attributes_are_added_to() -> None:
    """Their additions commute; who only reads one depends on all of them."""
    box, recorder = shared_box()
    box.tries += 1
    recorder.take()

    box.tries += 1
    assert {"tries": Kind.ADD} == kinds(recorder)
    assert 2 == box.tries
    assert {"tries": Kind.READ} == kinds(recorder)


def test_containers_have_a_word_for_each_key() -> None:
    """Members of sets and keys of dictionaries; a list is one word; counters are added to."""
    box, recorder = shared_box()
    box.members.add(7)
    assert {"7": Kind.WRITE, "keys": Kind.ADD} == kinds(recorder)
    assert 7 in box.members
    assert {"7": Kind.READ} == kinds(recorder)
    assert [7] == list(box.members)
    assert {"keys": Kind.READ} == kinds(recorder)

    box.by_key[1] = 2
    assert {"1": Kind.WRITE, "keys": Kind.ADD} == kinds(recorder)
    assert box.by_key.get(3) is None
    assert {"3": Kind.READ} == kinds(recorder)

    box.items.append(1)
    assert {"keys": Kind.WRITE} == kinds(recorder)
    assert [1] == box.items[:]
    assert {"keys": Kind.READ} == kinds(recorder)

    box.counts["a"] += 1
    assert Kind.ADD is kinds(recorder)["a"]
    assert Counter(a=1) == box.counts + Counter()


def test_what_is_put_into_shared_state_is_shared() -> None:
    """From then on, whoever made it."""
    box, recorder = shared_box()
    other = Box()
    other.value = 1
    box.items.append(other)
    recorder.take()

    other.value = 2
    assert {"value": Kind.WRITE} == kinds(recorder)


class Bypassed:
    """A word that is changed past the accessors."""

    value = 0


def looks_and_sets(box: Box, number: int, *, through: object) -> Activity:
    """Read what the other has written."""
    yield STEP
    seen = through.value  # type: ignore[attr-defined]
    yield STEP
    if seen:
        box.members.add(number)
    through.value = number + 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("bypassed", [False, True])
def test_equivalent_orders_tell_of_state_that_is_not_recorded(bypassed: bool) -> None:  # noqa: FBT001
    """They come to the same, or something was reached past the accessors."""
    recorder = Recorder()
    state = SharedState(recorder, [__name__])
    box: Box = state.share(Box())
    secret = Bypassed()
    before = Snapshot(box, secret, state.numbers, leave=(recorder, state))
    through = secret if bypassed else box

    def begin() -> list[Activity]:
        before.restore()
        return [looks_and_sets(box, number, through=through) for number in range(2)]

    program = Program(begin, recorder=recorder)
    run = taped(program)
    search = ClassSearch(run)

    def check() -> int:
        for seed, execution in enumerate(search):
            for more in range(8):
                recheck(program, execution, run.tape, search.dependence, 8 * seed + more)
        return search.position.classes

    if bypassed:
        with pytest.raises(NotRecorded, match="not recorded"):
            check()
    else:
        assert check() > 1
