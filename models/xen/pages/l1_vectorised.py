"""L1 tables validated and taken apart at once.

What :mod:`models.xen.pages.l1_tables` defines entry by entry.

These bodies do all entries' work where nothing is to be refused, printed, flushed or decided, and
decline everything else before they touch anything.

An operation on 512 words costs a microsecond, whatever it does; so the fewest are made that tell
the ordinary tables. What all entries or all words have in common is looked at as one Python
number, an array is compared through its bytes, and constants are arrays without dimensions, which
numpy takes more quickly than numbers. Frames in a row are reached by slices.
"""

import numpy as np
from numpy.typing import NDArray

from models.machine.entries import (
    ADDRESS_MASK,
    ENTRIES,
    FLAGS_MASK,
    GLOBAL,
    GUEST_KERNEL,
    PAGE_SHIFT,
    PRESENT,
    RW,
    USER,
    mfn_of,
)
from models.machine.frames import DOMID_IO, NOT_RAM, Places
from models.xen.pages.l1_entries import CACHE_BITS, adjust_l1e, uncached
from models.xen.state import Xen
from models.xen.words import COUNT, PARTIAL, VALIDATED
from sim.effects import DECLINED, Declined

_PRESENT = np.array(PRESENT, np.uint64)
_RW = np.array(RW, np.uint64)
_USER = np.array(USER, np.uint64)
_GLOBAL = np.array(GLOBAL, np.uint64)
_GUEST_KERNEL = np.array(GUEST_KERNEL, np.uint64)
_NOTHING = np.array(0, np.uint64)
_ONE = np.array(1, np.uint64)
_SHIFT = np.array(PAGE_SHIFT, np.uint64)
_TOO_HIGH = ADDRESS_MASK & -1 << 32 + PAGE_SHIFT
"""Set in the address of a frame whose number has more than 32 bits. There is no such RAM."""
_FLAG_BITS = FLAGS_MASK | _TOO_HIGH
_FLAGS = np.array(_FLAG_BITS, np.uint64)
_NEXT_FRAMES = np.arange(ENTRIES, dtype=np.uint64) << _SHIFT
_GLOBAL_KERNEL = GLOBAL | GUEST_KERNEL
_ADJUSTED = USER | GLOBAL | GUEST_KERNEL
"""Flags that Xen sets in the entries it stores."""
_WORD = (1 << 64) - 1
_HIGH_COUNTS = -1 << 40
"""Counts with one of these bits may be about to overflow."""
_TYPE_SHIFT = 60  # all versions have the types above


def promote_at_once(xen: Xen, entries: NDArray[np.uint64]) -> int | Declined:
    """Take the references of all entries, and store these as Xen does: how many are present."""
    abi, frames = xen.abi, xen.frames
    present = _Present(entries)
    some, every = present.some, present.every
    if not present.count:
        return 0
    if some & (xen.bad_flags[1] | CACHE_BITS | _TOO_HIGH):
        return DECLINED
    if some & _GLOBAL_KERNEL == _GLOBAL_KERNEL and present.one_has(_GLOBAL_KERNEL):
        return DECLINED
    if present.in_a_row and present.count == ENTRIES and every & RW:
        # A fresh frame was never typed, so no CPU holds a translation of it from another life.
        word = abi.writable | VALIDATED | 1
        if frames.map_fresh_run(present.first_mfn, xen.domid, word):
            xen.count_type_change(0, abi.writable, ENTRIES)
            present.store_adjusted()
            return ENTRIES
    places = _own_frames(xen, present)
    if places is None:
        return _promote_beside_io(xen, entries, present)
    counts = _common(frames.count_array[places])
    # A count of zero, less one, has every bit.
    if _some(counts - 1) & (abi.general_count & _HIGH_COUNTS | abi.cache_attributes):
        return DECLINED
    if some & RW:
        targets = places if every & RW else present.writable(places)
        if not _map_writable(xen, targets):
            return DECLINED
    frames.count_array[places] = counts + 1
    present.store_adjusted()
    return present.count


