"""The call gate: how a guest enters the hypervisor, and what it gets back.

A hypercall that was interrupted is entered again until it is finished; the guest sees the
result only. Source: xen/common/multicall.c; xen/arch/x86/hypercall.c
(hypercall_create_continuation).
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.machine.entries import (
    ENTRIES,
    L2_SHIFT,
    PAGE_SHIFT,
    PAGE_SIZE,
    PRESENT,
    RW,
    mfn_of,
)
from models.machine.frames import NOT_RAM, FrameTable
from models.machine.tlb import Translation
from models.machine.walk import find_l1_entry, find_page
from models.xen import nested, shadow
from models.xen.abi import Abi
from models.xen.at_once import (
    MULTICALL_ENTRY,
    call_at_once,
    lead,
    multicall_at_once,
    store_at_once,
)
from models.xen.calls import (
    CONTINUED,
    DIRECT,
    INSIDE,
    Call,
    Called,
    Costs,
    EmulatedStore,
    Emulation,
    MmuextOp,
    MmuUpdate,
    Multicall,
    Restart,
    Unknown,
    UpdateVaMapping,
    Violation,
)
from models.xen.emulation import emulate_at_once, emulate_store
from models.xen.errno import EINVAL, ENOSYS
from models.xen.flushes import guest_may_use
from models.xen.mmu_update import REQUEST, do_mmu_update, update_at_once
from models.xen.mmuext import do_mmuext_op
from models.xen.nested import flush_tlb, invlpg
from models.xen.paging import Paging
from models.xen.panic import DomainCrash
from models.xen.shadow_at_once import shadowed_store_at_once
from models.xen.state import Domain, Vcpu, Xen
from models.xen.va_mapping import do_update_va_mapping
from models.xen.validation import TABLES
from sim.effects import (
    DECLINED,
    ENTER_GUEST,
    ENTER_HYPERVISOR,
    PREEMPT_POINT,
    STEP,
    Activity,
    Choose,
    Declined,
    Note,
    Spend,
    Trap,
    Whole,
    in_a_stretch,
)

_NESTED = Paging.NESTED  # looking an Enum's member up takes Python code
__all__ = [
    "Called",
    "EmulatedStore",
    "Emulation",
    "MmuUpdate",
    "MmuextOp",
    "Multicall",
    "Paging",
    "Unknown",
    "UpdateVaMapping",
    "Vcpu",
    "Violation",
    "Xen",
    "access",
    "fault",
    "flush_tlb",
    "held_against_tables",
    "hypercall",
    "invlpg",
    "load_fault",
    "new_xen",
    "reached",
    "store",
    "store_each",
    "store_page",
    "translate",
    "trap",
    "update_each",
    "walk_ahead",
]

ENTRY = Spend("hypercall_null")
EMULATION = Spend("ptwr_emulation")
PAGE_FAULT = Spend("pagefault_bounce")
_STALE = Choose("stale translation", ("used", "gone"))


def hypercall(xen: Xen, vcpu: Vcpu, call: Call) -> Activity:
    """Make a hypercall; it returns what the guest gets: 0 or a negative errno.

    For a multicall that is the tuple of its entries' results.

    Source: x86_64/entry.S (pv/hypercall.c:pv_hypercall).
    """
    return (yield trap(xen, vcpu, call))


def trap(xen: Xen, vcpu: Vcpu, call: Call) -> Trap | Activity:
    """What a guest yields to make a hypercall, without an activity of its own around it."""
    xen.counters[DIRECT[call.__class__]] += 1
    xen.counters["calls", "traps"] += 1
    vcpu.first_line = len(xen.console.lines)
    if xen.paging is _NESTED:
        return Trap(_no_such_call(call), ENTRY.cost)
    kind = call.__class__
    at_once: Callable[[], Whole | None]
    if kind is Multicall:
        made: list[Costs] = []
        activity = _run(xen, vcpu, call, made)
        at_once = partial(multicall_at_once, xen, vcpu, call, made)  # type: ignore[arg-type]
    else:
        # update_va_mapping changes one entry and is never continued.
        run = do_update_va_mapping if kind is UpdateVaMapping else _run
        activity = run(xen, vcpu, call)  # type: ignore[arg-type]
        at_once = partial(call_at_once, xen, vcpu, call)
    entered = Trap(activity, ENTRY.cost, at_once, lead(xen, vcpu, call))
    return _told(call, entered) if xen.tells_calls else entered


def update_each(xen: Xen, vcpu: Vcpu, mfn: int, slot: int, entries: NDArray[np.uint64]) -> Activity:
    """An mmu_update for each of consecutive entries of a page; those that were refused.

    Returns a list of (machine address, entry, negative errno).

    Source: mm.c:do_mmu_update, entered anew for each.
    """
    refused: list[tuple[int, int, int]] = []
    first = mfn << PAGE_SHIFT | slot << 3

    def update(number: int) -> Activity:
        pointer, entry = first + 8 * number, int(entries[number])
        rc: int = yield trap(xen, vcpu, MmuUpdate(((pointer, entry),)))
        if rc:
            refused.append((pointer, entry, rc))

    def at_once() -> Declined | Trap:
        if not _in_one_piece(xen) or not update_at_once(xen, vcpu, mfn, slot, entries):
            return DECLINED
        calls = entries.size
        xen.counters[DIRECT[MmuUpdate]] += calls
        xen.counters["calls", "traps"] += calls
        vcpu.first_line = len(xen.console.lines)
        return _time_of(calls, ENTRY, REQUEST)

    in_all = yield from in_a_stretch(range(entries.size), update, at_once)
    if in_all is not None:
        yield in_all
    return refused


def store_each(
    xen: Xen,
    vcpu: Vcpu,
    va: int,
    values: NDArray[np.uint64],
    store_one: Callable[[int], Activity],
) -> Activity:
    """Consecutive 8-byte stores to a page that is mapped read-only.

    ``store_one(number)`` makes one of them, as a CPU does: see :func:`fault`.

    Source: traps.c:fixup_page_fault, entered anew for each.
    """

    def at_once() -> Declined | Trap:
        if not _in_one_piece(xen) or not emulate_at_once(xen, vcpu, va, values):
            return DECLINED
        xen.counters["page_faults_into_xen", "total"] += values.size
        return _time_of(values.size, EMULATION)

    in_all = yield from in_a_stretch(range(values.size), store_one, at_once)
    if in_all is not None:
        yield in_all


def _in_one_piece(xen: Xen) -> bool:
    """May many calls be made at once? Nobody hears of each, and tables are the CPU's own."""
    return not xen.tells_calls and xen.paging is Paging.DIRECT


