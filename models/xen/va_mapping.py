"""update_va_mapping: the entry of a virtual address in the current address space.

Source: xen/arch/x86/mm.c, do_update_va_mapping; pv/mm.c, map_guest_l1e (include/asm-x86/
paging.h, guest_map_l1e before 4.10).
"""

from typing import NamedTuple

from models.machine.entries import PRESENT, PSE, RW, mfn_of, transition
from models.machine.frames import NOT_RAM
from models.xen.abi import UVMF_FLUSH_TYPE, UVMF_INVLPG, UVMF_LOCAL, UVMF_TLB_FLUSH
from models.xen.calls import UpdateVaMapping
from models.xen.errno import EFAULT, EINVAL
from models.xen.mmu_update import mod_l1_entry
from models.xen.mmuext import BAD_BITMAP, FLUSH_LOCAL, INVLPG, flush_tlb
from models.xen.page_type import PageLock
from models.xen.references import get_page_or_say, put_page
from models.xen.state import Vcpu, Xen
from sim.effects import STEP, Acquire, Activity, Release, Spend

UPDATE = Spend("update_va_mapping_body")


class Walk(NamedTuple):
    """Where the entry of a virtual address is, and whether the levels above allow writes."""

    table: int
    slot: int
    writable_above: bool


def find_l1_entry(xen: Xen, cr3: int, va: int) -> Walk | None:
    """Walk from a base pointer to the L1 entry of an address; None where a level is missing."""
    frames = xen.frames
    table = cr3
    writable = True
    for shift in (39, 30, 21):
        if frames.index(table) == NOT_RAM:
            return None
        entry = frames.words(table)[va >> shift & 511]
        if not entry & PRESENT or (shift == 21 and entry & PSE):  # noqa: PLR2004 - an L2 entry
            return None
        writable = writable and bool(entry & RW)
        table = mfn_of(entry)
    return Walk(table, va >> 12 & 511, writable)


def guest_may_use(va: int) -> bool:
    """Is the address outside the part of the address space that is Xen's?"""
    return va < 1 << 47 or va >= 0xFFFF880000000000


def do_update_va_mapping(xen: Xen, vcpu: Vcpu, call: UpdateVaMapping) -> Activity:
    """Change the entry and flush as asked: 0 or a negative errno."""
    yield UPDATE
    rc: int = yield from _update(xen, vcpu, call)
    if rc and xen.abi.parks_failed_tables:
        return rc
    return (yield from _flush(xen, vcpu, call.flags, rc))


def _update(xen: Xen, vcpu: Vcpu, call: UpdateVaMapping) -> Activity:
    yield STEP
    walk = find_l1_entry(xen, vcpu.cr3, call.va)
    rc = -EINVAL
    if walk is None or (xen.abi.parks_failed_tables and not guest_may_use(call.va)):
        return rc
    index: int = yield from get_page_or_say(xen, vcpu, walk.table)
    if index == NOT_RAM:
        return rc
    lock = PageLock(xen, walk.table, index)
    if (yield Acquire(lock)):
        if xen.abi.level(xen.frames.type_info[index]) == 1:
            old = xen.frames.words(walk.table)[walk.slot]
            rc = yield from mod_l1_entry(xen, vcpu, walk.table, walk.slot, call.entry)
            change = transition(old, call.entry)
            xen.counters["update_va_mapping_by_transition", change] += 1
            if xen.trace is not None:
                xen.trace("U", call.va, call.entry, call.flags, old, rc)
        yield Release(lock)
    yield STEP
    put_page(xen, index)
    return rc


def _flush(xen: Xen, vcpu: Vcpu, flags: int, rc: int) -> Activity:
    """What the flags ask for. Old versions let the bitmap's result hide that of the update."""
    kind, scope = flags & UVMF_FLUSH_TYPE, flags & ~UVMF_FLUSH_TYPE
    names = {UVMF_TLB_FLUSH: "TLB", UVMF_INVLPG: "INVLPG"}
    name = names.get(kind, "none")
    where = {0: "_LOCAL", 4: "_ALL"}.get(scope, "_MULTI") if kind in names else ""
    xen.counters["update_va_mapping_by_flush", name + where] += 1
    if kind not in names:
        return rc
    if scope == BAD_BITMAP:
        return -EFAULT
    if scope not in (0, 4) and not xen.abi.parks_failed_tables:
        rc = 0
    whole = kind == UVMF_TLB_FLUSH
    yield FLUSH_LOCAL if whole else INVLPG
    yield from flush_tlb(xen, vcpu, whole=whole, everywhere=scope != UVMF_LOCAL)
    return rc
