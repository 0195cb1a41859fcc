"""What a look has read, and whether it still reads so."""

import pytest

from models.machine.entries import PAGE_SHIFT, PRESENT, RW
from models.machine.frames import FrameTable
from models.machine.walk import find_page
from models.races.seen import Seen

L4, L3, L2, L1, PAGE, OTHER = range(0x100, 0x106)


def machine() -> FrameTable:
    """One page that is mapped at address 0."""
    frames = FrameTable([(0x100, 512)], fresh=1)
    for table, below in ((L4, L3), (L3, L2), (L2, L1), (L1, PAGE)):
        frames.words(table)[0] = below << PAGE_SHIFT | PRESENT | RW
    return frames


def test_nothing_read_does_not_stand() -> None:
    """Whoever reads past it has to look each time."""
    assert not Seen(machine()).stands()


@pytest.mark.parametrize("table", [L4, L3, L2, L1])
def test_walk_stands_until_an_entry_on_its_way_changes(table: int) -> None:
    """Other entries do not matter; the old value makes it stand again."""
    frames = machine()
    seen = Seen(frames)
    found = find_page(seen, L4, 0)
    assert found is not None
    assert PAGE == found.mfn

    frames.words(table)[1] = OTHER << PAGE_SHIFT | PRESENT
    assert seen.stands()
    frames.words(table)[0] ^= RW
    assert not seen.stands()
    frames.words(table)[0] ^= RW
    assert seen.stands()


def test_column_member_and_list_are_compared() -> None:
    """A word of the frame table, a table's flag, and who is on a list."""
    frames, pinned, names = machine(), {L1}, ["a"]
    seen = Seen(frames)
    assert 0 == seen.word(frames.type_info, frames.index(L1))
    assert seen.member(pinned, L1)
    assert not seen.member(pinned, L2)
    assert ["a"] == seen.items(names)

    assert seen.stands()
    frames.type_info[frames.index(L1)] += 1
    assert not seen.stands()
    frames.type_info[frames.index(L1)] -= 1
    pinned.add(L2)
    assert not seen.stands()
    pinned.remove(L2)
    names.append("b")
    assert not seen.stands()
    names.pop()
    assert seen.stands()
    seen.forget()
    assert not seen.stands()
