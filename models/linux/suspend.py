"""What a guest does to its page tables before it is saved.

Source: Linux 2.6.26 arch/x86/xen/mmu.c (xen_mm_pin_all, xen_mm_unpin_all).
"""

from models.linux.pinning import pin_tables
from models.linux.running import Cpu
from sim.effects import Activity


def pin_all(cpu: Cpu) -> Activity:
    """Pin every pgd on the list that is not pinned, so that the tools find its frame numbers.

    All other CPUs stand still (stop_machine).
    """
    kernel = cpu.kernel
    yield kernel.pgd_lock.to_take
    for mm in list(kernel.pgd_list):
        if mm.pgd not in kernel.pinned:
            walked = mm if kernel.fixes.suspend_walks_listed_pgd else kernel.init_mm
            yield from pin_tables(cpu, mm, walked.pgd)
    yield kernel.pgd_lock.to_release
