"""Which address space a CPU has loaded, and the flushes that go by it.

Source: Linux 6.1 arch/x86/mm/tlb.c, arch/x86/xen/mmu_pv.c (xen_write_cr3, xen_flush_tlb*).
"""

from functools import partial

from models.linux.run.kernel import Cpu, Lazy
from models.linux.run.mm import Mm
from models.linux.run.pv_mmu import (
    batch,
    enter_lazy,
    extend,
    flush,
    issue,
    leave_lazy_mmu,
    queue,
    when_done,
)
from models.xen.hypercalls import MmuextOp, Unknown
from models.xen.words import (
    INVLPG_LOCAL,
    INVLPG_MULTI,
    NEW_BASEPTR,
    NEW_USER_BASEPTR,
    TLB_FLUSH_LOCAL,
    TLB_FLUSH_MULTI,
)
from sim.effects import AWAIT_ACKS, IRQS_OFF, IRQS_ON, STEP, Activity, Send, Spend

GARBAGE = Unknown(0xAAAA_AAAA)
"""An entry that nobody has filled in."""
FLUSH_CEILING = 33
"""So many are flushed one by one, more by a full flush (tlb_single_page_flush_ceiling)."""
_STATE = Spend("pte_write_plain")
"""A store to the CPU's own state."""
_MASKS_VA = 0xFFFF_C900_0000_0000
"""Where the bitmaps of vCPUs lie, which MMUEXT_*_MULTI point to: in each CPU's own buffer."""


def write_cr3(cpu: Cpu, mm: Mm, left: Mm | None = None) -> Activity:
    """Load both bases of an address space, in one hypercall (xen_write_cr3).

    ``left``: an address space that this CPU leaves with it, and its mask when that has been done.
    """
    yield from batch(cpu)
    cpu.cr3 = mm.pgd
    yield from extend(cpu, MmuextOp(((NEW_BASEPTR, mm.pgd, 0),)))
    yield from when_done(cpu, partial(_loaded, cpu, mm.pgd, left))
    yield from extend(cpu, MmuextOp(((NEW_USER_BASEPTR, mm.user_pgd, 0),)))
    yield from issue(cpu, Lazy.CPU)


def _loaded(cpu: Cpu, pgd: int, left: Mm | None) -> Activity:
    """The base is loaded: xen_set_current_cr3, and the old address space's flushes stop."""
    yield STEP
    cpu.current_cr3 = pgd
    if left is not None and cpu.loaded_mm is not left:
        left.cpumask.discard(cpu.number)


def switch_mm(cpu: Cpu, mm: Mm) -> Activity:
    """Load another address space, or see that nothing is to be done (switch_mm_irqs_off)."""
    kernel = cpu.kernel
    before = cpu.loaded_mm
    yield STEP
    was_lazy, cpu.tlb_is_lazy = cpu.tlb_is_lazy, False
    yield _STATE  # first the state, then the address space: an interrupt can come between
    yield STEP
    if before is mm:
        # A flush by hypercall does not tell this CPU's kernel: after lazy time it loads anew.
        if was_lazy and cpu.tlb_gen != mm.tlb_gen:
            cpu.tlb_gen = mm.tlb_gen
            yield from write_cr3(cpu, mm)
        return
    left = None if before is kernel.init_mm else before
    if left is not None and not kernel.fixes.mask_left_after_cr3:
        left.cpumask.discard(cpu.number)
        left = None
    if mm is not kernel.init_mm:
        mm.cpumask.add(cpu.number)
    cpu.tlb_gen = mm.tlb_gen
    cpu.loaded_mm = mm
    yield from write_cr3(cpu, mm, left)


def leave_mm(cpu: Cpu) -> Activity:
    """Load the kernel's own address space."""
    if cpu.loaded_mm is not cpu.kernel.init_mm:
        yield from switch_mm(cpu, cpu.kernel.init_mm)


def context_switch(cpu: Cpu, mm: Mm | None) -> Activity:
    """Switch to a task; None: to a kernel thread, which borrows what is loaded.

    Lazy CPU mode lasts from before the base is loaded to the end of the switch, which is what
    puts the two bases into the same hypercall as whatever else the switch needs. Source:
    kernel/sched/core.c:context_switch, paravirt_start_context_switch, xen_end_context_switch.
    """
    if mm is None:
        cpu.tlb_is_lazy = True
        return
    before = cpu.irqs_off
    cpu.irqs_off = True
    yield IRQS_OFF
    if cpu.lazy is Lazy.MMU and cpu.kernel.fixes.switch_leaves_lazy_mmu:
        # The task goes on in lazy mode where it runs next (TIF_LAZY_MMU_UPDATES).
        yield from leave_lazy_mmu(cpu)
    enter_lazy(cpu, Lazy.CPU)
    yield from switch_mm(cpu, mm)
    yield from flush(cpu)
    cpu.lazy = Lazy.NONE
    cpu.irqs_off = before
    if not before:
        yield IRQS_ON


