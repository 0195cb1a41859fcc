"""Pages of a machine that is recorded: which slots a scan goes through, and what is noted."""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from models.machine.entries import ENTRIES, PRESENT
from models.machine.frames import FrameTable
from sim.footprint import Kind, Recorder

MFN = 0x100
_slots = st.integers(0, ENTRIES - 1)


def _tables(present: Iterable[int]) -> tuple[FrameTable, FrameTable, Recorder]:
    """The same page twice, in a machine that nobody records and in one that is recorded."""
    plain, recorded = (FrameTable([(MFN, 1)], fresh=0, owner=1) for _ in range(2))
    for slot in present:
        plain.words(MFN)[slot] = recorded.words(MFN)[slot] = PRESENT
    recorder = Recorder()
    recorded.record(recorder, (), ())
    return plain, recorded, recorder


@given(present=st.sets(_slots, max_size=8), below=_slots, changes=st.lists(_slots, max_size=4))
def test_scans_meet_the_same_present_entries(
    present: set[int], below: int, changes: list[int]
) -> None:
    """Also those that are put in or taken out on the way, wherever the scan is."""
    for names in (("slots_up", MFN), ("slots_down", MFN, below)):
        found = []
        for table in _tables(present)[:2]:
            words, met, left = table.words(MFN), [], list(changes)
            for slot in getattr(table, names[0])(*names[1:]):
                if words[slot] & PRESENT:
                    met.append(slot)
                    if left:
                        words[left.pop()] ^= PRESENT
            found.append(met)

        assert found[0] == found[1]


@given(present=st.sets(_slots, max_size=8))
def test_scan_looks_at_every_place(present: set[int]) -> None:
    """And has something to show of a page without entries, too."""
    _, recorded, recorder = _tables(present)
    for slots in (recorded.slots_up(MFN), recorded.slots_down(MFN)):
        assert list(slots)
        (scan,) = recorder.take()

        assert (Kind.SCAN, 0, ENTRIES - 1) == (scan.kind, scan.before, scan.after)


def test_store_is_noted_for_who_scans() -> None:
    """Beside the word itself."""
    _, recorded, recorder = _tables([])
    recorded.words(MFN)[7] = 5

    assert [(Kind.WRITE, 0, 5), (Kind.STORE, 7, 7)] == [
        (access.kind, access.before, access.after) for access in recorder.take()
    ]