def _time_of(times: int, way_in: Spend, *costs: Spend) -> Trap:
    """What a guest yields for the time of so many calls that are made already."""

    def work() -> Activity:
        yield Spend(way_in.cost, times - 1)
        for cost in costs:
            yield Spend(cost.cost, times)

    return Trap(work(), way_in.cost)


def fault(
    xen: Xen,
    vcpu: Vcpu,
    va: int,
    value: int,
    *,
    exchange: bool = False,
    present: bool = True,
) -> Trap | Activity:
    """What a guest yields when a store did not get through: the answer is an :class:`Emulation`.

    ``FIXED``: the hypervisor made the store; ``RETRY``: the CPU is to make it again; else the
    guest gets the fault. ``exchange``: the instruction reads and writes in one. Not ``present``:
    the CPU's walk found nothing, and so says the fault's error code, whatever is there by now.

    Source: traps.c:fixup_page_fault.
    """
    if xen.paging is _NESTED:
        return nested.miss(xen, vcpu, va, write=True)
    xen.counters["page_faults_into_xen", "total"] += 1
    shadowed = xen.paging is Paging.SHADOW
    at_once: Callable[[], Any] | None = None
    if shadowed:
        made = shadow.write_fault(xen, vcpu, va, value)
        at_once = partial(shadowed_store_at_once, xen, vcpu, va, value)
    elif present:
        made = emulate_store(xen, vcpu, va, value, exchange=exchange)
        at_once = partial(store_at_once, xen, vcpu, va, value, exchange=exchange)
    else:
        made = _not_emulated()
    if not vcpu.handles_faults:
        made = _fixed_or_fatal(xen, vcpu, va, made)
    emulation = Trap(made, "shadow_write_fault" if shadowed else EMULATION.cost, at_once)
    if xen.tells_calls:
        return _told(EmulatedStore("shadow" if shadowed else "ptwr", va, value), emulation)
    return emulation