def flush_tlb_range(cpu: Cpu, mm: Mm, start: int, end: int, stride_shift: int = 12) -> Activity:
    """Flush [start, end) of an address space, or all of it where that is long.

    Source: flush_tlb_mm_range, xen_flush_tlb_multi.
    """
    yield STEP
    mm.tlb_gen += 1
    whole = end - start > FLUSH_CEILING << stride_shift
    if mm.cpumask - {cpu.number}:
        yield from _flush_multi(cpu, mm, None if whole or end - start > 4096 else start)
    elif cpu.loaded_mm is mm and not (cpu.tlb_is_lazy):
        cpu.tlb_gen = mm.tlb_gen
        if whole:
            yield from _operation(cpu, TLB_FLUSH_LOCAL)
            return
        for va in range(start, end, 1 << stride_shift):
            yield from _operation(cpu, INVLPG_LOCAL, va)


def flush_tlb_all_here(cpu: Cpu) -> Activity:
    """A full flush of this CPU (__flush_tlb_all): also what the others' interrupt makes it do."""
    yield from _operation(cpu, TLB_FLUSH_LOCAL)


def flush_tlb_everywhere(cpu: Cpu) -> Activity:
    """A full flush of all CPUs, each by itself (flush_tlb_kernel_range)."""
    others = [other for other in cpu.kernel.cpus if other is not cpu]
    for other in others:
        handler = partial(flush_tlb_all_here, other)
        yield Send("do_flush_tlb_all", (other.number,), handler, latency="guest_ipi")
    yield from flush_tlb_all_here(cpu)
    if others:
        yield AWAIT_ACKS


def flush_tlb_mm(cpu: Cpu, mm: Mm) -> Activity:
    """Flush all of an address space."""
    yield from flush_tlb_range(cpu, mm, 0, 1 << 47)


def _flush_multi(cpu: Cpu, mm: Mm, va: int | None) -> Activity:
    """A flush on all CPUs of the mask, by one hypercall and no interrupt of the guest's own.

    Nobody's kernel takes note of it, this CPU's neither.
    """
    mask = _MASKS_VA + 4096 * cpu.number
    if not cpu.kernel.fixes.flush_tests_mask_first:
        yield from _flush_multi_tested_late(cpu, mm, va, mask)
        return
    cpu.kernel.xen.vcpu_bitmaps[mask] = sum(1 << number for number in mm.cpumask)
    if va is None:
        yield from _operation(cpu, TLB_FLUSH_MULTI, 0, mask)
    else:
        yield from _operation(cpu, INVLPG_MULTI, va, mask)


def _flush_multi_tested_late(cpu: Cpu, mm: Mm, va: int | None, mask: int) -> Activity:
    """The same before 694aa960608d: the entry is there before it is known whether it is needed.

    Who has left the address space meanwhile leaves the mask empty, and the entry, which holds what
    was in the buffer before, is made as it is. Source: Linux 2.6.37 arch/x86/xen/mmu.c
    (xen_flush_tlb_others), multicalls.c (MC_DEBUG fills entries with 0xaa).
    """
    yield from batch(cpu)
    yield Spend("multicall_queue_entry")
    yield STEP
    others = mm.cpumask - {cpu.number}
    cpu.kernel.xen.vcpu_bitmaps[mask] = sum(1 << number for number in others)
    if not others:
        yield from queue(cpu, GARBAGE)
    elif va is None:
        yield from queue(cpu, MmuextOp(((TLB_FLUSH_MULTI, 0, mask),)))
    else:
        yield from queue(cpu, MmuextOp(((INVLPG_MULTI, va, mask),)))
    yield from issue(cpu, Lazy.MMU)


def _operation(cpu: Cpu, command: int, first: int = 0, second: int = 0) -> Activity:
    yield from batch(cpu)
    yield from queue(cpu, MmuextOp(((command, first, second),)))
    yield from issue(cpu, Lazy.MMU)
