"""Plain hypercalls made at once, where nobody could see their steps.

A boot makes millions of calls, nearly all of the same few kinds: an entry of an L1 changes, a fresh
L1 is pinned and entered into the table above, a translation is dropped. The activities of
:mod:`models.xen.calls.va_mapping`, ``mmuext``, ``mmu_update`` and ``emulation`` define what they
do, step by step. The bodies here do the same where nothing is to be refused, printed, decided,
waited for or done by another CPU, and return None, having touched nothing, everywhere else.
"""

from collections.abc import Callable
from itertools import chain
from typing import Any, TypeAlias

from models.machine.entries import (
    ENTRIES,
    MFN_MASK,
    PAGE_SHIFT,
    PAGE_SIZE,
    PRESENT,
    RW,
    mfn_of,
    transition,
)
from models.machine.frames import NOT_RAM
from models.machine.walk import find_l1_entry
from models.xen.calls import shadow_at_once as shadowed
from models.xen.calls.entries_at_once import change_l1e, change_upper, exchange_l1e
from models.xen.calls.mmu_update import COMMANDS, REQUEST, count_update
from models.xen.calls.mmuext import COUNTERS, LOCAL_FLUSHES, PIN_L1
from models.xen.calls.va_mapping import UPDATE
from models.xen.hypercalls import (
    INSIDE,
    Call,
    Costs,
    Emulation,
    MmuextOp,
    MmuUpdate,
    Multicall,
    Unknown,
    UpdateVaMapping,
)
from models.xen.pages.flushes import FLUSH_LOCAL, TYPE_CHANGE_FLUSH, flush_local, guest_may_use
from models.xen.pages.l1_tables import count_validation
from models.xen.pages.l1_vectorised import promote_at_once
from models.xen.pages.page_type import lockable_page
from models.xen.state import NO_TABLE, Vcpu, Xen
from models.xen.versions.paging import Paging
from models.xen.words import (
    COUNT,
    DOMID_SELF,
    INVLPG_LOCAL,
    NORMAL_PT_UPDATE,
    PARTIAL,
    PIN_L1_TABLE,
    PINNED,
    UVMF_FLUSH_TYPE,
    VALIDATED,
)
from sim.effects import DECLINED, Activity, Spend, Trap, Whole

MULTICALL_ENTRY = Spend("multicall_per_entry")
_TABLES_OF_THE_GUEST = Paging.DIRECT  # looking an Enum's member up takes Python code
_LEAD_OF_UPDATE = (UPDATE,)
_LEAD_OF_REQUEST = (REQUEST,)


def call_at_once(xen: Xen, vcpu: Vcpu, call: Call) -> Whole | None:
    """A hypercall by itself: what the guest gets, and what it cost beside the way in."""
    if xen.trace is not None or vcpu.old_guest_table != NO_TABLE:
        return None
    costs = _one(xen, vcpu, call)
    if costs is None:
        return None
    if call.__class__ is not UpdateVaMapping:
        vcpu.softirq = False
    return Whole(0, costs)


def multicall_at_once(xen: Xen, vcpu: Vcpu, call: Multicall, made: list[Costs]) -> Whole | None:
    """A multicall of entries that all succeed at once.

    Where one does not, what those before it cost is in ``made``, and the activity goes on there.
    """
    if xen.trace is not None or vcpu.old_guest_table != NO_TABLE or call.results:
        return None
    for entry in call.calls:
        costs = _one(xen, vcpu, entry)
        if costs is None:
            return None
        made.append((MULTICALL_ENTRY, *costs))
        xen.counters[INSIDE[entry.__class__]] += 1
    vcpu.softirq = False
    return Whole((0,) * len(made), tuple(chain.from_iterable(made)))


def lead(xen: Xen, vcpu: Vcpu, call: Call) -> tuple[Spend, ...] | None:
    """What a call begins with spending, if what follows in :func:`call_at_once` takes no time."""
    if xen.paging is not _TABLES_OF_THE_GUEST:
        return None  # a shadow's entry takes time of its own
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
    """A store to an L1 that is mapped read-only, as :mod:`models.xen.calls.emulation` makes it."""
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
    if (exchange and old == value) or not exchange_l1e(xen, words, slot, value):
        return None
    xen.counters["page_faults_into_xen", "fixed_by_xen(ptwr/mmio-ro/gdt)"] += 1
    xen.counters["ptwr_emulations_by_transition", transition(old, value)] += 1
    return Whole(Emulation.FIXED, ())


def _one(xen: Xen, vcpu: Vcpu, call: Call) -> Costs | None:
    """A call of one operation that succeeds."""
    bodies = _DIRECT if xen.paging is _TABLES_OF_THE_GUEST else _SHADOWED
    body = bodies.get(call.__class__)
    if body is None or call.foreign != DOMID_SELF:  # type: ignore[union-attr]
        return None
    return body(xen, vcpu, call)


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
    if not change_l1e(xen, words, slot, call.entry):
        return None
    xen.counters["update_va_mapping_by_transition", transition(old, call.entry)] += 1
    xen.counters["update_va_mapping_by_flush", "none"] += 1
    return (UPDATE,)


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
        if not change_upper(xen, level, words, slot, value):
            return None
        if flushes:
            flush_local(xen, vcpu)
            costs = (REQUEST, FLUSH_LOCAL)
    elif level == 1:
        if not change_l1e(xen, words, slot, value):
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


Bodies: TypeAlias = dict[type, Callable[[Xen, Vcpu, Any], Costs | None]]
_DIRECT: Bodies = {
    UpdateVaMapping: _update_va_mapping,
    MmuUpdate: _mmu_update,
    MmuextOp: _mmuext_op,
}
_SHADOWED: Bodies = {
    UpdateVaMapping: shadowed.update_va_mapping,
    MmuUpdate: shadowed.mmu_update,
    MmuextOp: shadowed.mmuext_op,
}


def in_one_piece(xen: Xen) -> bool:
    """May many calls be made at once? Nobody hears of each, and tables are the CPU's own."""
    return not xen.tells_calls and xen.paging is Paging.DIRECT


def time_of(times: int, way_in: Spend, *costs: Spend) -> Trap:
    """What a guest yields for the time of so many calls that are made already."""

    def work() -> Activity:
        yield Spend(way_in.cost, times - 1)
        for cost in costs:
            yield Spend(cost.cost, times)

    return Trap(work(), way_in.cost)
