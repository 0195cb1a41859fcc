"""TLB flushes by the guest's own interrupts, as on bare hardware.

A PV kernel flushes by hypercall; what it shares with a bare one are the locks around the flush.
Source: Linux 2.6.37 arch/x86/mm/tlb.c (native_flush_tlb_others).
"""

from models.linux.run.kernel import Cpu
from models.linux.run.mm import Mm
from sim.effects import AWAIT_ACKS, STEP, Activity, Send, Spend


def flush_under_lock(cpu: Cpu, mm: Mm) -> Activity:
    """A change of the tables under page_table_lock, which ends with a flush of the other CPUs."""
    others = tuple(other.number for other in cpu.kernel.cpus if other is not cpu)
    yield mm.page_table_lock.to_take
    yield Send("invalidate_tlb", others, _invalidate, latency="guest_ipi")
    yield AWAIT_ACKS
    yield mm.page_table_lock.to_release


def _invalidate() -> Activity:
    yield STEP
    yield Spend("tlb_flush_local")
