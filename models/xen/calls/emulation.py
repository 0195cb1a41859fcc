"""Writable page tables: a guest's store to a read-only mapped L1 is checked and made for it.

Source: xen/arch/x86/traps.c:fixup_page_fault and mm.c:ptwr_do_page_fault of 4.1;
pv/ro-page-fault.c of 4.17.
"""

import numpy as np
from numpy.typing import NDArray

from models.machine.entries import PAGE_SHIFT, PAGE_SIZE, PRESENT, RW, mfn_of, transition
from models.machine.frames import NOT_RAM
from models.machine.walk import find_l1_entry
from models.xen.hypercalls import Emulation
from models.xen.pages.flushes import guest_may_use
from models.xen.pages.l1_entries import (
    adjust_l1e,
    get_page_from_l1e,
    hand_over_l1e,
    put_page_from_l1e,
    take_over_l1e,
    warn_global_kernel,
)
from models.xen.pages.l1_vectorised import promote_at_once
from models.xen.pages.page_type import lockable_page, page_lock
from models.xen.pages.references import get_page, put_page, say_no_page_ref
from models.xen.state import Vcpu, Xen
from sim.effects import DECLINED, STEP, Activity

_WORD_BYTES = 8


def emulate_store(
    xen: Xen,
    vcpu: Vcpu,
    va: int,
    value: int,
    *,
    size: int = _WORD_BYTES,
    expected: int | None = None,
    assist: bool = True,
    exchange: bool = False,
) -> Activity:
    """A guest kernel stores ``size`` bytes to a read-only mapped address.

    ``expected``: the store is a compare-and-exchange. ``assist``: the guest has switched
    writable page tables on. ``exchange``: it reads and writes all 8 bytes in one (xchg, lock and),
    which is not written back where it changes nothing. Returns an :class:`Emulation`.

    Source: mm.c:ptwr_do_page_fault (pv/ro-page-fault.c:pv_ro_page_fault).
    """
    helped = assist or (xen.abi.emulates_for_dom0 and xen.domain.domid == 0)
    if not helped or not guest_may_use(va):
        return Emulation.FAULT
    yield STEP
    walk = find_l1_entry(xen.frames, vcpu.cr3, va)
    if walk is None or not walk[2]:
        return Emulation.FAULT
    leaf = xen.frames.pages[walk[0]][walk[1]]
    if not leaf & PRESENT or leaf & RW:
        return Emulation.FAULT
    table = mfn_of(leaf)
    index = get_page(xen, vcpu, table, xen.domid)
    if index == NOT_RAM:
        yield from say_no_page_ref(xen, vcpu, table, xen.domid)
        return Emulation.FAULT
    lock = page_lock(xen, table, index)
    outcome = Emulation.FAULT
    if (yield lock.to_take):
        if xen.frames.type_info[index] & xen.abi.type_mask == xen.abi.l1:
            word = xen.frames.words(table)[(va & PAGE_SIZE - 1) >> 3]
            if exchange and word == value:
                xen.counters["page_faults_into_xen", "fixed_by_xen(ptwr/mmio-ro/gdt)"] += 1
                outcome = Emulation.FIXED
            else:
                outcome = yield from _store(xen, vcpu, table, va, value, size, expected)
        yield lock.to_release
    yield STEP
    put_page(xen, vcpu, index)
    return outcome


def emulate_at_once(xen: Xen, vcpu: Vcpu, va: int, values: NDArray[np.uint64]) -> bool:
    """Such stores to consecutive entries of an L1 that are all empty.

    False, and nothing is done, unless it is plain that none of them faults.
    """
    frames = xen.frames
    walk = find_l1_entry(frames, vcpu.cr3, va) if guest_may_use(va) else None
    if walk is None or not walk[2] or xen.trace is not None:
        return False
    leaf = frames.pages[walk[0]][walk[1]]
    if not leaf & PRESENT or leaf & RW:
        return False
    mfn, first = mfn_of(leaf), (va & PAGE_SIZE - 1) >> 3
    index = lockable_page(xen, mfn)
    if index == NOT_RAM or frames.type_info[index] & xen.abi.type_mask != xen.abi.l1:
        return False
    slots = frames.array(mfn)[first : first + values.size]
    entries = values.copy()
    if slots.any() or promote_at_once(xen, entries) is DECLINED:
        return False
    slots[:] = entries
    counters = xen.counters
    counters["page_faults_into_xen", "fixed_by_xen(ptwr/mmio-ro/gdt)"] += values.size
    # Of an empty entry's change no more than these two flags is told.
    for flags, number in enumerate(np.bincount((entries & np.uint64(PRESENT | RW)).view(np.int64))):
        if number:
            counters["ptwr_emulations_by_transition", transition(0, flags)] += int(number)
    return True


def _store(
    xen: Xen, vcpu: Vcpu, table: int, va: int, value: int, size: int, expected: int | None
) -> Activity:
    """The emulated store itself, with the L1's lock held.

    Source: mm.c:ptwr_emulated_update (pv/ro-page-fault.c).
    """
    offset = va & (_WORD_BYTES - 1)
    if size not in (1, 2, 4, _WORD_BYTES):
        name = "ptwr_bad_size" if expected is None else "ptwr_bad_cmpxchg"
        yield from xen.warn(vcpu, name, va=va, size=size)
        return Emulation.FAULT
    if offset & (size - 1):
        yield from xen.warn(vcpu, "ptwr_bad_access", va=va, size=size)
        return Emulation.FAULT
    words = xen.frames.words(table)
    slot = (va & ((1 << PAGE_SHIFT) - 1)) >> 3
    if size < _WORD_BYTES:
        yield STEP
        whole = words[slot]
        value = _merged(whole, value, offset, size)
        if expected is not None:
            expected = _merged(whole, expected, offset, size)
    stored: int = yield from get_page_from_l1e(xen, vcpu, value, xen.domid, xen.domid)
    if stored < 0:
        yield from xen.warn(vcpu, "ptwr_refused")
        return Emulation.FAULT
    yield from warn_global_kernel(xen, vcpu, stored)
    stored = adjust_l1e(stored)
    yield STEP
    old = words[slot]
    if expected is not None and old != expected:
        yield from put_page_from_l1e(xen, vcpu, stored)
        return Emulation.CMPXCHG_FAILED
    words[slot] = stored
    hand_over_l1e(xen, vcpu, stored)
    xen.counters["page_faults_into_xen", "fixed_by_xen(ptwr/mmio-ro/gdt)"] += 1
    xen.counters["ptwr_emulations_by_transition", transition(old, stored)] += 1
    if xen.trace is not None:
        xen.trace("P", va, stored, old, 0)
    if old & PRESENT:
        take_over_l1e(xen, vcpu, old)
        yield from put_page_from_l1e(xen, vcpu, old)
    return Emulation.FIXED


def _merged(word: int, value: int, offset: int, size: int) -> int:
    """A word with ``size`` bytes at ``offset`` replaced."""
    mask = ((1 << 8 * size) - 1) << 8 * offset
    return word & ~mask | value << 8 * offset & mask
