"""Kernel stacks in vmalloc space: four pages, mapped when no CPU has a stack to spare.

Source: Linux 6.1 kernel/fork.c (alloc_thread_stack_node, free_thread_stack), mm/vmalloc.c
(vmap_pages_pte_range, vunmap_pte_range).
"""

from typing import TYPE_CHECKING

from models.linux.faults import l1_for
from models.linux.mm import slot_of
from models.linux.p2m import PAGE_KERNEL
from models.linux.pv_mmu import get_and_clear, set_pte
from models.machine.entries import PAGE_SHIFT
from sim.effects import Activity

if TYPE_CHECKING:
    from models.linux.running import Cpu, RunningKernel

STACK_PAGES = 4
_VMALLOC_START = 0xFFFF_C900_0000_0000


class KernelStacks:
    """Where the next stack goes, and the ones that are in use."""

    def __init__(self, kernel: "RunningKernel") -> None:
        self._kernel = kernel
        self._next = _VMALLOC_START
        self._used: list[tuple[int, list[int]]] = []

    def map(self, cpu: "Cpu") -> Activity:
        """A stack for a new task, at addresses that were not used before."""
        kernel = self._kernel
        va = self._next
        self._next += 2 * STACK_PAGES << PAGE_SHIFT  # vmalloc leaves a guard page, and aligns
        pages = [kernel.alloc_page() for _ in range(STACK_PAGES)]
        for number, pfn in enumerate(pages):
            at = va + (number << PAGE_SHIFT)
            table = yield from l1_for(cpu, kernel.init_mm, at)
            value = kernel.mfn(pfn) << PAGE_SHIFT | PAGE_KERNEL
            yield from set_pte(cpu, kernel.init_mm, at, table, slot_of(at, 1), value)
        self._used.append((va, pages))

    def unmap(self, cpu: "Cpu") -> Activity:
        """The oldest stack is given back; translations of it are flushed some time later.

        The guard page's entry is emptied as well, though it is empty (free_unmap_vmap_area): the
        hypervisor is asked, finds nothing to change, and that is all.
        """
        kernel = self._kernel
        va, pages = self._used.pop(0)
        for number in range(STACK_PAGES + 1):
            at = va + (number << PAGE_SHIFT)
            table = yield from l1_for(cpu, kernel.init_mm, at)
            yield from get_and_clear(cpu, table, slot_of(at, 1))
        for pfn in pages:
            kernel.free_page(pfn)