def _not_emulated() -> Activity:
    """What was not write protection is not looked into.

    Source: traps.c:fixup_page_fault (PFEC_page_present).
    """
    yield from ()
    return Emulation.FAULT


def load_fault(xen: Xen, vcpu: Vcpu, va: int) -> Activity:
    """The same of a load: for a CPU that has to walk under nested paging; else it is a fault."""
    if xen.paging is _NESTED:
        return (yield from nested.miss(xen, vcpu, va, write=False))
    return Emulation.FAULT


def _fixed_or_fatal(xen: Xen, vcpu: Vcpu, va: int, made: Activity) -> Activity:
    """A fault that goes to a guest without a handler is the guest's end.

    Source: xen/arch/x86/traps.c, propagate_page_fault of 4.1; pv/traps.c, pv_inject_event.
    """
    present = translate(xen, vcpu, va) is not None
    outcome = yield from made
    if outcome is Emulation.FAULT:
        error = 3 if present else 2  # a write of the kernel's, to a page that is there or not
        yield from xen.warn(
            vcpu, "unhandled_fault", domid=xen.domid, number=vcpu.number, error=error
        )
        raise DomainCrash(f"d{xen.domid}v{vcpu.number} has no handler for a fault at {va:x}")
    return outcome


def store(xen: Xen, vcpu: Vcpu, va: int, value: int, *, exchange: bool = False) -> Activity:
    """What an 8-byte store of a guest kernel does: True, or False where the guest gets a fault.

    ``exchange``: it is part of an instruction that reads and writes in one (xchg, lock and).

    It goes through a translation that the CPU has loaded, which may be stale: then it is open
    whether the CPU still has it. Else the tables are walked; where they do not allow it, the
    hypervisor is asked. A walk and the store through what it has found are two accesses, and the
    tables may have changed in between: only a flush waits for the instruction.
    """
    page = va >> PAGE_SHIFT
    while True:
        yield STEP
        held = xen.clock.loaded[vcpu.pcpu].get(page)
        found = translate(xen, vcpu, va)
        if held is not None and held.writable:
            if held == found or (yield _STALE) == "used":
                break
            xen.clock.invalidate(vcpu.pcpu, va)
        while found is None or not found.writable:
            outcome = yield fault(
                xen, vcpu, va, value, exchange=exchange, present=found is not None
            )
            if outcome is not Emulation.RETRY:
                return outcome is Emulation.FIXED
            found = translate(xen, vcpu, va)
        xen.clock.load(vcpu.pcpu, va, found.mfn, writable=True)
    if xen.frames.index(held.mfn) != NOT_RAM:
        xen.frames.words(held.mfn)[(va & PAGE_SIZE - 1) >> 3] = value
    return True


def store_page(xen: Xen, vcpu: Vcpu, va: int, words: NDArray[np.uint64]) -> Activity:
    """Stores to all 512 words of a page: True, or False where the first of them faults.

    Only for pages that nobody else looks at: all of it is one step.
    """
    yield STEP
    found = translate(xen, vcpu, va)
    if found is None or not found.writable:
        return False
    xen.clock.load(vcpu.pcpu, va, found.mfn, writable=True)
    xen.frames.array(found.mfn)[:] = words
    return True


