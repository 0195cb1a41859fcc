"""A run of alike regions: the first is mapped step by step, and most of the others told from it.

What the first region has cost, counted and told to the observers is its work; the others have the
same work, so nobody lists it a second time. Their state is written in bulk: the words of their
tables and frames, and what the kernel keeps in its books about them. The last region of each run
is mapped step by step again, which puts everything that only the latest region decides in its
place, and holds the run to its promise: it has to come to the same as the first.
"""

from collections import Counter
from collections.abc import Callable, Hashable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.linux.alike import PageRun, regions_alike
from models.linux.guest import Guest
from models.linux.hazard import HazardClosed, HazardOpened
from models.machine.entries import ENTRIES, PAGE_SHIFT
from sim.effects import MARK, Activity, Again, Spent

_REGION_STRIDE = np.uint64(ENTRIES << PAGE_SHIFT)


class NotAlike(RuntimeError):
    """Regions were taken for alike and are not: an error of PinLab's own."""


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
    ``pages`` are as for :func:`models.linux.alike.regions_alike`.

    Raises:
        NotAlike: the last region came to something else than the first.
    """
    count = regions_alike(guest, l2, region, end, pages)
    mark = (yield MARK) if count else None
    if mark is None or pages is None:
        return 0
    run = _Run(guest, l2, region, pages)
    before = run.counted()
    yield from map_region(region)
    if not run.can_be_told():
        return 1
    work = before.to(run.counted())
    spent: Spent | None = yield Again(mark, count - 2, run.moved)
    if spent is None:
        return 1
    first = run.come_to(0)
    run.tell(count - 2, work)

    mark = yield MARK
    before = run.counted()
    yield from map_region(region + count - 1)
    again: Spent | None = None if mark is None else (yield Again(mark, 0, run.moved))
    if again is not None:
        expected = spent._replace(told=tuple(run.moved(what, count - 1) for what in spent.told))
        run.require("cost", expected, again)
    run.require("counts", work, before.to(run.counted()))
    run.require("state", first, run.come_to(count - 1))
    return count


class _Counted(NamedTuple):
    """What only ever counts up, at some moment; or by how much it has grown."""

    counters: Counter[Hashable]
    flushes: int

    def to(self, later: "_Counted") -> "_Counted":
        """By how much each has grown until then; what has not is left out."""
        grown = {
            key: number - self.counters[key]
            for key, number in later.counters.items()
            if number != self.counters[key]
        }
        return _Counted(Counter(grown), later.flushes - self.flushes)


class _State(NamedTuple):
    """What a region has come to, told so that it is equal for alike regions."""

    leaves: bytes
    """Of its table, each less the address of the region's first frame."""
    entry: int
    """In the table above, less the address of the region's table."""
    frame: tuple[int, int, int, int]
    """Type word, count, owner and time stamp of the table's frame, the last less what other
    regions have added."""
    leaf: int | None
    """The table's own, less the address of the table; None if it is not mapped."""
    frames_are_alike: bool
    books: tuple[Hashable, ...]
    """What the kernel knows of the table."""


