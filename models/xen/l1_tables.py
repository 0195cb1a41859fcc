"""L1 tables as a whole: validated and taken apart, 512 entries at a time.

The entry-by-entry bodies are the definition. The vectorised ones do the same work where
nothing is to be refused, printed, flushed or decided, and decline everything else before they
touch anything. Source: xen/arch/x86/mm.c, alloc_l1_table and free_l1_table (promote_l1_table
and demote_l1_table since 4.14).
"""

import numpy as np
from numpy.typing import NDArray

from models.machine.entries import (
    ADDRESS_MASK,
    ENTRIES,
    FLAGS_MASK,
    GLOBAL,
    GUEST_KERNEL,
    MFN_MASK,
    PAGE_SHIFT,
    PRESENT,
    RW,
    USER,
    mfn_of,
)
from models.machine.frames import Words
from models.xen.abi import COUNT, VALIDATED
from models.xen.console import c_hex
from models.xen.l1_entries import (
    CACHE_BITS,
    adjust_l1e,
    get_page_from_l1e,
    hand_over_l1e,
    put_page_from_l1e,
    take_over_l1e,
    warn_global_kernel,
)
from models.xen.state import Progress, Vcpu, Xen
from sim.effects import DECLINED, STEP, Activity, Declined, Spend, in_bulk

_SLOTS = range(ENTRIES)
_NEXT_FRAMES = np.arange(ENTRIES, dtype=np.uint64) << np.uint64(PAGE_SHIFT)
_FULL_TABLE = Spend("pin_l1_per_present_pte", ENTRIES)


def promote_l1(xen: Xen, vcpu: Vcpu, mfn: int, index: int) -> Activity:
    """Validate a page as an L1: take the references of all its entries, or of none.

    Returns 0 or a negative errno.
    """
    words = xen.frames.words(mfn)
    table = xen.frames.array(mfn)
    owner = xen.frames.owner[index]
    progress = xen.progress[mfn]
    scanned = ENTRIES
    full_run = False

    def promote_entry(slot: int) -> Activity:
        nonlocal scanned
        entry = words[slot]
        if not entry & PRESENT:
            return None
        stored: int = yield from get_page_from_l1e(xen, vcpu, entry, owner, owner)
        if stored < 0:
            scanned = slot + 1
            yield from xen.warn(
                vcpu, "failure_in_promote_l1", rc=stored, slot=slot, hex_slot=c_hex(slot)
            )
            yield from _put_entries(xen, vcpu, words, range(slot - 1, -1, -1), progress)
            return stored
        yield from warn_global_kernel(xen, vcpu, entry)
        yield STEP
        words[slot] = adjust_l1e(stored)
        progress.next_slot = slot + 1
        hand_over_l1e(xen, vcpu, stored)
        return None

    def at_once() -> Declined | None:
        nonlocal full_run
        if owner != xen.domid:
            return DECLINED
        full_run = _is_run(table) and _promote_run(xen, table)
        declined = None if full_run else _promote_mixed(xen, table)
        if declined is None:
            progress.next_slot = ENTRIES
        return declined

    stopped: int | None = yield from in_bulk(_SLOTS, promote_entry, at_once)
    present = ENTRIES if full_run else _present(table[:scanned])
    counters = xen.counters
    counters["validated_entries", "L1"] += scanned
    counters["page_type_validations", "L1"] += 1
    counters["present_entries_scanned_in_validations", "L1"] += present
    if present == ENTRIES:
        counters["L1_validations_by_present_entries", "512"] += 1
        yield _FULL_TABLE
    else:
        counters["L1_validations_by_present_entries", str(present)] += 1
        yield Spend("pin_l1_per_present_pte", present)
        yield Spend("pin_l1_per_absent_pte", scanned - present)
    if xen.trace is not None:
        xen.trace("V", 1, mfn, 0, present, stopped or 0)
    return stopped or 0


def demote_l1(xen: Xen, vcpu: Vcpu, mfn: int) -> Activity:
    """Give back the references of all entries of an L1 that is one no more."""
    words = xen.frames.words(mfn)
    progress = xen.progress[mfn] = Progress(ENTRIES)

    def demote_entry(slot: int) -> Activity:
        return _put_entries(xen, vcpu, words, range(slot, slot + 1), progress)

    def at_once() -> Declined | None:
        declined = _demote_at_once(xen, xen.frames.array(mfn))
        if declined is None:
            progress.next_slot = 0
        return declined

    yield from in_bulk(_SLOTS[::-1], demote_entry, at_once)
    present = _present(xen.frames.array(mfn))
    xen.counters["page_type_devalidations", "L1"] += 1
    yield Spend("unpin_l1_per_present_pte", present)
    return 0


def _put_entries(xen: Xen, vcpu: Vcpu, words: Words, slots: range, progress: Progress) -> Activity:
    """Give back the references of these entries, from the last one down."""
    for slot in slots:
        entry = words[slot]
        if entry & PRESENT:
            take_over_l1e(xen, vcpu, entry)
            progress.next_slot = slot
            yield from put_page_from_l1e(xen, vcpu, entry)