def access(xen: Xen, vcpu: Vcpu, va: int, *, write: bool, user: bool) -> Activity:
    """What an access to a user address does: True, or False where the guest gets a page fault.

    User mode goes by its own base pointer. A translation that the CPU has loaded may be stale.
    """
    yield STEP
    held = xen.clock.loaded[vcpu.pcpu].get(va >> PAGE_SHIFT)
    found = find_page(xen.frames, vcpu.user_cr3 if user else vcpu.cr3, va)
    stale = held is not None and held != found and (held.writable or not write)
    if stale and (yield _STALE) == "used":
        return True
    if found is not None and (found.writable or not write):
        xen.clock.load(vcpu.pcpu, va, found.mfn, writable=found.writable)
        return True
    mode = "user" if user else "kernel"
    counters = xen.counters
    counters["page_faults_into_xen", "total"] += 1
    counters["page_faults_into_xen", f"injected_to_guest_{mode}"] += 1
    if found is not None and not user:
        counters["misc", "ro_fault_not_emulated(guest #PF)"] += 1
    yield PAGE_FAULT
    return False


def walk_ahead(xen: Xen, vcpu: Vcpu, va: int) -> Activity:
    """A CPU loads a translation that no instruction has asked for, as it may do at any moment.

    It walks the tables below the base that it has loaded, and goes by what it has kept of the upper
    levels: then it reads a page as an L1 that may be none any more. Source: Intel SDM, volume 3,
    sections 4.10.2 and 4.10.3.
    """
    yield STEP
    upper = xen.clock.upper[vcpu.pcpu]
    kept = upper.get(va >> L2_SHIFT)
    if kept is None:
        walk = find_l1_entry(xen.frames, vcpu.cr3, va)
        if walk is None:
            return
        kept = upper[va >> L2_SHIFT] = Translation(walk[0], bool(walk[2]))
    entry = xen.frames.words(kept.mfn)[va >> PAGE_SHIFT & ENTRIES - 1]
    if entry & PRESENT:
        writable = kept.writable and bool(entry & RW)
        xen.clock.load(vcpu.pcpu, va, mfn_of(entry), writable=writable)


def held_against_tables(xen: Xen, vcpu: Vcpu, va: int) -> Translation | None:
    """What a CPU has loaded for an address, where its tables do not lead there (any more)."""
    held = xen.clock.loaded[vcpu.pcpu].get(va >> PAGE_SHIFT)
    return None if held == find_page(xen.frames, vcpu.cr3, va) else held


def reached(xen: Xen) -> Callable[[Xen, Vcpu, int], Translation | None]:
    """How this domain's CPUs find where an address leads, without the hypervisor's doing.

    None, or a translation that does not allow what is to be done: see :func:`fault`.
    """
    return _REACHED[xen.paging]


def _reached_directly(xen: Xen, vcpu: Vcpu, va: int) -> Translation | None:
    """By the guest's tables themselves."""
    return find_page(xen.frames, vcpu.cr3, va)


def translate(xen: Xen, vcpu: Vcpu, va: int) -> Translation | None:
    """Where an address leads as far as the CPU can find out itself."""
    return reached(xen)(xen, vcpu, va) if guest_may_use(va) else None


_REACHED = {
    Paging.DIRECT: _reached_directly,
    Paging.SHADOW: shadow.reached,
    Paging.NESTED: nested.reached,
}


def _told(call: object, entered: Trap) -> Activity:
    """Observers hear of the call when it is made and when it has ended."""
    yield Note(Called(call))
    result = yield entered
    yield Note(Called(call, result, ended=True))
    return result


