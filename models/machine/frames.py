"""The frame table: what the hypervisor keeps for every page frame, and the pages themselves.

State is columns over the RAM of the machine; a frame number (mfn) is turned into an index
once, since machine memory has holes. Single words are read and written through memoryviews
(half the cost of numpy scalars), whole tables through the numpy arrays over the same memory.

All model code reaches the words by indexing these columns; a column may therefore be replaced
by one that records who touched what.
"""

from bisect import bisect_right
from collections.abc import Iterable, MutableSequence

import numpy as np
from numpy.typing import NDArray

from models.machine.entries import ENTRIES

NOT_RAM = -1
DOMID_IO = 0x7FF1
DOMID_XEN = 0x7FF2
NO_OWNER = 0xFFFF

Words = MutableSequence[int]


class FrameTable:
    """All RAM frames: type word, reference count, owner, time stamp, contents.

    Args:
        extents: ``(first mfn, pages)`` pairs, disjoint.
        fresh: the ``count_info`` of a page just given to a domain.
        owner: the domain that owns all of them to begin with.
    """

    def __init__(self, extents: Iterable[tuple[int, int]], *, fresh: int, owner: int = 0) -> None:
        self.extents = sorted(extents)
        self._firsts = [first for first, _ in self.extents]
        self._bases = []
        total = 0
        for first, pages in self.extents:
            if self._bases and first < self._last_end:
                raise ValueError(f"frame {first:#x} is in two extents")
            self._bases.append(total)
            self._last_end = first + pages
            total += pages
        self.pages = total
        self.type_array: NDArray[np.uint64] = np.zeros(total, np.uint64)
        self.count_array: NDArray[np.uint64] = np.full(total, fresh, np.uint64)
        self.stamp_array: NDArray[np.uint32] = np.zeros(total, np.uint32)
        self.owner_array: NDArray[np.uint16] = np.full(total, owner, np.uint16)
        self.type_info: Words = memoryview(self.type_array)
        self.count_info: Words = memoryview(self.count_array)
        self.tlb_stamp: Words = memoryview(self.stamp_array)
        self.owner: Words = memoryview(self.owner_array)
        self._arrays: dict[int, NDArray[np.uint64]] = {}
        self._words: dict[int, Words] = {}
        self._select(0)

    def _select(self, number: int) -> None:
        """Make this extent the one that is tried first."""
        self._first, self._size = self.extents[number] if self.extents else (0, 0)
        self._base = self._bases[number] if self.extents else 0

    def index(self, mfn: int) -> int:
        """The index of a frame in the columns; NOT_RAM if there is no such frame."""
        offset = mfn - self._first
        if 0 <= offset < self._size:
            return self._base + offset
        number = bisect_right(self._firsts, mfn) - 1
        if number < 0 or mfn - self._firsts[number] >= self.extents[number][1]:
            return NOT_RAM
        self._select(number)
        return self._base + mfn - self._first

    def contiguous(self, mfn: int, pages: int) -> bool:
        """Do these frames follow each other in the columns? (The first one is RAM.)"""
        self.index(mfn)
        return mfn - self._first + pages <= self._size

    def indices(self, mfns: NDArray[np.int64]) -> NDArray[np.int64]:
        """The indices of many frames; NOT_RAM where there is none."""
        firsts = np.asarray(self._firsts, np.int64)
        sizes = np.asarray([pages for _, pages in self.extents], np.int64)
        number = np.searchsorted(firsts, mfns, side="right") - 1
        offset = mfns - firsts[number]
        known = (number >= 0) & (offset < sizes[number])
        return np.where(known, np.asarray(self._bases, np.int64)[number] + offset, NOT_RAM)

    def mfn_at(self, index: int) -> int:
        """The frame at an index."""
        number = bisect_right(self._bases, index) - 1
        return self._firsts[number] + index - self._bases[number]

    def words(self, mfn: int) -> Words:
        """The 512 words of a page, for reading and writing one at a time."""
        words = self._words.get(mfn)
        if words is None:
            words = self._words[mfn] = memoryview(self.array(mfn))
        return words

    def array(self, mfn: int) -> NDArray[np.uint64]:
        """The 512 words of a page as uint64[512]: a view, not a copy."""
        array = self._arrays.get(mfn)
        if array is None:
            array = self._arrays[mfn] = np.zeros(ENTRIES, np.uint64)
        return array
