"""What the kernel knows of its tables, and which of them could be written."""

from collections.abc import Iterable

import numpy as np
import pytest

from models.linux.boot.hazard import HazardClosed, HazardOpened, Hazards
from models.linux.boot.strategy import Buffer, Publish
from models.linux.boot.tables import TableFilled, Tables
from models.linux.start_state.page import Page
from models.machine.entries import PRESENT, RW
from models.machine.frames import FrameTable
from sim.effects import Note

LEAVES = 0x77
"""Mfn of the L1 of the first region in these tests."""


def tables(publish: Publish = "none", writable: tuple[int, ...] = ()) -> tuple[Tables, Hazards]:
    """Of a kernel with a page that maps these pages writable, and all others read-only."""
    frames = FrameTable([(0, 0x100)], fresh=0)
    leaves = np.full(512, PRESENT, np.uint64)
    leaves[list(writable)] |= np.uint64(RW)
    frames.arrays[LEAVES] = leaves
    hazards = Hazards(frames)
    return Tables(publish, hazards), hazards


def told(notes: Iterable[Note]) -> list[object]:
    """What notes say."""
    return [note.what for note in notes]


def test_tree_is_listed_from_its_root_down_child_by_child() -> None:
    """Each table before those below it, in the order in which they were entered."""
    made, _ = tables()
    for pfn in (1, 2, 3, 4, 5):
        made.note_table(pfn, 1)
    for child, above in ((3, 2), (4, 2), (2, 1), (5, 1)):
        assert [] == made.note_entered(child, above)

    assert [1, 2, 3, 4, 5] == made.tree(1)
    assert [2, 3, 4] == made.tree(2)
    assert [9] == made.tree(9)


def test_tree_is_live_when_its_root_goes_into_a_live_table() -> None:
    """All of it at once."""
    made, _ = tables()
    for pfn in (1, 2, 3):
        made.note_table(pfn, 1)
    made.note_entered(2, 1)

    assert [1, 2] == made.note_entered(1, 0x500)
    assert {3} == made.unhooked


@pytest.mark.parametrize(
    ("publish", "expected"),
    [
        ("none", [[], [], []]),
        ("reserve", [[4, 5, 6, 7], [4, 5, 6, 7], [4, 5, 6, 7]]),
        ("alloc", [[], [4], [4]]),
        ("hook", [[], [], [4]]),
    ],
)
def test_page_is_published_when_the_strategy_says(
    publish: Publish, expected: list[list[int]]
) -> None:
    """After the buffer was reserved, after a page was taken, after it was hooked."""
    made, _ = tables(publish)
    known = []
    made.note_buffer(Buffer(4, 4, 8))
    known.append(made.known.between(0, 16))
    made.note_table(4, 1)
    known.append(made.known.between(0, 16))
    made.note_entered(4, 0x500)
    known.append(made.known.between(0, 16))

    assert expected == known


def test_window_opens_where_a_leaf_is_writable_and_closes_once() -> None:
    """By a leaf that was there before the page was taken."""
    made, hazards = tables(writable=(5,))
    assert [] == told(made.note_filled(0, Page(3, LEAVES, 0)))

    assert [] == told(made.note_table(4, 1))
    assert [HazardOpened(5)] == told(made.note_table(5, 1))
    assert {5: 3, 4: 3} == made.mapped_before
    assert [HazardClosed(5)] == told(hazards.closed((4, 5)))
    assert [] == told(hazards.closed((4, 5)))


def test_window_opens_when_the_leaf_is_written_later() -> None:
    """And observers hear of a table that maps pages of the buffer."""
    made, _ = tables(writable=(5,))
    made.note_buffer(Buffer(4, 4, 8))
    assert [] == told(made.note_table(5, 1))

    assert [TableFilled(0, 3), HazardOpened(5)] == told(made.note_filled(0, Page(3, LEAVES, 0)))
    assert not made.mapped_before
