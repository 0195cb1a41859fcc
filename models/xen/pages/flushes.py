"""TLB flushes: of this CPU, of all that a domain's translations may be on, for a type change.

A flush of everything ticks the flush clock and is noted there; INVLPG, of a single page, does
neither. Source: xen/arch/x86/flushtlb.c, smp.c:flush_area_mask; mm.c:_get_page_type (the
filter), vcpumask_to_pcpumask.
"""

from collections.abc import Set as AbstractSet

from models.xen.state import Vcpu, Xen
from models.xen.words import COUNT, VALIDATED
from sim.effects import AWAIT_ACKS, STEP, Acquire, Activity, Release, Send, Spend

FLUSH_LOCAL = Spend("tlb_flush_local")
INVLPG = Spend("invlpg")
TYPE_CHANGE_FLUSH = Spend("type_change_flush")
SHOOTDOWN = Spend("shootdown_base")
FLUSHED_FOR_ANOTHER = Spend("flush_ipi_target")


def guest_may_use(va: int) -> bool:
    """Is the address outside the part of the address space that is Xen's?

    Source: include/asm-x86/uaccess.h:__addr_ok.
    """
    return va < 1 << 47 or va >= 0xFFFF880000000000


def pcpus_of(xen: Xen, bitmap: int) -> set[int] | None:
    """The CPUs of the vCPUs that a bitmap in the guest's memory names; None if unreadable.

    Source: mm.c:vcpumask_to_pcpumask.
    """
    mask = xen.vcpu_bitmaps.get(bitmap)
    if mask is None:
        return None
    return {vcpu.pcpu for vcpu in xen.vcpus if mask >> vcpu.number & 1}


def flush_local(xen: Xen, vcpu: Vcpu, page: int | None = None) -> None:
    """Flush this CPU, or one page of it (an address): the body of a step.

    Source: flushtlb.c:flush_area_local.
    """
    if page is None or guest_may_use(page) or not xen.abi.checks_address:
        _flush_one(xen, vcpu.pcpu, page)


def _flush_one(xen: Xen, pcpu: int, page: int | None) -> None:
    """Flush one CPU, or one page of it: each counts for itself, whoever asked for it.

    Source: flushtlb.c:flush_area_local, which the handler of the interrupt calls, too.
    """
    if page is None:
        xen.clock.flush(pcpu)
        xen.counters["tlb", "local_full_flush"] += 1
    else:
        xen.clock.invalidate(pcpu, page)
        xen.counters["tlb", "local_invlpg"] += 1


def flush_everywhere(xen: Xen, vcpu: Vcpu, page: int | None = None) -> Activity:
    """Flush all CPUs on which translations of the domain may be loaded.

    Source: smp.c:flush_area_mask.
    """
    return flush_pcpus(xen, vcpu, xen.dirty_pcpus, page)


def flush_pcpus(xen: Xen, vcpu: Vcpu, pcpus: AbstractSet[int], page: int | None = None) -> Activity:
    """Flush these CPUs, this one itself and the others by interrupt, or one page of them.

    Source: smp.c:flush_area_mask.
    """
    if page is not None and xen.abi.checks_address and not guest_may_use(page):
        return
    others = pcpus - {vcpu.pcpu}
    if vcpu.pcpu in pcpus:
        yield FLUSH_LOCAL if page is None else INVLPG
    if others:
        yield from _interrupt(xen, others)
    yield STEP
    if vcpu.pcpu in pcpus:
        flush_local(xen, vcpu, page)
    for pcpu in sorted(others):
        _flush_one(xen, pcpu, page)
    if others:
        xen.counters["tlb", "remote_IPI_rounds"] += 1


def trace_type_change(xen: Xen, mfn: int, word: int, want: int) -> None:
    """Tell of a page that takes another type, for which CPUs have to be flushed."""
    if xen.trace is not None:
        kept = word & ~(xen.abi.type_mask | VALIDATED | COUNT)
        xen.trace("T", mfn, word, kept | want)


def flush_for_type_change(xen: Xen, vcpu: Vcpu, index: int) -> Activity:
    """Flush the CPUs that may still hold a translation made under the page's old type.

    Source: mm.c:_get_page_type.
    """
    stamp = xen.frames.tlb_stamp[index]
    stale = {pcpu for pcpu in xen.dirty_pcpus if xen.clock.needs_flush(pcpu, stamp)}
    yield TYPE_CHANGE_FLUSH
    others = stale - {vcpu.pcpu}
    if others:
        yield from _interrupt(xen, others)
        xen.counters["tlb", "remote_IPI_rounds"] += 1
    yield STEP
    xen.counters["misc", "tlb_flushes_forced_by_page_type_change"] += 1
    for pcpu in sorted(stale):
        _flush_one(xen, pcpu, None)


def _interrupt(xen: Xen, pcpus: AbstractSet[int]) -> Activity:
    """Interrupt the other CPUs, whoever runs there, and wait for them: one CPU at a time does.

    The price of a shootdown contains the wait for CPUs that answer at once; what the caller spins
    beyond it comes on top.

    Source: smp.c:flush_area_mask (flush_lock).
    """
    yield Acquire(xen.flush_lock)
    yield Send("flush", tuple(sorted(pcpus)), _answer, hypervisor=True)
    yield SHOOTDOWN
    yield Spend("shootdown_per_extra_cpu", len(pcpus) - 1)
    yield AWAIT_ACKS
    yield Release(xen.flush_lock)


def _answer() -> Activity:
    """The work of a CPU that is asked to flush; what it forgets, it forgets in the caller's step.

    Source: smp.c:invalidate_interrupt.
    """
    yield FLUSHED_FOR_ANOTHER
