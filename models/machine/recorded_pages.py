"""The pages of a machine while somebody records: single words, and scans for present entries."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.machine.entries import ENTRIES, PRESENT
from sim.footprint import RecordedWords, Recorder

ALL_ENTRIES = "entries"
"""Stands for the slots of a page in the name of a word: who scans it, or stores anywhere in it."""


class RecordedPage(RecordedWords):
    """The 512 words of a page; who stores one meets everybody who scans the page."""

    __slots__ = ("_array", "_whole")

    def __init__(self, array: NDArray[np.uint64], mfn: int, recorder: Recorder) -> None:
        words: Any = array.data
        super().__init__(words, f"mfn {mfn:x}", recorder)
        self._array = array
        self._whole = self._name, ALL_ENTRIES

    def __setitem__(self, index: int, value: int) -> None:
        super().__setitem__(index, value)
        self._recorder.store(self._whole, index)

    def next_present(self, start: int, end: int) -> int:
        """The first slot in [start, end) with a present entry, as a scan; ``end`` if none has."""
        if start >= end:
            return end
        found = _present(self._array[start:end])
        slot = start + int(found[0]) if found.size else end
        self._recorder.scan(self._whole, start, min(slot, end - 1))
        return slot

    def previous_present(self, start: int, end: int) -> int:
        """The last slot in [start, end) with a present entry, as a scan; start - 1 if none has."""
        if start >= end:
            return start - 1
        found = _present(self._array[start:end])
        slot = start + int(found[-1]) if found.size else start - 1
        self._recorder.scan(self._whole, max(slot, start), end - 1)
        return slot

    def slots_up(self) -> Iterator[int]:
        """The slots with present entries, from the first on, looked for as the scan goes on.

        There is always one: of a page without present entries the last.
        """
        slot = 0
        while slot < ENTRIES:
            found = self.next_present(slot, ENTRIES)
            if found < ENTRIES or not slot:
                yield min(found, ENTRIES - 1)
            slot = found + 1

    def slots_down(self, below: int) -> Iterator[int]:
        """The same from the slot below this one down; of an empty page the first."""
        slot = below
        while slot > 0:
            found = self.previous_present(0, slot)
            if found >= 0 or slot == below:
                yield max(found, 0)
            slot = found


def _present(words: NDArray[np.uint64]) -> NDArray[np.intp]:
    return (words & np.uint64(PRESENT)).nonzero()[0]
