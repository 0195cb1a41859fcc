"""Page tables that can still be written through another mapping.

A window is open while a frame that serves as a page table has a writable leaf in the direct
map, whether the leaf's own table is reachable yet or not. The allocator's temporary slot does
not count: it is how the table is filled. What opens or closes a window is a plain function; it
returns the notes for the observers, which its caller yields (``yield from``).
"""

from collections.abc import Iterable
from typing import NamedTuple

from models.machine.entries import PRESENT, RW
from models.machine.frames import FrameTable
from sim.effects import Note

_WRITABLE = PRESENT | RW


class HazardOpened(NamedTuple):
    """A page table has a writable leaf from here on."""

    pfn: int


class HazardClosed(NamedTuple):
    """It has none any more, or its frame is typed as a table."""

    pfn: int


class Hazards:
    """Which tables have a writable leaf, found by looking at the leaves."""

    def __init__(self, frames: FrameTable) -> None:
        self.tables: set[int] = set()
        """pfns of the tables made so far."""
        self.open: set[int] = set()
        self.unreachable = 0
        """Tables whose read-only attempt found no path to the leaf."""
        self.leaf_tables: dict[int, int] = {}
        """Region of 512 pages -> mfn of the L1 that maps it, hooked or not."""
        self._frames = frames
        self._by_region: dict[int, list[int]] = {}

    def table_allocated(self, pfn: int) -> list[Note]:
        """A page is a table from now on, which may open a window."""
        self.tables.add(pfn)
        region = pfn >> 9
        self._by_region.setdefault(region, []).append(pfn)
        return self._opened((pfn,)) if region in self.leaf_tables else []

    def leaves_written(self, region: int, mfn: int) -> list[Note]:
        """A page holds the leaves of a region now; windows of tables in there may open."""
        self.leaf_tables[region] = mfn
        tables = self._by_region.get(region)
        return [] if tables is None else self._opened(tables)

    def closed(self, pfns: Iterable[int]) -> list[Note]:
        """The leaves of these tables were made read-only, or their frames typed."""
        notes = []
        for pfn in pfns:
            if pfn in self.open:
                self.open.remove(pfn)
                notes.append(Note(HazardClosed(pfn)))
        return notes

    def _opened(self, pfns: Iterable[int]) -> list[Note]:
        """Those of these tables that have a writable leaf, which is in a table that is known."""
        notes = []
        for pfn in pfns:
            leaves = self._frames.words(self.leaf_tables[pfn >> 9])
            if leaves[pfn & 511] & _WRITABLE == _WRITABLE:
                self.open.add(pfn)
                notes.append(Note(HazardOpened(pfn)))
        return notes