def _present(table: NDArray[np.uint64]) -> int:
    """How many entries are present. One byte of each is enough to look at."""
    return int(np.count_nonzero(table.view(np.uint8)[::8] & PRESENT))


def _is_run(table: NDArray[np.uint64]) -> bool:
    """Do all entries have the same flags, and frames that follow each other?

    Bytes are compared: that is much quicker than comparing arrays and reducing the result.
    """
    first = table.item(0)
    return bool(first & PRESENT) and (_NEXT_FRAMES + first).tobytes() == table.tobytes()


def _promote_run(xen: Xen, table: NDArray[np.uint64]) -> bool:
    """The references of 512 writable entries of fresh frames in a row, if that is what they are."""
    first = table.item(0)
    flags = first & FLAGS_MASK
    if not flags & RW or flags & (xen.bad_flags[1] | CACHE_BITS):
        return False
    if flags & (GUEST_KERNEL | GLOBAL) == GUEST_KERNEL | GLOBAL:
        return False
    writable = xen.abi.writable
    # A fresh frame was never typed, so no CPU holds a translation of it from another life.
    word = writable | VALIDATED | 1
    if not xen.frames.map_fresh_run(mfn_of(first), xen.domain.domid, word):
        return False
    xen.count_type_change(0, writable, ENTRIES)
    np.add(table, adjust_l1e(first) - first, out=table)
    return True


def _promote_mixed(xen: Xen, table: NDArray[np.uint64]) -> Declined | None:
    """Entries of any kind, as long as each is accepted without a word."""
    frames, abi = xen.frames, xen.abi
    present = (table & np.uint64(PRESENT)) != 0
    entries = table[present]
    if not entries.size:
        return None
    if (entries & np.uint64(xen.bad_flags[1] | CACHE_BITS)).any():
        return DECLINED
    both = np.uint64(GUEST_KERNEL | GLOBAL)
    if ((entries & both) == both).any():
        return DECLINED
    index = _own_frames(xen, entries)
    if index is None:
        return DECLINED
    writable = (entries & np.uint64(RW)) != 0
    targets = index[writable]
    words = frames.type_array[targets]
    count = words & np.uint64(COUNT)
    kind = words & np.uint64(abi.type_mask)
    mapped = (kind == abi.writable) & ((words & np.uint64(VALIDATED)) != 0) & (count < 1 << 40)
    changes = ~mapped & (count == 0) & (kind != abi.writable)
    if not (mapped | changes).all():
        return DECLINED
    stamps = frames.stamp_array[targets[changes]]
    if any((stamps >= xen.clock.flushed_at[pcpu]).any() for pcpu in xen.dirty_pcpus):
        return DECLINED
    for word in np.unique(kind[changes]):
        number = int(np.count_nonzero(changes & (kind == word)))
        xen.count_type_change(int(word), abi.writable, number)
    kept = words & np.uint64(~(abi.type_mask | VALIDATED) & ((1 << 64) - 1))
    fresh = kept | np.uint64(abi.writable | VALIDATED)
    frames.type_array[targets] = np.where(changes, fresh, words) + np.uint64(1)
    frames.count_array[index] += np.uint64(1)

    user = (entries & np.uint64(USER)) != 0
    kernel = (entries & np.uint64(GUEST_KERNEL)) != 0
    adjusted = np.where(user, entries, entries | np.uint64(GUEST_KERNEL | USER))
    adjusted = np.where(user & ~kernel, adjusted | np.uint64(GLOBAL), adjusted)
    table[present] = adjusted
    return None


def _demote_at_once(xen: Xen, table: NDArray[np.uint64]) -> Declined | None:
    frames, abi = xen.frames, xen.abi
    entries = table[(table & np.uint64(PRESENT)) != 0]
    if not entries.size:
        return None
    index = _own_frames(xen, entries)
    if index is None or ((frames.count_array[index] & np.uint64(abi.general_count)) < 2).any():
        return DECLINED
    targets = index[(entries & np.uint64(RW)) != 0]
    words = frames.type_array[targets]
    kind = words & np.uint64(abi.type_mask)
    if ((kind != abi.writable) | ((words & np.uint64(abi.locked)) != 0)).any():
        return DECLINED
    frames.type_array[targets] = words - np.uint64(1)
    last = targets[(words & np.uint64(COUNT)) == 1]
    frames.stamp_array[last] = xen.clock.now
    frames.count_array[index] -= np.uint64(1)
    return None


def _own_frames(xen: Xen, entries: NDArray[np.uint64]) -> NDArray[np.int64] | None:
    """The indices of the entries' frames if all are the domain's own and none comes twice."""
    mfns = ((entries & np.uint64(ADDRESS_MASK)) >> np.uint64(PAGE_SHIFT)).astype(np.int64)
    assert int(mfns.max()) <= MFN_MASK
    index = xen.frames.indices(mfns)
    if (index < 0).any() or (xen.frames.owner_array[index] != xen.domain.domid).any():
        return None
    ordered = np.sort(index)
    return None if (ordered[1:] == ordered[:-1]).any() else index
