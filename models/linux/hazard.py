"""Page tables that can still be written through another mapping.

A window is open while a frame that serves as a page table has a writable leaf in the direct
map, whether the leaf's own table is reachable yet or not. The allocator's temporary slot does
not count: it is how the table is filled.
"""

from typing import NamedTuple

from models.machine.entries import PRESENT, RW
from models.machine.frames import FrameTable

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
        self._frames = frames
        self._leaf_tables: dict[int, int] = {}
        self._by_region: dict[int, list[int]] = {}

    def leaf_table(self, region: int) -> int | None:
        """Mfn of the L1 that maps a region of 512 pages, hooked or not."""
        return self._leaf_tables.get(region)

    def add_leaf_table(self, region: int, mfn: int) -> None:
        """This page holds the leaves of a region."""
        self._leaf_tables[region] = mfn

    def table_allocated(self, pfn: int) -> bool:
        """A page is a table from now on; True if that opens a window."""
        self.tables.add(pfn)
        self._by_region.setdefault(pfn >> 9, []).append(pfn)
        return self._opens(pfn)

    def leaves_written(self, region: int) -> list[int]:
        """The leaves of a region have changed: tables whose windows this opens."""
        return [pfn for pfn in self._by_region.get(region, ()) if self._opens(pfn)]

    def closes(self, pfn: int) -> bool:
        """The leaf was made read-only, or the frame typed; True if a window was open."""
        if pfn in self.open:
            self.open.remove(pfn)
            return True
        return False

    def _opens(self, pfn: int) -> bool:
        table = self._leaf_tables.get(pfn >> 9)
        if table is None or self._frames.words(table)[pfn & 511] & _WRITABLE != _WRITABLE:
            return False
        self.open.add(pfn)
        return True
