"""The guest's list of machine frames, and the leaf entries that follow from it."""

from bisect import bisect_right
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from models.linux.start_state.geometry import Extent, Range
from models.machine.entries import (
    ACCESSED,
    DIRTY,
    ENTRIES,
    NX,
    PAGE_SHIFT,
    PRESENT,
    PSE,
    RW,
    USER,
)

PAGE_KERNEL = NX | DIRTY | ACCESSED | RW | PRESENT
"""A leaf of the direct map: writable data. Under Xen PV no GLOBAL and no large pages."""
TABLE_FLAGS = DIRTY | ACCESSED | USER | RW | PRESENT
"""An entry for a lower table (_PAGE_TABLE)."""

_NO_RUN = (0, 0, 0, False)
_NEXT_FRAMES = np.arange(ENTRIES, dtype=np.uint64) << np.uint64(PAGE_SHIFT)


def large_leaves(first: int, count: int) -> NDArray[np.uint64]:
    """Leaves of 2 MiB for the regions from ``first`` on, where a frame's number is the page's."""
    frames = np.arange(first, first + count, dtype=np.uint64) * np.uint64(ENTRIES)
    return (frames << np.uint64(PAGE_SHIFT)) | np.uint64(PAGE_KERNEL | PSE)


class P2m:
    """Which machine frame stands behind a page: one of the domain's, its own number, or none."""

    def __init__(self, extents: Iterable[Extent], identity: Iterable[Range]) -> None:
        runs = [(extent.pfn, extent.pages, extent.mfn, False) for extent in extents]
        runs += [(first, last - first, first, True) for first, last in identity]
        self._runs = sorted(runs)
        self._firsts = [pfn for pfn, _, _, _ in self._runs]

    def run_at(self, pfn: int) -> tuple[int | None, bool, int]:
        """(frame or None, is it 1:1 I/O memory, pages to the end of this run)."""
        number = bisect_right(self._firsts, pfn) - 1
        if number >= 0:
            first, pages, mfn, identity = self._runs[number]
            if pfn < first + pages:
                return mfn + pfn - first, identity, first + pages - pfn
        following = self._firsts[number + 1] if number + 1 < len(self._firsts) else 1 << 52
        return None, False, following - pfn

    def mfn(self, pfn: int) -> int | None:
        """The frame behind a page, None if there is none."""
        number = bisect_right(self._firsts, pfn) - 1
        first, pages, mfn, _ = self._runs[number] if number >= 0 else _NO_RUN
        return mfn + pfn - first if pfn < first + pages else None

    def leaves(self, first: int, end: int) -> tuple[NDArray[np.uint64], list[Range]]:
        """Leaf entries for [first, end), uint64[end - first], and the 1:1 parts (pfns).

        A page without a frame gets a zero entry. Source: Linux pte_pfn_to_mfn.
        """
        mfn, identity, run = self.run_at(first)
        pages = end - first
        if run >= pages and mfn is not None and not identity:
            frames = _NEXT_FRAMES if pages == ENTRIES else _NEXT_FRAMES[:pages]
            return frames + (mfn << PAGE_SHIFT | PAGE_KERNEL), []
        leaves = np.zeros(pages, np.uint64)
        one_to_one: list[Range] = []
        pfn = first
        while pfn < end:
            mfn, identity, run = self.run_at(pfn)
            last = min(pfn + run, end)
            if mfn is not None:
                frames = _NEXT_FRAMES[: last - pfn] + np.uint64(mfn << PAGE_SHIFT | PAGE_KERNEL)
                leaves[pfn - first : last - first] = frames
                if identity:
                    one_to_one.append((pfn, last))
            pfn = last
        return leaves, one_to_one
