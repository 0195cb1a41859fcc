"""Plain calls of a guest with shadow tables made at once, as in :mod:`models.xen.calls.at_once`.

Nothing but the entry itself changes: the guest's pages have no types to mind, and pins mean
nothing. A call that would shadow a further table is left to the activities of
:mod:`models.xen.paging.shadow`, as is what they would refuse or have flushed.
"""

from models.machine.entries import MFN_MASK, PAGE_SHIFT, PAGE_SIZE, PRESENT, PSE, mfn_of
from models.machine.frames import NOT_RAM
from models.machine.walk import find_l1_entry, find_page
from models.xen.calls.entries_at_once import writable_word
from models.xen.calls.mmu_update import COMMANDS, REQUEST, count_update
from models.xen.calls.mmuext import COUNTERS, LOCAL_FLUSHES
from models.xen.calls.va_mapping import UPDATE
from models.xen.hypercalls import Costs, Emulation, MmuextOp, MmuUpdate, UpdateVaMapping
from models.xen.pages.flushes import flush_local, guest_may_use
from models.xen.paging.shadow import ENTRY
from models.xen.state import Vcpu, Xen
from models.xen.words import (
    COUNT,
    INVLPG_LOCAL,
    NORMAL_PT_UPDATE,
    PARTIAL,
    RESERVED_L4_SLOTS,
    UNPIN_TABLE,
    UVMF_FLUSH_TYPE,
)
from sim.effects import Whole


def shadowed_store_at_once(xen: Xen, vcpu: Vcpu, va: int, value: int) -> Whole | None:
    """A store that has faulted, made: see :func:`models.xen.paging.shadow.write_fault`."""
    found = find_page(xen.frames, vcpu.cr3, va)
    if found is None or not found.writable or xen.trace is not None:
        return None
    costs = _write_entry(xen, found.mfn, (va & PAGE_SIZE - 1) >> 3, value)
    if costs is None:
        return None
    xen.counters["shadow", "write_faults"] += 1
    return Whole(Emulation.FIXED, costs)


def update_va_mapping(xen: Xen, vcpu: Vcpu, call: UpdateVaMapping) -> Costs | None:
    """An entry of the address space, whatever the type of its table."""
    if call.flags & UVMF_FLUSH_TYPE or not guest_may_use(call.va):
        return None
    walk = find_l1_entry(xen.frames, vcpu.cr3, call.va)
    costs = None if walk is None else _write_entry(xen, walk[0], walk[1], call.entry)
    if costs is None:
        return None
    xen.counters["update_va_mapping_by_flush", "none"] += 1
    return (UPDATE, *costs)


def mmu_update(xen: Xen, vcpu: Vcpu, call: MmuUpdate) -> Costs | None:
    """One entry of a page of the domain's, which is mapped writable for as long as that takes."""
    if call.final is not None or call.done or len(call.requests) != 1:
        return None
    abi, frames = xen.abi, xen.frames
    ((pointer, value),) = call.requests
    mfn, slot = pointer >> PAGE_SHIFT & MFN_MASK, (pointer & 0xFFF) >> 3
    index = frames.index(mfn)
    if (
        pointer & 7 != NORMAL_PT_UPDATE
        or index == NOT_RAM
        or frames.owner[index] != xen.domid
        or frames.count_info[index] + 2 & abi.general_count <= 2
    ):
        return None
    before = frames.type_info[index]
    word = writable_word(xen, index)
    if word is None or word & (COUNT | PARTIAL | abi.locked):
        return None
    costs = _write_entry(xen, mfn, slot, value)
    if costs is None:
        return None
    if word != before:
        xen.count_type_change(before, abi.writable)
        frames.type_info[index] = word
    frames.tlb_stamp[index] = xen.clock.now
    xen.counters[COMMANDS[NORMAL_PT_UPDATE]] += 1
    count_update(xen, abi.writable, 0, value)
    vcpu.done = 1
    return (REQUEST, *costs)


def mmuext_op(xen: Xen, vcpu: Vcpu, call: MmuextOp) -> Costs | None:
    """A pin, which means nothing, or a flush of this CPU."""
    if call.final is not None or call.done or len(call.operations) != 1:
        return None
    ((command, first, _),) = call.operations
    costs: Costs = ()
    if command in LOCAL_FLUSHES:
        flush_local(xen, vcpu, first if command == INVLPG_LOCAL else None)
        costs = (LOCAL_FLUSHES[command],)
    elif command > UNPIN_TABLE:
        return None
    xen.counters[COUNTERS[command]] += 1
    vcpu.done = 1
    return costs


def _write_entry(xen: Xen, mfn: int, slot: int, value: int) -> Costs | None:
    """Write an entry, and bring it into the shadow if there is one that nothing hangs on."""
    level = xen.shadows.get(mfn)
    if level is None:
        xen.frames.words(mfn)[slot] = value
        return ()
    child = mfn_of(value)
    if (
        level > 1
        and not (level == 4 and slot in RESERVED_L4_SLOTS)
        and value & PRESENT
        and not value & PSE
        and child not in xen.shadows
        and xen.frames.index(child) != NOT_RAM
    ):
        return None
    xen.frames.words(mfn)[slot] = value
    xen.counters["shadow", "entries"] += 1
    return (ENTRY,)
