"""A run of regions that are mapped alike, each with a fresh L1 of its own.

:mod:`models.linux.boot.walks.alike` tells how many there are,
:mod:`models.linux.boot.walks.repetition` how they are mapped; here is what is written for those
that are told from the first: the words of their tables and frames, and what the kernel keeps in its
books about them.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.linux.boot.guest import Guest
from models.linux.boot.hazard import HazardClosed, HazardOpened
from models.linux.boot.walks.alike import PageRun, regions_alike
from models.linux.boot.walks.repetition import NotAlike, repeat, undisturbed
from models.machine.entries import ENTRIES, PAGE_SHIFT
from sim.effects import Activity

_WINDOW = (HazardOpened, HazardClosed)
_REGION_STRIDE = np.uint64(ENTRIES << PAGE_SHIFT)


def map_alike(
    guest: Guest,
    l2: int,
    region: int,
    end: int,
    pages: PageRun | None,
    map_region: Callable[[int], Activity],
) -> Activity:
    """Map the regions from this one on that are alike; how many were mapped, 0 if none are.

    ``map_region`` maps one region, whose entry in ``l2`` (mfn) is empty. ``end`` (pfn) and
    ``pages`` are as for :func:`models.linux.boot.walks.alike.regions_alike`.

    Raises:
        NotAlike: the last region came to something else than the first.
    """
    count = regions_alike(guest, l2, region, end, pages)
    if not count or pages is None:
        return 0
    run = Regions(l2, region, guest.mfn(region * ENTRIES), pages, guest.mfn(pages.first))
    return (yield from repeat(guest, run, count, lambda number: map_region(region + number)))


class _Mapped(NamedTuple):
    """What a region has come to; addresses are told less the region's own."""

    leaves: bytes
    """Of its table, less the address of the region's first frame."""
    entry: int
    """In the table above, less the address of the region's table."""
    type_word: int
    references: int
    owner: int
    """Of the table's frame."""
    flushes_since: int | None
    """Flushes since its time stamp was set; None if it has none."""
    leaf: int | None
    """The table's own, less the address of the table; None if it is not mapped."""
    shadow: int | None
    """The level that Xen has shadowed the table at; None if it has not."""
    frames_are_alike: bool
    books: tuple[bool, ...]
    """What the kernel knows of the table."""


@dataclass(frozen=True)
class Regions:
    """A run of alike regions, numbered from 0."""

    l2: int
    """The table (mfn) that they are entered into."""
    first: int
    """The first region."""
    first_frame: int
    """Its first frame (mfn)."""
    pages: PageRun
    """Where their tables come from."""
    table: int
    """The first of these pages (mfn)."""

    def __str__(self) -> str:
        return f"regions that are mapped as region {self.first} is"

    def at_rest(self, guest: Guest) -> Hashable:
        """The table above, what has been printed, and that frames are kept alike."""
        return (*undisturbed(guest, self.l2), guest.frames.is_alike(self.first_frame))

    def come_to(self, guest: Guest, number: int) -> _Mapped:
        """What a region has come to."""
        frames = guest.frames
        region, pfn = self.first + number, self.pages.page(number)
        mfn = self.table + self.pages.step * number
        first_frame = self.first_frame + number * ENTRIES
        index = frames.index(mfn)
        stamp = frames.tlb_stamp[index]
        return _Mapped(
            (frames.array(mfn) - np.uint64(first_frame << PAGE_SHIFT)).tobytes(),
            frames.words(self.l2)[region % ENTRIES] - (mfn << PAGE_SHIFT),
            frames.type_info[index],
            frames.count_info[index],
            frames.owner[index],
            guest.xen.clock.now - stamp if stamp else None,
            self._own_leaf(guest, number),
            guest.xen.shadows.get(mfn),
            frames.is_alike(first_frame),
            (
                *guest.tables.facts(region, pfn, guest.pfn_of(self.l2)),
                *guest.hazards.facts(region, pfn, mfn),
            ),
        )

    def moved(self, what: object, number: int) -> object:
        """What the observers hear of another region's table."""
        if isinstance(what, _WINDOW) and what.pfn == self.pages.first:
            return what.__class__(self.pages.page(number))
        raise NotAlike(f"{self}: {what!r} was told of the first, and is not about its table")

    def write(self, guest: Guest, times: int, flushes: int) -> None:
        """Map so many regions behind the first; each has flushed so often."""
        self._write_tables(guest, times)
        self._write_frames(guest, times, flushes)
        self._write_own_leaves(guest, times)
        pages, mfns = self.pages, self._mfns(times)
        regions = range(self.first + 1, self.first + 1 + times)
        pfns = range(pages.page(1), pages.page(times + 1), pages.step)
        pages.take(times)
        guest.tables.note_alike(pages.first, guest.pfn_of(self.l2), regions, pfns)
        guest.hazards.note_alike(pages.first, regions, pfns, mfns)

    def _write_tables(self, guest: Guest, times: int) -> None:
        """The leaves of the regions, and the entries above."""
        arrays = guest.frames.arrays
        mfns = self._mfns(times)
        strides = np.arange(1, times + 1, dtype=np.uint64) * _REGION_STRIDE
        arrays.update(zip(mfns, arrays[self.table] + strides[:, None], strict=True))
        slot = self.first % ENTRIES
        entries = arrays[self.l2]
        flags = int(entries[slot]) - (self.table << PAGE_SHIFT)
        entries[slot + 1 : slot + 1 + times] = _addresses(mfns) | np.uint64(flags)

    def _write_frames(self, guest: Guest, times: int, flushes: int) -> None:
        """The words of the frames that are mapped, and of the tables' own."""
        frames, shadows = guest.frames, guest.xen.shadows
        frames.repeat_run(self.first_frame, times)
        mfns = self._mfns(times)
        span = frames.span(min(mfns), times)
        assert span is not None  # they were looked at before
        like = frames.index(self.table)
        for column in (frames.type_array, frames.count_array, frames.owner_array):
            column[span] = column[like]
        stamp = frames.tlb_stamp[like]
        since = np.arange(1, times + 1, dtype=np.uint32) * np.uint32(flushes if stamp else 0)
        frames.stamp_array[span] = (stamp + since)[:: self.pages.step]
        if self.table in shadows:
            shadows.update(dict.fromkeys(mfns, shadows[self.table]))

    def _write_own_leaves(self, guest: Guest, times: int) -> None:
        """The leaves of the tables' own pages, where they are mapped."""
        leaf = self._own_leaf(guest, 0)
        if leaf is None:
            return
        for number, mfn in enumerate(self._mfns(times), 1):
            pfn = self.pages.page(number)
            home = guest.hazards.leaf_tables[pfn // ENTRIES]
            guest.frames.words(home)[pfn % ENTRIES] = leaf + (mfn << PAGE_SHIFT)

    def _own_leaf(self, guest: Guest, number: int) -> int | None:
        """The leaf of a table's own page, less its address; None if it is not mapped."""
        pfn = self.pages.page(number)
        home = guest.hazards.leaf_tables.get(pfn // ENTRIES)
        if home is None:
            return None
        address = self.table + self.pages.step * number << PAGE_SHIFT
        return guest.frames.words(home)[pfn % ENTRIES] - address

    def _mfns(self, times: int) -> range:
        """The frames of the tables behind the first."""
        step = self.pages.step
        return range(self.table + step, self.table + step * (times + 1), step)


def _addresses(mfns: range) -> NDArray[np.uint64]:
    return np.arange(mfns.start, mfns.stop, mfns.step, dtype=np.uint64) << np.uint64(PAGE_SHIFT)
