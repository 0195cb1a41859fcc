"""Plain hypercalls made at once, where nobody could see their steps.

A boot makes millions of calls, nearly all of the same few kinds: an entry of an L1 changes, a fresh
L1 is pinned and entered into the table above, a translation is dropped. The activities of
:mod:`models.xen.va_mapping`, ``mmuext``, ``mmu_update`` and ``emulation`` define what they do, step
by step. The bodies here do the same where nothing is to be refused, printed, decided, waited for or
done by another CPU, and return None, having touched nothing, everywhere else.
"""

from typing import TypeAlias

from models.machine.entries import (
    ADDRESS_MASK,
    ENTRIES,
    GLOBAL,
    GUEST_KERNEL,
    MFN_MASK,
    PAGE_SHIFT,
    PAGE_SIZE,
    PRESENT,
    PSE,
    RW,
    mfn_of,
    transition,
)
from models.machine.frames import DOMID_IO, NOT_RAM, Words
from models.machine.walk import find_l1_entry
from models.xen.abi import (
    COUNT,
    DOMID_SELF,
    INVLPG_LOCAL,
    NORMAL_PT_UPDATE,
    PARTIAL,
    PIN_L1_TABLE,
    PINNED,
    RESERVED_L4_SLOTS,
    UVMF_FLUSH_TYPE,
    VALIDATED,
)
from models.xen.calls import INSIDE, Call, MmuextOp, MmuUpdate, Multicall, Unknown, UpdateVaMapping
from models.xen.emulation import Emulation
from models.xen.flushes import FLUSH_LOCAL, TYPE_CHANGE_FLUSH, flush_local, guest_may_use
from models.xen.l1_entries import CACHE_BITS, adjust_l1e
from models.xen.l1_tables import count_validation
from models.xen.l1_vectorised import promote_at_once
from models.xen.mmu_update import COMMANDS, HARMLESS, REQUEST, count_update
from models.xen.mmuext import COUNTERS, LOCAL_FLUSHES, PIN_L1
from models.xen.page_type import lockable_page
from models.xen.paging import Paging
from models.xen.state import NO_TABLE, Vcpu, Xen
from models.xen.va_mapping import UPDATE
from models.xen.validation import adjust_upper
from sim.effects import DECLINED, Spend, Whole

MULTICALL_ENTRY = Spend("multicall_per_entry")
_GLOBAL_KERNEL = GLOBAL | GUEST_KERNEL

_LEAD_OF_UPDATE = (UPDATE,)
_LEAD_OF_REQUEST = (REQUEST,)

Costs: TypeAlias = tuple[Spend, ...]


def call_at_once(xen: Xen, vcpu: Vcpu, call: Call) -> Whole | None:
    """A whole hypercall: what the guest gets, and what it cost beside the way in."""
    if xen.trace is not None or vcpu.old_guest_table != NO_TABLE:
        return None
    if xen.paging is not Paging.DIRECT:
        return None
    kind = call.__class__
    if kind is Multicall:
        (inner, *more), done = call.calls, call.results  # type: ignore[union-attr]
        if more or done or inner.__class__ is Multicall:
            return None
        costs = _one(xen, vcpu, inner)
        if costs is None:
            return None
        xen.counters[INSIDE[inner.__class__]] += 1
        vcpu.softirq = False
        return Whole((0,), (MULTICALL_ENTRY, *costs))
    costs = _one(xen, vcpu, call)
    if costs is None:
        return None
    if kind is not UpdateVaMapping:
        vcpu.softirq = False
    return Whole(0, costs)


