"""Pinning and unpinning whole address spaces: at fork and exec, and at exit.

Source: Linux 6.1 arch/x86/xen/mmu_pv.c, __xen_pgd_pin, __xen_pgd_unpin, xen_exit_mmap.
"""

from functools import partial

from models.linux.crash import GuestCrash
from models.linux.run.kernel import Cpu
from models.linux.run.mm import Mm, tables_below
from models.linux.run.pv_mmu import batch, direct_map_leaf, extend, flush, issue, queue, when_done
from models.linux.spinlock import Lock
from models.xen.hypercalls import MmuextOp
from models.xen.words import (
    PIN_L1_TABLE,
    PIN_L4_TABLE,
    UNPIN_TABLE,
    UVMF_TLB_FLUSH,
)
from sim.effects import AWAIT_ACKS, STEP, Activity, Send


def pin_mm(cpu: Cpu, mm: Mm) -> Activity:
    """Make all tables of an address space read-only and pin it (xen_enter_mmap)."""
    yield mm.page_table_lock.to_take
    yield from pin_tables(cpu, mm, mm.pgd)
    yield mm.page_table_lock.to_release


def pin_tables(cpu: Cpu, mm: Mm, walked: int) -> Activity:
    """The same for somebody who has made sure that nobody changes them (__xen_pgd_pin).

    ``walked``: the pgd whose tables are met on the way, the address space's own.
    """
    yield from batch(cpu)
    for level, mfn in tables_below(cpu.kernel, walked):
        yield from _pin_page(cpu, mfn, level)
    yield from extend(cpu, MmuextOp(((PIN_L4_TABLE, mm.pgd, 0),)))
    if mm.user_pgd:
        yield from _pin_page(cpu, mm.user_pgd, 4)
        yield from extend(cpu, MmuextOp(((PIN_L4_TABLE, mm.user_pgd, 0),)))
    yield from issue(cpu)


def _pin_page(cpu: Cpu, mfn: int, level: int) -> Activity:
    """One table: read-only; an L1 is pinned at once, its lock held until that has been done."""
    kernel = cpu.kernel
    if mfn in kernel.pinned:
        return
    kernel.pinned.add(mfn)
    # The slot of the first entry is taken before the lock, so a flush can fall between the two.
    if not cpu.buffer.has_room(0):
        yield from flush(cpu)
    ptl = None
    if level == 1 and kernel.fixes.pin_takes_pte_locks:
        ptl = kernel.ptl(mfn)
        yield ptl.to_take
    flags = UVMF_TLB_FLUSH if level == 4 else 0
    yield from queue(cpu, direct_map_leaf(cpu, mfn, writable=False, flags=flags))
    if level == 1:
        yield from extend(cpu, MmuextOp(((PIN_L1_TABLE, mfn, 0),)))
    if ptl is not None:
        yield from when_done(cpu, partial(_unlock, ptl))


def _unlock(lock: Lock) -> Activity:
    yield lock.to_release


def unpin_mm(cpu: Cpu, mm: Mm) -> Activity:
    """Give all tables of an address space back as ordinary pages (__xen_pgd_unpin)."""
    kernel = cpu.kernel
    yield from batch(cpu)
    yield from extend(cpu, MmuextOp(((UNPIN_TABLE, mm.pgd, 0),)))
    if mm.user_pgd:
        yield from extend(cpu, MmuextOp(((UNPIN_TABLE, mm.user_pgd, 0),)))
        yield from _unpin_page(cpu, mm.user_pgd, 4)
    for level, mfn in tables_below(kernel, mm.pgd):
        yield from _unpin_page(cpu, mfn, level)
    yield from issue(cpu)


def _unpin_page(cpu: Cpu, mfn: int, level: int) -> Activity:
    kernel = cpu.kernel
    if mfn not in kernel.pinned:
        return
    kernel.pinned.discard(mfn)
    ptl = None
    if level == 1 and kernel.fixes.unpin_takes_pte_locks:
        ptl = kernel.ptl(mfn)
        yield ptl.to_take
    if level == 1:
        yield from extend(cpu, MmuextOp(((UNPIN_TABLE, mfn, 0),)))
    flags = UVMF_TLB_FLUSH if level == 4 else 0
    yield from queue(cpu, direct_map_leaf(cpu, mfn, writable=True, flags=flags))
    if ptl is not None:
        yield from when_done(cpu, partial(_unlock, ptl))


def unpin_at_exit(cpu: Cpu, mm: Mm) -> Activity:
    """Get every CPU off the address space, then unpin it (xen_exit_mmap)."""
    yield from _drop_mm_ref(cpu, mm)
    yield mm.page_table_lock.to_take
    # In execve()'s error path it was never pinned.
    if mm.pgd in cpu.kernel.pinned or not cpu.kernel.fixes.exit_tests_pinned:
        yield from unpin_mm(cpu, mm)
    yield mm.page_table_lock.to_release


def _drop_mm_ref(cpu: Cpu, mm: Mm) -> Activity:
    """No CPU may have the pgd loaded (xen_drop_mm_ref): the others are sent an interrupt."""
    yield from _drop_on_this_cpu(cpu, mm)
    yield STEP
    told = cpu.kernel.fixes.exit_asks_current_cr3
    others = [
        other
        for other in cpu.kernel.cpus
        if other is not cpu and (other.current_cr3 if told else other.cr3) == mm.pgd
    ]
    cpu.kernel.drop_interrupts += len(others)
    for other in others:
        yield Send(
            "drop_mm_ref",
            (other.number,),
            partial(_drop_by_interrupt, other, mm),
            latency="guest_ipi",
        )
    if others:
        yield AWAIT_ACKS


def _drop_on_this_cpu(cpu: Cpu, mm: Mm) -> Activity:
    from models.linux.run.switching import leave_mm

    if cpu.loaded_mm is mm:
        yield from leave_mm(cpu)
    if cpu.current_cr3 == mm.pgd:
        yield from flush(cpu)


def _drop_by_interrupt(cpu: Cpu, mm: Mm) -> Activity:
    """What another CPU does for it (drop_mm_ref_this_cpu, before 4.13 drop_other_mm_ref).

    By now it may be about to run in another address space: leave_mm() is only for one that is
    borrowed.
    """
    from models.linux.run.switching import leave_mm, write_cr3

    yield STEP
    if cpu.loaded_mm is mm and (cpu.tlb_is_lazy or not cpu.kernel.fixes.leave_mm_asks_again):
        if not cpu.tlb_is_lazy:
            crash = GuestCrash("bug", f"leave_mm() on CPU {cpu.number}, which has left lazy mode")
            crash.console = ["kernel BUG at arch/x86/mm/tlb.c:61!"]
            raise crash
        yield from leave_mm(cpu)
    if cpu.current_cr3 == mm.pgd:
        yield from flush(cpu)
    if cpu.current_cr3 == mm.pgd:
        yield from write_cr3(cpu, cpu.kernel.init_mm)
        yield from flush(cpu)