def _run(xen: Xen, vcpu: Vcpu, call: Call, made: Sequence[Costs] = ()) -> Activity:
    """The call, and its continuations.

    ``made``: of a multicall's entries, those that were made at once, by what they cost.

    Source: hypercall.c:hypercall_create_continuation.
    """
    vcpu.softirq = False
    if made:
        result = yield from _do_multicall(xen, vcpu, call, made)  # type: ignore[arg-type]
    else:
        result = yield from _HANDLERS[call.__class__](xen, vcpu, call)
    while result.__class__ is Restart:
        xen.counters["calls", "traps"] += 1
        xen.counters["calls", "continuations"] += 1
        call = result.call
        xen.counters[CONTINUED[call.__class__]] += 1
        # The guest's registers are set to make the call again: on the way there interrupts and
        # the scheduler have their turn.
        yield ENTER_GUEST
        yield ENTER_HYPERVISOR
        yield ENTRY
        vcpu.softirq = False
        result = yield from _HANDLERS[call.__class__](xen, vcpu, call)
    return result


def _unknown(xen: Xen, vcpu: Vcpu, call: Unknown) -> Activity:  # noqa: ARG001 - a handler's signature
    """A number for which there is no hypercall.

    Source: x86_64/entry.S:bad_hypercall (pv/hypercall.c:pv_hypercall).
    """
    yield from ()
    return -ENOSYS


def _no_such_call(call: Call) -> Activity:
    """A guest whose tables are its own has none of these calls, but may make several at once.

    Source: arch/x86/hvm/hvm.c (hvm_hypercall64_table).
    """
    yield from ()
    if isinstance(call, Multicall):
        return tuple(-ENOSYS for _ in call.calls)
    return -ENOSYS


def _do_multicall(xen: Xen, vcpu: Vcpu, call: Multicall, made: Sequence[Costs] = ()) -> Activity:
    """Every entry in turn, whatever became of those before.

    The first ones may have been made at once already: they succeeded, and their costs are left.

    Source: common/multicall.c:do_multicall.
    """
    results = [*call.results, *(0 for _ in made)]
    yield from chain.from_iterable(made)
    counters = xen.counters
    early = xen.abi.checks_preemption_first
    for number, entry in enumerate(call.calls[len(made) :], len(made)):
        if (number or early) and (yield PREEMPT_POINT):
            return Restart(Multicall(call.calls[number:], tuple(results)))
        yield MULTICALL_ENTRY
        result: int | Restart
        if entry.__class__ is Multicall:
            yield from xen.warn(vcpu, "multicall_reentry")
            result = -EINVAL
        else:
            result = yield from _HANDLERS[entry.__class__](xen, vcpu, entry)
        if isinstance(result, Restart):
            rest = (result.call, *call.calls[number + 1 :])
            return Restart(Multicall(rest, tuple(results)))
        results.append(result)
        counters[INSIDE[entry.__class__]] += 1
    return tuple(results)


# The activity of one entry of a call: it returns its result, or a Restart.
_HANDLERS: dict[type, Callable[[Xen, Vcpu, Any], Activity]] = {
    UpdateVaMapping: do_update_va_mapping,
    MmuUpdate: do_mmu_update,
    MmuextOp: do_mmuext_op,
    Multicall: _do_multicall,
    Unknown: _unknown,
}


def new_xen(
    abi: Abi,
    frames: FrameTable,
    m2p: list[tuple[int, int, int]],
    *,
    domid: int,
    debug: bool,
    pcpus: int = 1,
    vcpus: int = 1,
    paging: Paging = Paging.DIRECT,
) -> Xen:
    """A hypervisor with one domain, which owns all of the frames given.

    ``m2p``: (first mfn, pages, first pfn). Only the hardware domain, 0, may map I/O memory.
    """
    domain = Domain(domid, io_capabilities=domid == 0, paging=paging)
    return Xen(abi, frames, domain, m2p, TABLES, debug=debug, pcpus=pcpus, vcpus=vcpus)