def demote_at_once(xen: Xen, table: NDArray[np.uint64]) -> int | Declined:
    """Give back the references of all entries, none of which is the last: how many are present."""
    abi, frames = xen.abi, xen.frames
    present = _Present(table)
    if not present.count:
        return 0
    if present.some & _TOO_HIGH:
        return DECLINED
    places = _own_frames(xen, present)
    if places is None:
        io = _of_no_ram(xen, table, present)
        if not io.any() or demote_at_once(xen, np.where(io, _NOTHING, table)) is DECLINED:
            return DECLINED
        return present.count
    counts = _common(frames.count_array[places])
    if _some(counts - 2) & abi.general_count & _HIGH_COUNTS:
        return DECLINED
    if present.some & RW:
        targets = places if present.every & RW else present.writable(places)
        if not _unmap_writable(xen, targets):
            return DECLINED
    frames.count_array[places] = counts - 1
    return present.count


def _promote_beside_io(xen: Xen, table: NDArray[np.uint64], present: "_Present") -> int | Declined:
    """The same where some entries are of frames that are not RAM, whose uses nobody counts."""
    io = _of_no_ram(xen, table, present)
    beside = np.where(io, table, _NOTHING)
    mfns = ((beside[io] & ADDRESS_MASK) >> _SHIFT).tolist()
    if not mfns or not xen.domain.may_map_all_io(mfns):
        return DECLINED
    others = np.where(io, _NOTHING, table)
    if promote_at_once(xen, others) is DECLINED:
        return DECLINED
    _Present(beside).store_adjusted()
    if xen.abi.mmio_forces_uncached:
        beside[io] |= uncached(0)
    table[:] = others | beside
    return present.count


class _Present:
    """The present entries of a table.

    Attributes:
        count: how many they are.
        some: the flags that at least one has; ``_TOO_HIGH`` counts among the flags.
        every: the flags that all have.
        in_a_row: do their frames follow each other?
    """

    __slots__ = ("_entries", "_slots", "_table", "count", "every", "in_a_row", "some")

    def __init__(self, table: NDArray[np.uint64]) -> None:
        self._table = self._entries = table
        self._slots: NDArray[np.bool_] | None = None  # None: all
        self.count = table.size
        first = table.item(0)
        if first & PRESENT and _is_row(table):
            self.some = self.every = (first | table.item(-1)) & _FLAG_BITS
            self.in_a_row = True
            return
        flags = table & _FLAGS
        self.some, self.every = _some_and_every(flags)
        if not self.every & PRESENT:
            self._slots = (table & _PRESENT) != 0
            self._entries = table[self._slots]
            self.count = self._entries.size
            if not self.count:
                return
            flags = flags[self._slots]
            self.some, self.every = _some_and_every(flags)
        self.in_a_row = _is_row(self._entries ^ flags)

    @property
    def first_mfn(self) -> int:
        """The frame of the first one."""
        return mfn_of(self._entries.item(0))

    def mfns(self) -> NDArray[np.uint32]:
        """Their frames, none of which is too high."""
        return (self._entries >> _SHIFT).astype(np.uint32)

    def slots(self) -> "NDArray[np.bool_] | slice":
        """Where they are in the table."""
        return slice(None) if self._slots is None else self._slots

    def one_has(self, flags: int) -> bool:
        """Does one of them have all these flags?"""
        return bool(((self._entries & flags) == flags).any())

    def writable(self, places: Places) -> Places:
        """Of the places of their frames, those that they map writable."""
        numbers: NDArray[np.int64] = ((self._entries & _RW) != 0).nonzero()[0]
        return numbers + places.start if isinstance(places, slice) else places.take(numbers)

    def store_adjusted(self) -> None:
        """Store them with the flags that Xen sets, see :func:`adjust_l1e`."""
        entries = self._entries
        if not (self.some ^ self.every) & (USER | GUEST_KERNEL):
            entries |= adjust_l1e(self.every) & _ADJUSTED
        else:
            user = (entries & _USER) != 0
            kernel = (entries & _GUEST_KERNEL) != 0
            entries |= np.where(user, _NOTHING, _GUEST_KERNEL | _USER)
            entries |= np.where(user & ~kernel, _GLOBAL, _NOTHING)
        if self._slots is not None:
            self._table[self._slots] = entries


def _own_frames(xen: Xen, present: _Present) -> Places | None:
    """Where the entries' frames are, if all are the domain's own and none comes twice."""
    frames = xen.frames
    places: Places | None = None
    if present.in_a_row:
        places = frames.span(present.first_mfn, present.count)
    if places is None:
        places = frames.places(present.mfns())
    if places is None:
        return None
    owners = frames.owner_array[places]
    return places if owners.item(0) == xen.domid and _alike(owners) else None


