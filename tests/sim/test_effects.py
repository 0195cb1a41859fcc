"""Bulk work: where the vectorised body declines, the item-by-item one does the work."""

from sim.effects import DECLINED, STEP, Activity, Bulk, in_bulk
from sim.instant import drain


def item_by_item(seen: list[int], stop_at: int | None = None) -> Activity:
    """Bulk work on 0 to 3 whose vectorised body declines; item ``stop_at`` ends it."""

    def each(item: int) -> Activity:
        yield STEP
        seen.append(item)
        return f"stopped at {item}" if item == stop_at else None

    return in_bulk(range(4), each, lambda: DECLINED)


def test_declined_bulk_does_every_item_in_order() -> None:
    """The item-by-item body is the definition of the work."""
    seen: list[int] = []

    drain(item_by_item(seen))

    assert [0, 1, 2, 3] == seen


def test_declined_bulk_ends_at_the_item_that_stops_it() -> None:
    """Nothing is done after it."""
    seen: list[int] = []

    drain(item_by_item(seen, stop_at=2))

    assert [0, 1, 2] == seen


def test_declined_bulk_answers_what_stopped_it() -> None:
    """An error of an item is the answer of the whole."""
    assert drain(item_by_item([], stop_at=2)) == "stopped at 2"


def test_declined_bulk_that_nothing_stops_answers_none() -> None:
    """As the vectorised body does."""
    assert drain(item_by_item([])) is None


def test_bulk_done_at_once_leaves_the_items_alone() -> None:
    """The work is not done twice."""
    seen: list[int] = []

    def each(item: int) -> Activity:
        yield STEP
        seen.append(item)

    assert drain(in_bulk(range(4), each, lambda: "all done")) == "all done"
    assert [] == seen


def test_bulk_is_one_effect_for_the_interpreter_to_answer() -> None:
    """An interpreter may do either body, and the activity cannot tell which."""

    def each(_: int) -> Activity:
        yield STEP

    activity = in_bulk(range(4), each, lambda: DECLINED)

    assert isinstance(next(activity), Bulk)