def lead(xen: Xen, vcpu: Vcpu, call: Call) -> tuple[Spend, ...] | None:
    """What a call begins with spending, if what follows in :func:`call_at_once` takes no time."""
    kind = call.__class__
    if kind is UpdateVaMapping:
        return _LEAD_OF_UPDATE
    if xen.abi.checks_preemption_first or vcpu.old_guest_table != NO_TABLE:
        return None
    if kind is Multicall:
        if len(call.calls) != 1 or call.results:  # type: ignore[union-attr]
            return None
        inner = lead(xen, vcpu, call.calls[0])  # type: ignore[union-attr]
        return None if inner is None else (MULTICALL_ENTRY, *inner)
    if kind is Unknown or call.foreign != DOMID_SELF or call.final is not None:  # type: ignore[union-attr]
        return None
    if kind is MmuUpdate:
        return _LEAD_OF_REQUEST if len(call.requests) == 1 else None  # type: ignore[union-attr]
    if len(call.operations) != 1:  # type: ignore[union-attr]
        return None
    flush = LOCAL_FLUSHES.get(call.operations[0][0])  # type: ignore[union-attr]
    return None if flush is None else (flush,)


def store_at_once(
    xen: Xen, vcpu: Vcpu, va: int, value: int, *, exchange: bool = False
) -> Whole | None:
    """A store to an L1 that is mapped read-only, emulated: see :mod:`models.xen.emulation`."""
    if xen.trace is not None or not guest_may_use(va):
        return None
    frames = xen.frames
    walk = find_l1_entry(frames, vcpu.cr3, va)
    if walk is None or not walk[2] or va & 7:
        return None
    leaf = frames.pages[walk[0]][walk[1]]
    if leaf & (PRESENT | RW) != PRESENT:
        return None
    mfn = mfn_of(leaf)
    index = lockable_page(xen, mfn)
    if index == NOT_RAM or frames.type_info[index] & xen.abi.type_mask != xen.abi.l1:
        return None
    words, slot = frames.pages[mfn], (va & PAGE_SIZE - 1) >> 3
    old = words[slot]
    if (exchange and old == value) or not _exchange(xen, words, slot, value):
        return None
    xen.counters["page_faults_into_xen", "fixed_by_xen(ptwr/mmio-ro/gdt)"] += 1
    xen.counters["ptwr_emulations_by_transition", transition(old, value)] += 1
    return Whole(Emulation.FIXED, ())


def _one(xen: Xen, vcpu: Vcpu, call: Call) -> Costs | None:
    """A call of one operation that succeeds."""
    kind = call.__class__
    if kind is Unknown or call.foreign != DOMID_SELF:  # type: ignore[union-attr]
        return None
    if kind is UpdateVaMapping:
        return _update_va_mapping(xen, vcpu, call)  # type: ignore[arg-type]
    if kind is MmuUpdate:
        return _mmu_update(xen, vcpu, call)  # type: ignore[arg-type]
    return _mmuext_op(xen, vcpu, call) if kind is MmuextOp else None  # type: ignore[arg-type]


# -- entries of L1 tables ---------------------------------------------------------------------


def _update_va_mapping(xen: Xen, vcpu: Vcpu, call: UpdateVaMapping) -> Costs | None:
    frames = xen.frames
    if call.flags & UVMF_FLUSH_TYPE or not guest_may_use(call.va):
        return None
    walk = find_l1_entry(frames, vcpu.cr3, call.va)
    if walk is None:
        return None
    table, slot, _ = walk
    index = lockable_page(xen, table)
    if index == NOT_RAM or frames.type_info[index] & xen.abi.type_mask != xen.abi.l1:
        return None
    words = frames.pages[table]
    old = words[slot]
    if not _change_l1e(xen, words, slot, call.entry):
        return None
    xen.counters["update_va_mapping_by_transition", transition(old, call.entry)] += 1
    xen.counters["update_va_mapping_by_flush", "none"] += 1
    return (UPDATE,)


def _change_l1e(xen: Xen, words: Words, slot: int, entry: int) -> bool:
    """As mod_l1_entry: flags that count nothing just change."""
    old = words[slot]
    if entry & PRESENT and not entry & xen.bad_flags[1] | _is_global_kernel(entry):
        stored = adjust_l1e(entry)
        if (
            not (old ^ stored) & ~HARMLESS
            if xen.abi.ad_fast_path
            else not (old ^ entry) & (ADDRESS_MASK | RW | PRESENT)
        ):
            words[slot] = stored
            return True
    return _exchange(xen, words, slot, entry)


