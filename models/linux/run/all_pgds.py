"""What is done to every address space there is, by way of pgd_list.

Source: Linux 6.1 arch/x86/mm/init_64.c:sync_global_pgds_l4, arch/x86/xen/mmu_pv.c
(xen_mm_pin_all); commits 617d34d9e5d8, 0e91398f2a5d.
"""

from models.linux.run.kernel import Cpu
from models.linux.run.mm import Mm, entry_at
from models.linux.run.pinning import pin_tables
from models.linux.run.pv_mmu import set_p4d
from models.machine.entries import PAGE_SHIFT, PRESENT
from models.xen.hypercalls import MmuUpdate
from sim.effects import STEP, Activity


def sync_global_pgds(
    cpu: Cpu, slot: int, *, takes_page_table_lock: bool = True, always_asks_xen: bool = False
) -> Activity:
    """Copy an entry of the kernel's half into every pgd that lacks it.

    ``takes_page_table_lock``: not while the pgd is being pinned or unpinned (617d34d9e5d8). Without
    it only pgd_lock is held, which pinning does not take. ``always_asks_xen``: by a hypercall
    whether the pgd is pinned or not, as Xen's own kernels of 2.6.18 did.
    """
    kernel = cpu.kernel
    yield kernel.pgd_lock.to_take
    for mm in list(kernel.pgd_list):
        if takes_page_table_lock:
            yield mm.page_table_lock.to_take
        yield STEP
        if not entry_at(kernel, mm.pgd, slot) & PRESENT:
            entry = entry_at(kernel, kernel.init_l4, slot)
            if always_asks_xen:
                yield from _ask_xen(cpu, mm, slot, entry)
            else:
                yield from set_p4d(cpu, mm, slot, entry)
        if takes_page_table_lock:
            yield mm.page_table_lock.to_release
    yield kernel.pgd_lock.to_release


def _ask_xen(cpu: Cpu, mm: Mm, slot: int, entry: int) -> Activity:
    """An entry of the kernel's half, by machine address (xen_l4_entry_update)."""
    call = MmuUpdate(((mm.pgd << PAGE_SHIFT | slot << 3, entry),))
    rc = yield from cpu.kernel.direct(cpu, call)
    if rc:
        cpu.kernel.refuse(call, rc)


def pin_all(cpu: Cpu) -> Activity:
    """Before a suspend: pin what is not pinned; the address spaces that this concerned.

    Everybody else stands still (stop_machine), so only pgd_lock is taken. What is pinned holds
    machine addresses that the toolstack knows to replace.
    """
    kernel = cpu.kernel
    saved: list[Mm] = []
    yield kernel.pgd_lock.to_take
    for mm in list(kernel.pgd_list):
        if mm.pgd not in kernel.pinned:
            # Before 86bbc2c235e5 it was the kernel's own pgd that was walked.
            listed = kernel.fixes.suspend_walks_listed_pgd
            yield from pin_tables(cpu, mm, mm.pgd if listed else kernel.init_l4)
            saved.append(mm)
    yield kernel.pgd_lock.to_release
    return saved
