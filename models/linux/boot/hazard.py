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

    COUNTED = ("unreachable",)
    """Attributes that are only ever counted up."""

    def has_tables(self, region: int) -> bool:
        """Has a page of this region been taken for a table?"""
        return region in self._by_region

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

    def note_alike(self, like: int, regions: range, pfns: range, mfns: range) -> None:
        """For each of these regions a table was made and filled, just as ``like`` for another."""
        self.tables.update(pfns)
        if like in self.open:
            self.open.update(pfns)
        for pfn in pfns:
            self._by_region.setdefault(pfn >> 9, []).append(pfn)
        self.leaf_tables.update(zip(regions, mfns, strict=True))

    def facts(self, region: int, pfn: int, mfn: int) -> tuple[bool, ...]:
        """What is known of the table (pfn, mfn) of a region."""
        return (
            self.leaf_tables[region] == mfn,
            pfn in self.tables,
            pfn in self.open,
            pfn in self._by_region[pfn >> 9],
        )

    def _opened(self, pfns: Iterable[int]) -> list[Note]:
        """Those of these tables that have a writable leaf, which is in a table that is known."""
        notes = []
        for pfn in pfns:
            leaves = self._frames.words(self.leaf_tables[pfn >> 9])
            if leaves[pfn & 511] & _WRITABLE == _WRITABLE:
                self.open.add(pfn)
                notes.append(Note(HazardOpened(pfn)))
        return notes