def _is_global_kernel(entry: int) -> bool:
    """Would Xen warn of these flags?"""
    return entry & _GLOBAL_KERNEL == _GLOBAL_KERNEL


def _exchange(xen: Xen, words: Words, slot: int, entry: int) -> bool:
    """Take the references of the new entry, store it, and give back those of the old one."""
    abi, frames = xen.abi, xen.frames
    counts, types = frames.count_info, frames.type_info
    old = words[slot]
    former = index = NOT_RAM
    if old & PRESENT:
        former = frames.index(mfn_of(old))
        if former != NOT_RAM and frames.owner[former] == DOMID_IO:
            former = NOT_RAM
        if former != NOT_RAM:
            if counts[former] & abi.general_count < 2:
                return False
            word = types[former]
            if old & RW and not (word & COUNT and _plainly_writable(xen, word)):
                return False
    if entry & PRESENT:
        if entry & (xen.bad_flags[1] | CACHE_BITS) or _is_global_kernel(entry):
            return False
        index = frames.index(mfn_of(entry))
        if index == NOT_RAM or frames.owner[index] != xen.domid:
            return False
        held = counts[index]
        if held + 2 & abi.general_count <= 2 or held & abi.cache_attributes:
            return False
        if entry & RW:
            word = types[index]
            if word & COUNT == COUNT:
                return False
            if not _plainly_writable(xen, word):
                kind = word & abi.type_mask
                if word & COUNT or kind == abi.writable or xen.needs_flush(index):
                    return False
                xen.count_type_change(word, abi.writable)
                word = word & ~(abi.type_mask | VALIDATED) | abi.writable | VALIDATED
            types[index] = word + 1
        counts[index] = held + 1
        entry = adjust_l1e(entry)
    words[slot] = entry
    if former != NOT_RAM:
        if old & RW:
            word = types[former]
            if word & COUNT == 1:
                frames.tlb_stamp[former] = xen.clock.now
            types[former] = word - 1
        counts[former] -= 1
    return True


def _plainly_writable(xen: Xen, word: int) -> bool:
    """Is a page with this type word for writable mappings, nothing else being done with it?"""
    decisive = xen.abi.type_mask | VALIDATED | PARTIAL | xen.abi.locked
    return word & decisive == xen.abi.writable | VALIDATED


# -- tables -----------------------------------------------------------------------------------


def _mmu_update(xen: Xen, vcpu: Vcpu, call: MmuUpdate) -> Costs | None:
    if call.final is not None or call.done or not call.requests:
        return None
    if len(call.requests) > 1:
        return _raw_updates(xen, vcpu, call.requests)
    abi, frames = xen.abi, xen.frames
    ((pointer, value),) = call.requests
    mfn, slot = pointer >> PAGE_SHIFT & MFN_MASK, (pointer & 0xFFF) >> 3
    index = lockable_page(xen, mfn)
    if index == NOT_RAM or pointer & 7 != NORMAL_PT_UPDATE:
        return None
    word = frames.type_info[index]
    words = frames.pages[mfn]
    old = words[slot]
    level = abi.level(word)
    costs: Costs = (REQUEST,)
    if level > 1:
        flushes = abi.flushes_upper_updates
        if flushes and (xen.dirty_pcpus != {vcpu.pcpu} or len(xen.vcpus) > 1):
            return None  # the flush takes time that others could use
        if not _change_upper(xen, level, words, slot, value):
            return None
        if flushes:
            flush_local(xen, vcpu)
            costs = (REQUEST, FLUSH_LOCAL)
    elif level == 1:
        if not _change_l1e(xen, words, slot, value):
            return None
    elif word & abi.type_mask == abi.writable:
        words[slot] = value
    else:
        return None
    xen.counters[COMMANDS[NORMAL_PT_UPDATE]] += 1
    count_update(xen, word, old, value)
    vcpu.done = 1
    return costs


