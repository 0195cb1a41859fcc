"""mmu_update: entries of page tables changed by machine address.

Source: xen/arch/x86/mm.c, do_mmu_update and mod_l1_entry ... mod_l4_entry.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.machine.entries import (
    ACCESSED,
    ADDRESS_MASK,
    AVAIL,
    AVAIL_HIGH,
    DIRTY,
    ENTRIES,
    GLOBAL,
    MFN_MASK,
    NX,
    PAGE_SHIFT,
    PRESENT,
    RW,
    USER,
    flags24,
    mfn_of,
    transition,
)
from models.machine.frames import DOMID_IO, NOT_RAM, Words
from models.xen.console import c_hex
from models.xen.hypercalls import MmuUpdate, Restart
from models.xen.pages.flushes import flush_everywhere
from models.xen.pages.l1_entries import (
    adjust_l1e,
    get_page_from_l1e,
    hand_over_l1e,
    put_page_from_l1e,
    take_over_l1e,
    warn_global_kernel,
)
from models.xen.pages.old_tables import finish_old_table, put_off
from models.xen.pages.owners import find_page_owner, find_table_owner, may_work_on
from models.xen.pages.page_type import get_page_type, lockable_page, page_lock, put_page_type
from models.xen.pages.references import entry_va, get_page, get_page_or_say, put_page, say_no_page
from models.xen.pages.upper_tables import (
    Table,
    adjust_upper,
    get_page_from_upper,
    hand_over_upper,
    put_page_from_upper,
    take_over_upper,
)
from models.xen.paging.shadow import write_entry
from models.xen.state import NO_TABLE, Vcpu, Xen
from models.xen.versions.errno import EINTR, EINVAL, ENOSYS, EPERM, ERESTART
from models.xen.versions.paging import Paging
from models.xen.words import (
    DOMID_SELF,
    MACHPHYS_UPDATE,
    NORMAL_PT_UPDATE,
    PT_UPDATE_NO_TRANSLATE,
    PT_UPDATE_PRESERVE_AD,
    RESERVED_L4_SLOTS,
)
from sim.effects import PREEMPT_POINT, STEP, Activity, Spend

REQUEST = Spend("mmu_update_per_entry")
HARMLESS = NX | AVAIL | AVAIL_HIGH | GLOBAL | DIRTY | ACCESSED | USER
"""Flags that may change without a look at the references (4.8 and later)."""

COMMANDS = [
    ("mmu_update_entries_by_cmd", name)
    for name in (
        "NORMAL_PT_UPDATE",
        "MACHPHYS_UPDATE",
        "PT_UPDATE_PRESERVE_AD",
        "PT_UPDATE_NO_TRANSLATE",
        *["other"] * 4,
    )
]
_TARGETS = [("mmu_update_entries_by_target_page_type", f"L{level}") for level in range(5)]
_LEVELS = [f"L{level}:" for level in range(5)]


class Slot(NamedTuple):
    """An entry of a table, and who may map what there."""

    table: int
    slot: int
    owner: int
    """The domain of the table."""
    pg_owner: int
    """The domain whose pages may be mapped."""


def do_mmu_update(xen: Xen, vcpu: Vcpu, call: MmuUpdate) -> Activity:
    """Carry out the requests in order; the return code, or a :class:`Restart`.

    Source: mm.c:do_mmu_update.
    """
    abi = xen.abi
    if vcpu.old_guest_table != NO_TABLE:
        rc = yield from finish_old_table(xen, vcpu)
        if rc:
            return Restart(call)
    if call.final is not None:
        return call.final
    owner = pg_owner = xen.domid
    if call.foreign != DOMID_SELF:
        owner = find_table_owner(xen, call.foreign >> 16)
        if owner < 0:
            return owner
        pg_owner = yield from find_page_owner(xen, vcpu, call.foreign & 0xFFFF)
        if pg_owner < 0:
            return pg_owner
    rc = 0
    upper_changed = False
    done = 0
    for pointer, value in call.requests:
        if vcpu.old_guest_table != NO_TABLE or (
            (done or abi.checks_preemption_first) and (yield PREEMPT_POINT)
        ):
            rc = -ERESTART
            break
        command = pointer & 7
        yield REQUEST
        xen.counters[COMMANDS[command]] += 1
        if command == MACHPHYS_UPDATE:
            rc = yield from _machphys(
                xen, vcpu, pointer >> PAGE_SHIFT & MFN_MASK, value, owner, pg_owner
            )
        elif command in (NORMAL_PT_UPDATE, PT_UPDATE_PRESERVE_AD) or (
            command == PT_UPDATE_NO_TRANSLATE and abi.has_no_translate
        ):
            level, rc = yield from _update(xen, vcpu, pointer, value, owner, pg_owner)
            upper_changed |= rc == 0 and level > 1
        else:
            if "bad_update" in abi.text:
                yield from xen.warn(vcpu, "bad_update", command=command)
            rc = -ENOSYS
        if rc:
            break
        done += 1
    vcpu.done = call.done + done
    if upper_changed and abi.flushes_upper_updates and owner == xen.domid:
        # XSA-286: linear page tables may have been used as ordinary mappings.
        yield from flush_everywhere(xen, vcpu)
    if rc == -ERESTART:
        return Restart(MmuUpdate(call.requests[done:], vcpu.done, foreign=call.foreign))
    if vcpu.old_guest_table != NO_TABLE:
        return Restart(MmuUpdate((), vcpu.done, rc))
    return rc


def update_at_once(xen: Xen, vcpu: Vcpu, mfn: int, slot: int, entries: NDArray[np.uint64]) -> bool:
    """What an mmu_update each does to consecutive entries of a page that is no table.

    False, and nothing is done, unless it is plain that none of them is refused.
    """
    frames = xen.frames
    index = lockable_page(xen, mfn)
    if index == NOT_RAM or vcpu.old_guest_table != NO_TABLE or xen.trace is not None:
        return False
    word = frames.type_info[index]
    if word & xen.abi.type_mask != xen.abi.writable:
        return False
    if entries.size == ENTRIES and mfn not in frames.arrays:
        frames.arrays[mfn] = entries
    else:
        frames.array(mfn)[slot : slot + entries.size] = entries
    xen.counters[COMMANDS[NORMAL_PT_UPDATE]] += entries.size
    target = xen.abi.type_name(word)
    xen.counters["mmu_update_entries_by_target_page_type", target] += entries.size
    vcpu.done = 1
    return True


def _update(xen: Xen, vcpu: Vcpu, pointer: int, value: int, owner: int, pg_owner: int) -> Activity:
    """One change of an entry: (level of the table or 0, return code).

    Source: mm.c:do_mmu_update.
    """
    abi, frames = xen.abi, xen.frames
    mapped = (pg_owner,) if value & PRESENT and pg_owner != DOMID_IO else ()
    if not may_work_on(xen, owner, *mapped):
        return 0, -EPERM
    mfn, slot = pointer >> PAGE_SHIFT & MFN_MASK, (pointer & 0xFFF) >> 3
    preserve_ad = pointer & 7 == PT_UPDATE_PRESERVE_AD
    yield STEP
    index = get_page(xen, vcpu, mfn, owner)
    if index == NOT_RAM:
        yield from say_no_page(xen, vcpu, mfn, owner)
        yield from xen.warn(vcpu, "normal_update")
        return 0, -EINVAL
    lock = page_lock(xen, mfn, index)
    words = frames.words(mfn)
    rc = -EINVAL
    level = old = 0
    for _ in range(1 + abi.update_retries):
        if (yield lock.to_take):
            old = words[slot]
            where = Slot(mfn, slot, owner, pg_owner)
            level, rc = yield from _change(xen, vcpu, where, index, value, preserve_ad=preserve_ad)
            yield lock.to_release
            count_update(xen, frames.type_info[index], old, value)
            break
        rc = yield from get_page_type(xen, vcpu, mfn, index, abi.writable)
        if rc == 0:
            if xen.paging is Paging.SHADOW:
                yield from write_entry(xen, vcpu, mfn, slot, value)
            else:
                yield STEP
                old = words[slot]
                words[slot] = value
            yield from put_page_type(xen, vcpu, mfn, index)
            count_update(xen, abi.writable, old, value)
            break
    else:
        # Neither a table that may be changed nor a page that may be written: in flux, perhaps.
        if abi.ignores_failed_raw_update:
            rc = 0
    yield STEP
    put_page(xen, vcpu, index)
    if xen.trace is not None:
        xen.trace("M", pointer & 7, level, pointer & ~7, value, old, rc)
    if rc == -EINTR:
        rc = -ERESTART
    return level, rc


def _change(
    xen: Xen, vcpu: Vcpu, where: Slot, index: int, value: int, *, preserve_ad: bool
) -> Activity:
    """Change what a locked page holds, by its type: (level of the table or 0, return code).

    Source: mm.c:do_mmu_update.
    """
    abi, frames = xen.abi, xen.frames
    kind = frames.type_info[index] & abi.type_mask
    level = abi.level(kind)
    rc = -EINVAL
    if level == 1:
        rc = yield from mod_l1_entry(xen, vcpu, where, value, preserve_ad=preserve_ad)
    elif level:
        if where.owner == where.pg_owner or not abi.defers_teardown:
            table = Table(where.table, index, level)
            rc = yield from _mod_upper(xen, vcpu, table, where.slot, value, preserve_ad=preserve_ad)
    elif kind == abi.writable:
        yield STEP
        frames.words(where.table)[where.slot] = value
        rc = 0
    elif abi.ignores_failed_raw_update:
        rc = 0
    return level, rc


def count_update(xen: Xen, type_info: int, old: int, value: int) -> None:
    """Count a request that was carried out, by the page's type and what it changed."""
    level = xen.abi.level(type_info)
    if level:
        xen.counters[_TARGETS[level]] += 1
        change = _LEVELS[level] + transition(old, value)
        xen.counters["mmu_update_entries_by_type_and_transition", change] += 1
    else:
        target = xen.abi.type_name(type_info)
        xen.counters["mmu_update_entries_by_target_page_type", target] += 1


