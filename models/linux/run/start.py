"""From a booted kernel to one that runs processes: what else its page tables have by then."""

from typing import TYPE_CHECKING

from models.linux.run.kernel import Cpu, RunningKernel
from models.linux.run.pv_mmu import alloc_ptpage, set_p4d
from models.linux.runtime_era import RuntimeEra
from models.machine.entries import PAGE_SHIFT
from models.xen.hypercalls import MmuextOp
from models.xen.words import NEW_BASEPTR, PIN_L3_TABLE
from sim.effects import Activity

if TYPE_CHECKING:
    from models.linux.boot.guest import Guest

VMALLOC_SLOTS = range(402, 466)
"""L4 slots of vmalloc space, all filled at boot (preallocate_vmalloc_pages, since 5.8)."""
OTHER_SLOTS = (468, 508, 510)
"""vmemmap, the CPU entry area, the espfix stacks. With the direct map and the kernel image these
are the 69 entries that the recordings find present in a kernel's half."""


def start(guest: "Guest", era: RuntimeEra) -> Activity:
    """The running kernel; all its CPUs are idle on the kernel's own address space.

    Source: Linux 6.1 Documentation/x86/x86_64/mm.rst, arch/x86/mm/init_64.c.
    """
    kernel = RunningKernel(guest, era)
    boot_cpu = kernel.cpus[0]
    kernel.pinned.update(_tables_of(kernel))
    for slot in (*VMALLOC_SLOTS, *OTHER_SLOTS):
        yield from _add_l3(boot_cpu, slot)
    yield from _vsyscall(boot_cpu)
    for cpu in kernel.cpus[1:]:
        rc = yield from kernel.direct(cpu, MmuextOp(((NEW_BASEPTR, kernel.init_l4, 0),)))
        assert rc == 0
        kernel.xen.dirty_pcpus.add(cpu.vcpu.pcpu)
    kernel.counts.clear()
    kernel.plain_stores = 0
    kernel.xen.counters.clear()
    return kernel


def _tables_of(kernel: RunningKernel) -> set[int]:
    """All tables of the kernel's own address space (xen_mark_pinned)."""
    from models.linux.run.mm import present_tables

    tables = {kernel.init_l4}
    level = [kernel.init_l4]
    for _ in range(3):
        level = [mfn for table in level for mfn in present_tables(kernel, table)]
        tables.update(level)
    return tables


def _add_l3(cpu: Cpu, slot: int) -> Activity:
    kernel = cpu.kernel
    table = yield from kernel.alloc_table(cpu)
    yield from alloc_ptpage(cpu, kernel.init_mm, table, 3)
    yield from set_p4d(cpu, kernel.init_mm, slot, kernel.table_entry(table))


def _vsyscall(cpu: Cpu) -> Activity:
    """level3_user_vsyscall, read-only and pinned as an L3 (xen_setup_kernel_pagetable)."""
    kernel = cpu.kernel
    table = yield from kernel.alloc_table(cpu)
    yield from alloc_ptpage(cpu, kernel.init_mm, table, 3)
    rc = yield from kernel.direct(cpu, MmuextOp(((PIN_L3_TABLE, table, 0),)))
    assert rc == 0, f"PIN_L3 of {table << PAGE_SHIFT:x} gave {rc}"
    kernel.vsyscall_l3 = table