class _Run:
    """A run of alike regions; they are numbered from 0."""

    def __init__(self, guest: Guest, l2: int, region: int, pages: PageRun) -> None:
        self._guest = guest
        self._l2 = l2
        self._region = region
        self._pages = pages
        self._mfn = guest.mfn(pages.first)
        self._first_frame = guest.mfn(region * ENTRIES)
        self._ticks = 0
        self._before = self._at_rest()

    # -- what regions come to ---------------------------------------------------------------

    def counted(self) -> _Counted:
        """Everything that is counted, as it stands."""
        guest = self._guest
        counters: Counter[Hashable] = Counter(guest.xen.counters)
        for owner in (guest, guest.hazards):
            for name in owner.COUNTED:
                counters[owner.__class__, name] = getattr(owner, name)
        return _Counted(counters, guest.xen.clock.now)

    def can_be_told(self) -> bool:
        """Has the first region left what the others can be told from?"""
        return self._guest.frames.is_alike(self._first_frame) and self._before == self._at_rest()

    def come_to(self, number: int) -> _State:
        """What a region has come to."""
        guest, frames = self._guest, self._guest.frames
        pfn, mfn = self._pages.page(number), self._mfn + self._pages.step * number
        index = frames.index(mfn)
        stamp = frames.tlb_stamp[index]
        base = np.uint64(self._first_frame + number * ENTRIES << PAGE_SHIFT)
        slot = (self._region + number) % ENTRIES
        leaf = self._leaf_of(number)
        return _State(
            (frames.array(mfn) - base).tobytes(),
            frames.words(self._l2)[slot] - (mfn << PAGE_SHIFT),
            (
                frames.type_info[index],
                frames.count_info[index],
                frames.owner[index],
                stamp and stamp - self._ticks * number,
            ),
            leaf,
            frames.is_alike(self._first_frame + number * ENTRIES),
            (
                *guest.tables.facts(self._region + number, pfn, guest.pfn_of(self._l2)),
                *guest.hazards.facts(self._region + number, pfn, mfn),
            ),
        )

    def moved(self, what: object, number: int) -> object:
        """What the observers hear of a region, where they heard ``what`` of the first."""
        if isinstance(what, HazardOpened | HazardClosed) and what.pfn == self._pages.first:
            return what.__class__(self._pages.page(number))
        raise NotAlike(f"{what!r} was told of region {self._region}, and is not its own")

    def require(self, what: str, expected: object, found: object) -> None:
        """The last region has come to the same as the first.

        Raises:
            NotAlike: it has not.
        """
        if expected != found:
            raise NotAlike(
                f"the {what} of the last region that was taken for alike with region "
                f"{self._region} is {found!r} and not {expected!r}"
            )

    def _at_rest(self) -> tuple[int, ...]:
        """What no region may change: the words of the table above, and what has been printed."""
        guest, frames = self._guest, self._guest.frames
        index = frames.index(self._l2)
        return (
            frames.type_info[index],
            frames.count_info[index],
            frames.tlb_stamp[index],
            len(guest.xen.console.lines),
            len(guest.refused),
        )

    def _leaf_of(self, number: int) -> int | None:
        pfn = self._pages.page(number)
        table = self._guest.hazards.leaf_tables.get(pfn // ENTRIES)
        if table is None:
            return None
        own = self._mfn + self._pages.step * number << PAGE_SHIFT
        return self._guest.frames.words(table)[pfn % ENTRIES] - own

    # -- what the others come to ------------------------------------------------------------

    def tell(self, times: int, work: _Counted) -> None:
        """So many regions behind the first have come to the same."""
        self._ticks = work.flushes
        self._count(times, work)
        self._write_tables(times)
        self._write_frames(times)
        self._write_own_leaves(times)
        self._note(times)

    def _count(self, times: int, work: _Counted) -> None:
        guest = self._guest
        counters = guest.xen.counters
        owners = {owner.__class__: owner for owner in (guest, guest.hazards)}
        for key, grown in work.counters.items():
            assert isinstance(key, tuple)
            kind, name = key
            if kind in owners:
                setattr(owners[kind], name, getattr(owners[kind], name) + times * grown)
            else:
                counters[key] += times * grown
        for _ in range(times * work.flushes):
            guest.xen.clock.flush(guest.vcpu.pcpu)

    def _write_tables(self, times: int) -> None:
        """The leaves of the regions, and the entries above."""
        frames = self._guest.frames
        mfns = self._mfns(times)
        strides = np.arange(1, times + 1, dtype=np.uint64) * _REGION_STRIDE
        frames.arrays.update(zip(mfns, frames.arrays[self._mfn] + strides[:, None], strict=True))
        slot = self._region % ENTRIES
        entries = frames.array(self._l2)
        flags = int(entries[slot]) - (self._mfn << PAGE_SHIFT)
        entries[slot + 1 : slot + 1 + times] = _addresses(mfns) | np.uint64(flags)

    def _write_frames(self, times: int) -> None:
        """The words of the frames that are mapped, and of the tables' own."""
        frames = self._guest.frames
        frames.repeat_run(self._first_frame, times)
        mfns = self._mfns(times)
        span = frames.span(min(mfns), times)
        assert span is not None  # they were looked at before
        like = frames.index(self._mfn)
        for column in (frames.type_array, frames.count_array, frames.owner_array):
            column[span] = column[like]
        stamp = frames.tlb_stamp[like]
        ticks = np.arange(1, times + 1, dtype=np.uint32) * (self._ticks if stamp else 0)
        frames.stamp_array[span] = (stamp + ticks)[:: self._pages.step]

    def _write_own_leaves(self, times: int) -> None:
        """The leaves of the tables' own pages, where they are mapped."""
        leaf = self._leaf_of(0)
        if leaf is None:
            return
        guest = self._guest
        for number, mfn in enumerate(self._mfns(times), 1):
            pfn = self._pages.page(number)
            table = guest.hazards.leaf_tables[pfn // ENTRIES]
            guest.frames.words(table)[pfn % ENTRIES] = leaf + (mfn << PAGE_SHIFT)

    def _note(self, times: int) -> None:
        """What the kernel knows of its tables."""
        guest, pages = self._guest, self._pages
        regions = range(self._region + 1, self._region + 1 + times)
        pfns = range(pages.page(1), pages.page(times + 1), pages.step)
        pages.take(times)
        guest.tables.note_alike(pages.first, guest.pfn_of(self._l2), regions, pfns)
        guest.hazards.note_alike(pages.first, regions, pfns, self._mfns(times))

    def _mfns(self, times: int) -> range:
        step = self._pages.step
        return range(self._mfn + step, self._mfn + step * (times + 1), step)


def _addresses(mfns: range) -> NDArray[np.uint64]:
    return np.arange(mfns.start, mfns.stop, mfns.step, dtype=np.uint64) << np.uint64(PAGE_SHIFT)
