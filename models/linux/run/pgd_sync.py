"""Entries of the kernel's half that are filled late, and how they get into every pgd.

Source: Linux 2.6.38 arch/x86/mm/init_64.c (sync_global_pgds), arch/x86/mm/fault.c
(vmalloc_sync_all, vmalloc_fault); arch/x86/mm/pgtable.c (pgd_list).
"""

from models.linux.crash import GuestCrash
from models.linux.run import all_pgds
from models.linux.run.kernel import Cpu
from models.linux.run.mm import Mm, entry_at
from models.linux.run.pv_mmu import alloc_ptpage, flush, set_p4d
from models.machine.entries import PRESENT
from sim.effects import IRQS_OFF, IRQS_ON, STEP, Activity

LATE_SLOTS = range(274, 400)
"""L4 slots of the direct map beyond the first 512 GiB: filled when memory is added there."""


def add_kernel_slot(cpu: Cpu, slot: int) -> Activity:
    """A new L3 of the kernel's own address space, which other pgds do not have yet."""
    kernel = cpu.kernel
    table = yield from kernel.alloc_table(cpu)
    yield kernel.init_mm.page_table_lock.to_take
    yield from alloc_ptpage(cpu, kernel.init_mm, table, 3)
    yield from set_p4d(cpu, kernel.init_mm, slot, kernel.table_entry(table))
    yield kernel.init_mm.page_table_lock.to_release


def sync_global_pgds(cpu: Cpu, slot: int) -> Activity:
    """Copy an entry of the kernel's half into every pgd on the list.

    Since 2.6.38 each pgd is changed under its mm's page_table_lock, inside pgd_lock.
    """
    kernel = cpu.kernel
    before = cpu.irqs_off
    if not kernel.fixes.sync_leaves_irqs_on:
        cpu.irqs_off = True
        yield IRQS_OFF
    locks = kernel.fixes.sync_takes_page_table_lock
    yield from all_pgds.sync_global_pgds(cpu, slot, takes_page_table_lock=locks)
    if cpu.irqs_off and not before:
        cpu.irqs_off = False
        yield IRQS_ON


def vmalloc_fault(cpu: Cpu, mm: Mm, slot: int) -> Activity:
    """A fault in the kernel's half: the pgd that is loaded lacks an entry that the kernel's has.

    In lazy MMU mode the entry is only queued unless it is flushed at once.
    """
    kernel = cpu.kernel
    yield STEP
    wanted = entry_at(kernel, kernel.init_l4, slot)
    if not entry_at(kernel, mm.pgd, slot) & PRESENT:
        yield from set_p4d(cpu, mm, slot, wanted)
        if kernel.fixes.vmalloc_fault_flushes:
            yield from flush(cpu)
    yield STEP
    if entry_at(kernel, mm.pgd, slot) != wanted:
        crash = GuestCrash(
            "bug", f"slot {slot} of the pgd of {mm.name} is not what was just written to it"
        )
        crash.why = f"{cpu.buffer.requests} updates wait in the multicall buffer"
        crash.console = ["kernel BUG at arch/x86/mm/fault.c:396!"]
        raise crash