def mod_l1_entry(
    xen: Xen, vcpu: Vcpu, where: Slot, entry: int, *, preserve_ad: bool = False
) -> Activity:
    """Change an entry of an L1 whose lock is held: 0 or a negative errno.

    Source: mm.c:mod_l1_entry.
    """
    abi = xen.abi
    table, slot, owner, pg_owner = where
    words = xen.frames.words(table)
    yield STEP
    old = words[slot]
    if entry & PRESENT:
        bad = xen.bad_flags[1] if owner == xen.domid else xen.bad_l1_flags(owner)
        if entry & bad:
            yield from xen.warn(vcpu, "update_bad_flags_l1", flags=flags24(entry & bad))
            return -EINVAL
        if abi.ad_fast_path:
            yield from warn_global_kernel(xen, vcpu, entry)
            entry = adjust_l1e(entry)
            if _only_differs_in(old, entry, HARMLESS):
                yield from _write(words, slot, entry, preserve_ad=preserve_ad)
                return 0
        elif _same_but_for(old, entry, RW | PRESENT):
            yield from warn_global_kernel(xen, vcpu, entry)
            yield from _write(words, slot, adjust_l1e(entry), preserve_ad=preserve_ad)
            return 0
        entry = yield from get_page_from_l1e(xen, vcpu, entry, owner, pg_owner)
        if entry < 0:
            return entry
        if not abi.ad_fast_path:
            yield from warn_global_kernel(xen, vcpu, entry)
        entry = adjust_l1e(entry)
    yield from _write(words, slot, entry, preserve_ad=preserve_ad)
    hand_over_l1e(xen, vcpu, entry)
    if old & PRESENT:
        take_over_l1e(xen, vcpu, old)
        yield from put_page_from_l1e(xen, vcpu, old)
    return 0