def _of_no_ram(xen: Xen, table: NDArray[np.uint64], present: "_Present") -> NDArray[np.bool_]:
    """For each entry of a table, is it a present one of a frame that is not RAM?"""
    frames = xen.frames
    indices = frames.indices(present.mfns().astype(np.int64))
    io = np.zeros(table.size, np.bool_)
    # The owner at NOT_RAM, which is the last frame's, does not count.
    io[present.slots()] = (indices == NOT_RAM) | (frames.owner_array[indices] == DOMID_IO)
    return io


def _map_writable(xen: Xen, places: Places) -> bool:
    """Take a writable use of each frame; False, and nothing is done, unless that is plain to do."""
    abi, frames = xen.abi, xen.frames
    mapped = abi.writable | VALIDATED
    decisive = abi.type_mask | VALIDATED | COUNT & _HIGH_COUNTS
    kept = _WORD & ~(abi.type_mask | VALIDATED)
    words = frames.type_array[places]
    if _alike(words):
        word = words.item(0)
        if word & decisive != mapped:
            if word & COUNT or word & abi.type_mask == abi.writable:
                return False
            if _may_be_stale(xen, frames.stamp_array[places]):
                return False
            xen.count_type_change(word, abi.writable, words.size)
            word = word & kept | mapped
        frames.type_array[places] = word + 1
        return True
    changing = ((words & decisive) != mapped).nonzero()[0]
    if changing.size:
        others = words[changing]
        types = ((others & abi.type_mask) >> _TYPE_SHIFT).view(np.int64)
        by_type = np.bincount(types, minlength=16).tolist()
        if _some(others) & COUNT or by_type[abi.writable >> _TYPE_SHIFT]:
            return False
        if _may_be_stale(xen, frames.stamp_array[places][changing]):
            return False
        for number, pages in enumerate(by_type):
            if pages:
                xen.count_type_change(number << _TYPE_SHIFT, abi.writable, pages)
        words[changing] = others & kept | mapped
    frames.type_array[places] = words + _ONE
    return True


def _unmap_writable(xen: Xen, places: Places) -> bool:
    """Give back a writable use of each frame; False, and nothing is done, unless that is plain."""
    abi, frames = xen.abi, xen.frames
    mapped = abi.writable | VALIDATED
    decisive = abi.type_mask | VALIDATED | PARTIAL | abi.locked
    words = frames.type_array[places]
    if _alike(words):
        word = words.item(0)
        if word & decisive != mapped or not word & COUNT:
            return False
        if word & COUNT == 1:
            frames.stamp_array[places] = xen.clock.now
        frames.type_array[places] = word - 1
        return True
    uses = words & COUNT
    fewest = uses.min()
    if not fewest or ((words & decisive) != mapped).any():
        return False
    if fewest == 1:
        stamps = frames.stamp_array[places]
        stamps[uses == 1] = xen.clock.now
        frames.stamp_array[places] = stamps
    frames.type_array[places] = words - _ONE
    return True


def _may_be_stale(xen: Xen, stamps: NDArray[np.uint32]) -> bool:
    """May a CPU of the domain hold a translation of one of these frames from another life?"""
    flushed = [xen.clock.flushed_at[pcpu] for pcpu in xen.dirty_pcpus]
    return bool(flushed) and stamps.max().item() >= min(flushed)


def _some(words: NDArray[np.uint64] | int) -> int:
    """The bits that at least one word has."""
    return words if isinstance(words, int) else int(np.bitwise_or.reduce(words))


def _common(words: NDArray[np.uint64]) -> NDArray[np.uint64] | int:
    """The word, where all are the same; otherwise the words."""
    return words.item(0) if _alike(words) else words


def _some_and_every(words: NDArray[np.uint64]) -> tuple[int, int]:
    """The bits that at least one word has, and those that all have."""
    if _alike(words):
        return words.item(0), words.item(0)
    return _some(words), int(np.bitwise_and.reduce(words))


def _is_row(words: NDArray[np.uint64]) -> bool:
    """Are these addresses, or entries with the same flags, of frames that follow each other?"""
    first, size = words.item(0), words.size
    if words.item(-1) - first != size - 1 << PAGE_SHIFT:
        return False
    row = _NEXT_FRAMES if size == ENTRIES else _NEXT_FRAMES[:size]
    return bool((row + first).tobytes() == words.tobytes())


def _alike(words: NDArray[np.uint64] | NDArray[np.uint16]) -> bool:
    """Are all words the same?"""
    data, width = words.tobytes(), words.itemsize
    return data[width:] == data[:-width]
