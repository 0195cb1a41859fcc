"""TLB flushes: of this CPU, of all that a domain's translations may be on, for a type change.

Source: xen/arch/x86/flushtlb.c, smp.c:flush_area_mask; mm.c:_get_page_type (the filter).
"""

from collections.abc import Iterable

from models.xen.abi import COUNT, VALIDATED
from models.xen.state import Vcpu, Xen
from sim.effects import STEP, Activity, Spend

FLUSH_LOCAL = Spend("tlb_flush_local")
INVLPG = Spend("invlpg")
TYPE_CHANGE_FLUSH = Spend("type_change_flush")
SHOOTDOWN = Spend("shootdown_base")


def flush_local(xen: Xen, vcpu: Vcpu, *, whole: bool) -> None:
    """Flush this CPU: the body of a step. INVLPG neither ticks the flush clock nor stamps it."""
    if whole:
        xen.clock.flush(vcpu.pcpu)
        xen.counters["tlb", "local_full_flush"] += 1
    else:
        xen.counters["tlb", "local_invlpg"] += 1


def flush_everywhere(xen: Xen, vcpu: Vcpu, *, whole: bool) -> Activity:
    """Flush this CPU and all others on which translations of the domain may be loaded."""
    yield FLUSH_LOCAL if whole else INVLPG
    others = xen.dirty_pcpus - {vcpu.pcpu}
    if others:
        yield from _interrupt(others)
    yield STEP
    flush_local(xen, vcpu, whole=whole)
    if others:
        if whole:
            for pcpu in sorted(others):
                xen.clock.flush(pcpu)
        xen.counters["tlb", "remote_IPI_rounds"] += 1


def flush_for_type_change(
    xen: Xen, vcpu: Vcpu, mfn: int, index: int, *, word: int, want: int
) -> Activity:
    """Flush the CPUs that may still hold a translation made under the page's old type."""
    if xen.trace is not None:
        kept = word & ~(xen.abi.type_mask | VALIDATED | COUNT)
        xen.trace("T", mfn, word, kept | want)
    stamp = xen.frames.tlb_stamp[index]
    stale = [pcpu for pcpu in sorted(xen.dirty_pcpus) if xen.clock.needs_flush(pcpu, stamp)]
    yield TYPE_CHANGE_FLUSH
    if stale != [vcpu.pcpu]:
        yield from _interrupt(set(stale) - {vcpu.pcpu})
        xen.counters["tlb", "remote_IPI_rounds"] += 1
    yield STEP
    xen.counters["misc", "tlb_flushes_forced_by_page_type_change"] += 1
    for pcpu in stale:
        xen.clock.flush(pcpu)
        if pcpu == vcpu.pcpu:
            xen.counters["tlb", "local_full_flush"] += 1


def _interrupt(pcpus: Iterable[int]) -> Activity:
    """The time until the other CPUs have flushed; the caller waits for them."""
    yield SHOOTDOWN
    yield Spend("shootdown_per_extra_cpu", len(set(pcpus)) - 1)
