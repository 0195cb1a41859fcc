"""Nested paging (EPT, NPT): the guest's tables are its own, and a second table maps its memory.

The frames that an auto-translated guest knows are numbered by itself; the second table leads from
them to the machine's. Which machine frame that is decides nothing here, so the frame table of such
a guest goes by the guest's own numbers, and the second table only says which pieces of 2 MiB it
holds yet. It is filled on demand, at the first touch of a piece. (Xen fills it when the domain is
made, unless it populates on demand; so these faults are the most there can be.)

What the CPU has loaded stays until the guest flushes it, page by page whatever the size of the
leaf. A miss walks both tables. Source: Xen arch/x86/mm/hap/, mm/p2m-ept.c
(ept_handle_violation), mm/p2m-pod.c; AMD64 Architecture Programmer's Manual, volume 2, section
15.25.
"""

from models.machine.entries import PAGE_SHIFT
from models.machine.frames import NOT_RAM
from models.machine.tlb import Translation
from models.machine.walk import find_leaf
from models.xen.hypercalls import Called, Emulation, Violation
from models.xen.state import Vcpu, Xen
from sim.effects import STEP, Activity, Note, Spend, Trap

_PIECE_SHIFT = 9
_WALK = Spend("walk_2d_extra")
_INVLPG = Spend("invlpg")
_FLUSH = Spend("tlb_flush_local")


def reached(xen: Xen, vcpu: Vcpu, va: int) -> Translation | None:
    """Where an address leads, if the CPU has loaded it."""
    return xen.clock.loaded[vcpu.pcpu].get(va >> PAGE_SHIFT)


def miss(xen: Xen, vcpu: Vcpu, va: int, *, write: bool) -> Activity:
    """The CPU walks the tables for an address that it has not loaded: an :class:`Emulation`.

    ``RETRY``: it is loaded now; else the guest gets a fault of its own. Every table on the way
    and the page itself have to be in the second table.

    Source: Programmer's Manual, section 15.25.
    """
    yield STEP
    path, frame, writable = find_leaf(xen.frames, vcpu.cr3, va)
    xen.counters["nested", "walks"] += 1
    yield _WALK
    for gfn in path if frame is None else (*path, frame):
        if gfn >> _PIECE_SHIFT not in xen.second_table:
            if xen.frames.index(gfn) == NOT_RAM:
                return Emulation.FAULT
            yield from _violation(xen, gfn)
    if frame is None or (write and not writable):
        return Emulation.FAULT
    yield STEP
    xen.clock.load(vcpu.pcpu, va, frame, writable=writable)
    return Emulation.RETRY


def _violation(xen: Xen, gfn: int) -> Activity:
    """An exit for a piece of memory that is to be found first.

    Source: mm/p2m-ept.c:ept_handle_violation.
    """
    violation = Violation(gfn << PAGE_SHIFT)
    if xen.tells_calls:
        yield Note(Called(violation))
    yield Trap(_populate(xen, gfn >> _PIECE_SHIFT), "ept_fault")
    if xen.tells_calls:
        yield Note(Called(violation, 0, ended=True))


def _populate(xen: Xen, piece: int) -> Activity:
    """Enter a piece of 2 MiB into the second table.

    Source: mm/p2m-pod.c:p2m_pod_demand_populate.
    """
    yield STEP
    xen.second_table.add(piece)
    xen.counters["nested", "ept_violations"] += 1


def invlpg(xen: Xen, vcpu: Vcpu, va: int) -> Activity:
    """The guest's own INVLPG, which leaves nothing to the hypervisor."""
    yield STEP
    xen.clock.invalidate(vcpu.pcpu, va)
    yield _INVLPG


def flush_tlb(xen: Xen, vcpu: Vcpu) -> Activity:
    """The guest's own load of CR3."""
    yield STEP
    xen.clock.loaded[vcpu.pcpu].clear()
    yield _FLUSH