def _mod_upper(
    xen: Xen, vcpu: Vcpu, table: Table, slot: int, entry: int, *, preserve_ad: bool
) -> Activity:
    """Change an entry of an L2, L3 or L4 whose lock is held: 0 or a negative errno.

    Source: mm.c:mod_l2_entry ... mod_l4_entry.
    """
    abi = xen.abi
    mfn, index, level = table
    words = xen.frames.words(mfn)
    if level == 4 and slot in RESERVED_L4_SLOTS:
        yield from xen.warn(
            vcpu, "private_area_l4", hex_slot=c_hex(slot), entry_va=entry_va(mfn, slot)
        )
        return -EINVAL
    yield STEP
    old = words[slot]
    if entry & PRESENT:
        if entry & (bad := xen.bad_flags[level]):
            yield from xen.warn(vcpu, f"update_bad_flags_l{level}", flags=flags24(entry & bad))
            return -EINVAL
        adjusted = adjust_upper(xen, level, entry)
        fast = (
            _only_differs_in(old, adjusted, HARMLESS)
            if abi.ad_fast_path
            else _same_but_for(old, entry, PRESENT)
        )
        if fast:
            yield from _write(words, slot, adjusted, preserve_ad=preserve_ad)
            return 0
        rc: int = yield from get_page_from_upper(xen, vcpu, table, entry, preemptible=level > 2)
        if rc:
            return rc
        entry = adjusted
    yield from _write(words, slot, entry, preserve_ad=preserve_ad)
    hand_over_upper(xen, vcpu, mfn, entry)
    if old & PRESENT and mfn_of(old) != mfn:
        take_over_upper(xen, vcpu, mfn, old)
        if abi.defers_teardown:
            put_off(xen, vcpu, mfn_of(old), parent=index)
        else:
            yield from put_page_from_upper(xen, vcpu, table, old)
    return 0


def _write(words: Words, slot: int, entry: int, *, preserve_ad: bool) -> Activity:
    """The store itself; PRESERVE_AD keeps what the CPU may have set meanwhile.

    Source: mm.c:update_intpte.
    """
    yield STEP
    if preserve_ad:
        entry |= words[slot] & (ACCESSED | DIRTY)
    words[slot] = entry


def _only_differs_in(old: int, new: int, flags: int) -> bool:
    return not (old ^ new) & ~flags


def _same_but_for(old: int, new: int, kept: int) -> bool:
    return not (old ^ new) & (ADDRESS_MASK | kept)


def _machphys(xen: Xen, vcpu: Vcpu, mfn: int, pfn: int, owner: int, pg_owner: int) -> Activity:
    """Set what the machine-to-physical table says of a frame.

    Source: mm.c:do_mmu_update.
    """
    if xen.abi.defers_teardown and owner != xen.domid:
        return -EPERM
    if not may_work_on(xen, pg_owner):
        return -EPERM
    yield STEP
    index = yield from get_page_or_say(xen, vcpu, mfn, pg_owner)
    if index == NOT_RAM:
        yield from xen.warn(vcpu, "machphys_update")
        return -EINVAL
    yield STEP
    xen.m2p.updates[mfn] = pfn
    put_page(xen, vcpu, index)
    return 0
