"""The frame table: what the hypervisor keeps for every page frame, and the pages themselves.

State is columns over the RAM of the machine; a frame number (mfn) is turned into an index
once, since machine memory has holes. Single words are read and written through memoryviews
(half the cost of numpy scalars), whole tables through the numpy arrays over the same memory.

All model code reaches the words by indexing these columns; :meth:`FrameTable.record` replaces
them by columns that note who touched what.

Most frames of a booting guest only ever change in whole runs of 512: from fresh to mapped
writable once. Such a run is kept as one byte, and its words are written into the columns when
somebody first asks for the index of one of its frames. So the columns take memory, and time,
only where frames differ from their neighbours.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from models.machine.entries import ENTRIES, PRESENT
from models.machine.recorded_pages import RecordedPage
from sim.fields import Condition, Field, FieldWords
from sim.footprint import RecordedWords, Recorder

NOT_RAM = -1
DOMID_IO = 0x7FF1
DOMID_XEN = 0x7FF2
NO_OWNER = 0xFFFF

_RUN = ENTRIES
_SLOTS = range(ENTRIES)
_RUN_SHIFT = 9
_FRESH, _MAPPED_ONCE, _WRITTEN = 0, 1, 2  # states of a run of 512 frames
_PIECE_PAGES = 4096
_REMEMBERED = 1 << 20
_PRESENT = np.uint64(PRESENT)

Places: TypeAlias = slice | NDArray[np.int64]
"""Where frames are in the columns: what an array is indexed with."""

Words: TypeAlias = "memoryview[int]"
"""A column, or a page: a sequence of words that is read and written by index."""


class FrameTable:
    """All RAM frames: type word, reference count, owner, time stamp, contents.

    Args:
        extents: ``(first mfn, pages)`` or ``(first mfn, pages, pfn)``, disjoint. The pfn only
            tells how runs of 512 frames are best cut: as the guest's tables will map them.
        fresh: the ``count_info`` of a page just given to a domain.
        owner: the domain that owns all of them to begin with.
    """

    def __init__(
        self,
        extents: Iterable[tuple[int, int] | tuple[int, int, int]],
        *,
        fresh: int,
        owner: int = 0,
    ) -> None:
        self.extents: list[tuple[int, int]] = []
        self._bases: list[int] = []
        self._fresh = fresh
        self._owner = owner
        size = previous_end = 0
        for first, pages, *pfn in sorted(extents):
            if self.extents and first < previous_end:
                raise ValueError(f"frame {first:#x} is in two extents")
            if pfn:
                size += (pfn[0] - size) % _RUN
            self.extents.append((first, pages))
            self._bases.append(size)
            size += pages
            previous_end = first + pages
        self._firsts = [first for first, _ in self.extents]
        # What the number of an extent leads to; before the first there is an empty one.
        self._starts = np.array(self._firsts, np.int64)
        self._ends = np.array([0, *(first + pages for first, pages in self.extents)], np.int64)
        self._offsets = np.array([0, *self._bases], np.int64)
        self._offsets[1:] -= self._starts
        runs = -(-size // _RUN)
        self._runs = bytearray(runs)
        self._runs_array = np.frombuffer(self._runs, np.uint8)
        self._mapped_once = 0
        """The type word of all frames of a run in that state."""
        self.type_array: NDArray[np.uint64] = np.zeros(runs * _RUN, np.uint64)
        self.count_array: NDArray[np.uint64] = np.zeros(runs * _RUN, np.uint64)
        self.stamp_array: NDArray[np.uint32] = np.zeros(runs * _RUN, np.uint32)
        self.owner_array: NDArray[np.uint16] = np.zeros(runs * _RUN, np.uint16)
        self.type_info: Words = self.type_array.data
        self.count_info: Words = self.count_array.data
        self.tlb_stamp: Words = self.stamp_array.data
        self.owner: Words = self.owner_array.data
        self.arrays = _Arrays()
        """The 512 words of a page by mfn, as uint64[512]: views, not copies."""
        self.pages = _Pages(self.arrays)
        """The same words for reading and writing one at a time."""
        self.index: Callable[[int], int] = _Indices(self._find).__getitem__
        """The index of a frame (by mfn) in the columns; NOT_RAM if there is no such frame."""

    # -- single frames --------------------------------------------------------------------

    def _find(self, mfn: int) -> int:
        """Look for a frame's extent; its run is written out, since somebody wants to see it."""
        number = bisect_right(self._firsts, mfn) - 1
        if number < 0 or mfn - self._firsts[number] >= self.extents[number][1]:
            return NOT_RAM
        index = self._bases[number] + mfn - self._firsts[number]
        if self._runs[index // _RUN] != _WRITTEN:
            self._write(index // _RUN)
        return index

    def mfn_at(self, index: int) -> int:
        """The frame at an index."""
        number = bisect_right(self._bases, index) - 1
        return self._firsts[number] + index - self._bases[number]

    def words(self, mfn: int) -> Words:
        """The 512 words of a page, for reading and writing one at a time."""
        return self.pages[mfn]

    def slots_up(self, mfn: int) -> Iterable[int]:
        """Slots of a page in their order, all that hold present entries among them.

        One at least. Who goes through them may be held up on the way, and sees a slot as it is when
        he comes to it.
        """
        return self.pages.slots_up(mfn)

    def slots_down(self, mfn: int, below: int = ENTRIES) -> Iterable[int]:
        """The same from the slot below this one down; none below the first."""
        return self.pages.slots_down(mfn, below)

    def array(self, mfn: int) -> NDArray[np.uint64]:
        """The 512 words of a page as uint64[512]: a view, not a copy."""
        return self.arrays[mfn]

    def next_present(self, mfn: int, start: int, end: int = ENTRIES) -> int:
        """The first slot in [start, end) of a table whose entry is present; ``end`` if none is."""
        return self.pages.next_present(mfn, start, end)

    def previous_present(self, mfn: int, start: int, end: int) -> int:
        """The last slot in [start, end) of a table whose entry is present; start - 1 if none is."""
        return self.pages.previous_present(mfn, start, end)

    def record(
        self,
        recorder: Recorder,
        type_fields: Sequence[Field],
        count_fields: Sequence[Field],
        conditions: Sequence[Condition] = (),
    ) -> None:
        """From here on note every word that is read or written, but by vectorised bodies.

        Of type words and counts it is noted which of these fields are; ``conditions`` on a type
        word are asked for as one question.
        """
        self.type_info = cast(
            "Words", FieldWords(self.type_info, "type_info", recorder, type_fields, conditions)
        )
        self.count_info = cast(
            "Words", FieldWords(self.count_info, "count_info", recorder, count_fields)
        )
        self.tlb_stamp = _recorded(self.tlb_stamp, "tlb_stamp", recorder)
        self.owner = _recorded(self.owner, "owner", recorder)
        self.pages = _RecordedPages(self.arrays, recorder)

    def __deepcopy__(self, memo: dict[int, object]) -> "FrameTable":
        """A table of its own with the same words; nobody records what is done to it."""
        copied = FrameTable.__new__(FrameTable)
        memo[id(self)] = copied
        runs = bytearray(self._runs)
        columns = {
            name: getattr(self, name).copy()
            for name in ("type_array", "count_array", "stamp_array", "owner_array")
        }
        vars(copied).update(vars(self))
        vars(copied).update(columns, _runs=runs, _runs_array=np.frombuffer(runs, np.uint8))
        copied.type_info, copied.count_info = copied.type_array.data, copied.count_array.data
        copied.tlb_stamp, copied.owner = copied.stamp_array.data, copied.owner_array.data
        copied.arrays = _Arrays()
        copied.arrays.update({mfn: array.copy() for mfn, array in self.arrays.items()})
        copied.pages = _Pages(copied.arrays)
        copied.index = _Indices(copied._find).__getitem__  # noqa: SLF001 - its own kind
        return copied

    # -- many frames ----------------------------------------------------------------------

    def indices(self, mfns: NDArray[np.int64]) -> NDArray[np.int64]:
        """The indices of many frames; NOT_RAM where there is none."""
        number = self._starts.searchsorted(mfns, "right")
        known = mfns < self._ends[number]
        index = np.where(known, mfns + self._offsets[number], NOT_RAM)
        self._write_runs_of(index[known])
        return index

    def span(self, mfn: int, pages: int) -> slice | None:
        """The places of frames that follow each other; None unless an extent has them all."""
        number = bisect_right(self._firsts, mfn) - 1
        if number < 0 or mfn - self._firsts[number] > self.extents[number][1] - pages:
            return None
        start = self._bases[number] + mfn - self._firsts[number]
        for run in range(start // _RUN, -(-(start + pages) // _RUN)):
            if self._runs[run] != _WRITTEN:
                self._write(run)
        return slice(start, start + pages)

    def places(self, mfns: NDArray[np.uint32]) -> NDArray[np.int64] | None:
        """The places of some frames; None if one is no RAM or comes twice."""
        ordered = mfns.copy()
        ordered.sort()
        if np.count_nonzero(ordered[1:] == ordered[:-1]):
            return None
        first, last = ordered.item(0), ordered.item(-1)
        number = bisect_right(self._firsts, first) - 1
        if number < 0 or last - self._firsts[number] >= self.extents[number][1]:
            index = self.indices(mfns.astype(np.int64))
            return None if (index == NOT_RAM).any() else index
        offset = self._bases[number] - self._firsts[number]
        index = mfns + np.int64(offset)
        start, stop = (first + offset) // _RUN, (last + offset) // _RUN + 1
        if self._runs.find(_FRESH, start, stop) >= 0 or (
            self._runs.find(_MAPPED_ONCE, start, stop) >= 0
        ):
            self._write_runs_of(index)
        return index

    def all_indices(self) -> NDArray[np.int64]:
        """The indices of all frames there are, every run written out."""
        for run in range(len(self._runs)):
            if self._runs[run] != _WRITTEN:
                self._write(run)
        spans = zip(self._bases, self.extents, strict=True)
        return np.concatenate([np.arange(base, base + pages) for base, (_, pages) in spans])

    def map_fresh_run(self, mfn: int, owner: int, type_word: int) -> bool:
        """Give 512 fresh frames from ``mfn`` on this type word and one more reference.

        False, and nothing is done, unless they are one run of the table, fresh, and the owner's.
        """
        number = bisect_right(self._firsts, mfn) - 1
        if number < 0 or mfn - self._firsts[number] > self.extents[number][1] - _RUN:
            return False
        index = self._bases[number] + mfn - self._firsts[number]
        if index % _RUN or self._runs[index // _RUN] != _FRESH:
            return False
        if self._mapped_once not in (0, type_word) or owner != self._owner:
            return False
        self._mapped_once = type_word
        self._runs[index // _RUN] = _MAPPED_ONCE
        return True

    def fresh_runs(self, mfn: int, owner: int, most: int) -> int:
        """How many runs of 512 frames from ``mfn`` on, up to ``most``, are fresh and the owner's.

        0 if ``mfn`` is not where a run begins.
        """
        number = bisect_right(self._firsts, mfn) - 1
        if number < 0 or owner != self._owner:
            return 0
        behind = self._firsts[number] + self.extents[number][1]
        index = self._bases[number] + mfn - self._firsts[number]
        most = min(most, (behind - mfn) // _RUN)
        if index % _RUN or most <= 0:
            return 0
        first = index // _RUN
        states = self._runs[first : first + most]
        return len(states) - len(states.lstrip(bytes([_FRESH])))

    def is_alike(self, mfn: int) -> bool:
        """Are the frames of the run that begins with ``mfn`` kept as alike?"""
        return self._runs[self._run_at(mfn)] != _WRITTEN

    def repeat_run(self, mfn: int, runs: int) -> None:
        """Let so many fresh runs behind the run that begins with ``mfn`` be as that one is.

        All of them are in one extent, and that run's frames are alike.
        """
        run = self._run_at(mfn)
        self._runs[run + 1 : run + 1 + runs] = self._runs[run : run + 1] * runs

    def _run_at(self, mfn: int) -> int:
        number = bisect_right(self._firsts, mfn) - 1
        return (self._bases[number] + mfn - self._firsts[number]) // _RUN

    def _write_runs_of(self, index: NDArray[np.int64]) -> None:
        """Put the words of all runs that these frames are in into the columns."""
        runs = index >> _RUN_SHIFT
        unwritten = self._runs_array[runs] != _WRITTEN
        if np.count_nonzero(unwritten):
            for run in set(runs[unwritten].tolist()):
                self._write(run)

    def _write(self, run: int) -> None:
        """Put the words of a run into the columns."""
        span = slice(run * _RUN, (run + 1) * _RUN)
        mapped = self._runs[run] == _MAPPED_ONCE
        self.count_array[span] = self._fresh + mapped
        self.owner_array[span] = self._owner
        if mapped:
            self.type_array[span] = self._mapped_once
        self._runs[run] = _WRITTEN


class _Indices(dict[int, int]):
    """Indices by frame, remembered: the frames that are looked at are few, and often the same."""

    def __init__(self, find: Callable[[int], int]) -> None:
        super().__init__()
        self._find = find

    def __missing__(self, mfn: int) -> int:
        index = self._find(mfn)
        if len(self) < _REMEMBERED:
            self[mfn] = index
        return index


class _Arrays(dict[int, NDArray[np.uint64]]):
    """Pages by frame; one that was never written reads as zero.

    They are cut from larger pieces, which the system can back with large pages of its own.
    """

    def __init__(self) -> None:
        super().__init__()
        self._piece = np.zeros((0, ENTRIES), np.uint64)
        self._used = 0

    def __missing__(self, mfn: int) -> NDArray[np.uint64]:
        if self._used == len(self._piece):
            self._piece = np.zeros((min(16 + len(self), _PIECE_PAGES), ENTRIES), np.uint64)
            self._used = 0
        array: NDArray[np.uint64] = self._piece[self._used]
        self[mfn] = array
        self._used += 1
        return array


class _Pages(dict[int, Words]):
    """The words of pages by frame, over the memory of their arrays."""

    def __init__(self, arrays: _Arrays) -> None:
        super().__init__()
        self._arrays = arrays

    def __missing__(self, mfn: int) -> Words:
        words: Words = self._arrays[mfn].data
        self[mfn] = words
        return words

    def next_present(self, mfn: int, start: int, end: int) -> int:
        """See :meth:`FrameTable.next_present`: a look at each entry, in one."""
        if start < end and self[mfn][start] & PRESENT:
            return start
        slots = (self._arrays[mfn][start:end] & _PRESENT).nonzero()[0]
        return start + int(slots[0]) if slots.size else end

    def previous_present(self, mfn: int, start: int, end: int) -> int:
        """See :meth:`FrameTable.previous_present`."""
        if start < end and self[mfn][end - 1] & PRESENT:
            return end - 1
        slots = (self._arrays[mfn][start:end] & _PRESENT).nonzero()[0]
        return start + int(slots[-1]) if slots.size else start - 1

    def slots_up(self, mfn: int) -> Iterable[int]:  # noqa: ARG002 - others look into the page
        return _SLOTS

    def slots_down(self, mfn: int, below: int) -> Iterable[int]:  # noqa: ARG002
        return range(below - 1, -1, -1)


class _RecordedPages(_Pages):
    """The same, and every word that is read or written is noted."""

    def __init__(self, arrays: _Arrays, recorder: Recorder) -> None:
        super().__init__(arrays)
        self._recorder = recorder

    def __missing__(self, mfn: int) -> Words:
        words = self[mfn] = cast("Words", RecordedPage(self._arrays[mfn], mfn, self._recorder))
        return words

    def next_present(self, mfn: int, start: int, end: int) -> int:
        return self._page(mfn).next_present(start, end)

    def previous_present(self, mfn: int, start: int, end: int) -> int:
        return self._page(mfn).previous_present(start, end)

    def slots_up(self, mfn: int) -> Iterator[int]:
        return self._page(mfn).slots_up()

    def slots_down(self, mfn: int, below: int) -> Iterator[int]:
        return self._page(mfn).slots_down(below)

    def _page(self, mfn: int) -> RecordedPage:
        return cast("RecordedPage", self[mfn])


def _recorded(words: Words, name: str, recorder: Recorder) -> Words:
    return cast("Words", RecordedWords(words, name, recorder))