def _raw_updates(xen: Xen, vcpu: Vcpu, requests: tuple[tuple[int, int], ...]) -> Costs | None:
    """Many updates of one page that is no table: nothing is looked at, they are only stored."""
    mfn = requests[0][0] >> PAGE_SHIFT
    index = lockable_page(xen, mfn)
    if index == NOT_RAM or xen.frames.type_info[index] & xen.abi.type_mask != xen.abi.writable:
        return None
    if any(pointer >> PAGE_SHIFT != mfn or pointer & 7 for pointer, _ in requests):
        return None
    words = xen.frames.pages[mfn]
    for pointer, value in requests:
        words[(pointer & 0xFFF) >> 3] = value
    made = len(requests)
    xen.counters[COMMANDS[NORMAL_PT_UPDATE]] += made
    xen.counters["mmu_update_entries_by_target_page_type", "writable_page"] += made
    vcpu.done = made
    return (Spend(REQUEST.cost, made),)


def _change_upper(xen: Xen, level: int, words: Words, slot: int, entry: int) -> bool:
    """Fill or clear an empty slot; a table that is entered is typed already."""
    abi, frames = xen.abi, xen.frames
    if words[slot] & PRESENT or (level == 4 and slot in RESERVED_L4_SLOTS):
        return False
    if entry & PRESENT:
        if entry & (xen.bad_flags[level] | PSE):
            return False
        child = frames.index(mfn_of(entry))
        if child == NOT_RAM or frames.owner[child] != xen.domid:
            return False
        word, held = frames.type_info[child], frames.count_info[child]
        decisive = abi.type_mask | VALIDATED
        if word & decisive != abi.table_types[level - 1] | VALIDATED or word & COUNT == COUNT:
            return False
        if held + 2 & abi.general_count <= 2:
            return False
        frames.type_info[child] = word + 1
        frames.count_info[child] = held + 1
        entry = adjust_upper(xen, level, entry)
    words[slot] = entry
    return True


def _mmuext_op(xen: Xen, vcpu: Vcpu, call: MmuextOp) -> Costs | None:
    if len(call.operations) != 1 or call.final is not None or call.done:
        return None
    ((command, first, _),) = call.operations
    if command in LOCAL_FLUSHES:
        flush_local(xen, vcpu, first if command == INVLPG_LOCAL else None)
        costs: Costs | None = (LOCAL_FLUSHES[command],)
    elif command == PIN_L1_TABLE:
        costs = _pin_l1(xen, vcpu, first)
    else:
        return None
    if costs is not None:
        xen.counters[COUNTERS[command]] += 1
        vcpu.done = 1
    return costs


def _pin_l1(xen: Xen, vcpu: Vcpu, mfn: int) -> Costs | None:
    """Pin a page that has no type as an L1."""
    abi, frames = xen.abi, xen.frames
    index = frames.index(mfn)
    if index == NOT_RAM or frames.owner[index] != xen.domid:
        return None
    word, held = frames.type_info[index], frames.count_info[index]
    if (
        word & (COUNT | PARTIAL | abi.non_coherent)
        or word & abi.type_mask == abi.l1
        or held + 2 & abi.general_count <= 2
        or mfn in xen.progress
    ):
        return None
    stamp = frames.tlb_stamp[index]
    stale = {pcpu for pcpu in xen.dirty_pcpus if xen.clock.needs_flush(pcpu, stamp)}
    if stale - {vcpu.pcpu}:
        return None
    typed = word & ~(abi.type_mask | VALIDATED) | abi.l1
    # Its own entries may lead to it: what they may be depends on what it is.
    frames.type_info[index] = typed + 1
    frames.count_info[index] = held + 1
    present = promote_at_once(xen, frames.array(mfn))
    if present is DECLINED:
        frames.type_info[index], frames.count_info[index] = word, held
        return None
    frames.type_info[index] |= VALIDATED | PINNED
    xen.count_type_change(word, abi.l1)
    costs: Costs = (PIN_L1, *count_validation(xen, ENTRIES, present))
    if stale:
        xen.counters["misc", "tlb_flushes_forced_by_page_type_change"] += 1
        flush_local(xen, vcpu)
        return (*costs, TYPE_CHANGE_FLUSH)
    return costs
