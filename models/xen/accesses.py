"""What a CPU does with an address: stores and loads, through what it holds or finds in tables.

Where the tables do not allow an access, the hypervisor is asked. Source: Intel SDM, volume 3,
chapter 4; xen/arch/x86/traps.c (fixup_page_fault).
"""

from collections.abc import Callable
from functools import partial
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
from models.machine.frames import NOT_RAM
from models.machine.tlb import Translation
from models.machine.walk import find_l1_entry, find_page
from models.xen.calls.at_once import (
    in_one_piece,
    store_at_once,
    time_of,
)
from models.xen.calls.emulation import emulate_at_once, emulate_store
from models.xen.calls.shadow_at_once import shadowed_store_at_once
from models.xen.hypercalls import (
    EmulatedStore,
    Emulation,
    told,
)
from models.xen.pages.flushes import guest_may_use
from models.xen.paging import nested, shadow
from models.xen.state import Vcpu, Xen
from models.xen.versions.paging import Paging
from models.xen.versions.panic import DomainCrash
from sim.effects import (
    DECLINED,
    STEP,
    Activity,
    Choose,
    Declined,
    Spend,
    Trap,
    in_a_stretch,
)

_NESTED = Paging.NESTED  # looking an Enum's member up takes Python code
EMULATION = Spend("ptwr_emulation")
PAGE_FAULT = Spend("pagefault_bounce")
_STALE = Choose("stale translation", ("used", "gone"))


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
        if not in_one_piece(xen) or not emulate_at_once(xen, vcpu, va, values):
            return DECLINED
        xen.counters["page_faults_into_xen", "total"] += values.size
        return time_of(values.size, EMULATION)

    in_all = yield from in_a_stretch(range(values.size), store_one, at_once)
    if isinstance(in_all, Trap):  # else a store that faulted has ended them
        yield in_all


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
        return told(EmulatedStore("shadow" if shadowed else "ptwr", va, value), emulation)
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
