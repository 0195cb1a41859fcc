"""Pages that the kernel maps a second time, and the entries that outlive their use.

Source: Linux 2.6.28 mm/vmalloc.c (vm_map_ram, vm_unmap_ram, __purge_vmap_area_lazy).
"""

from models.linux.faults import l1_for
from models.linux.mm import slot_of
from models.linux.p2m import PAGE_KERNEL
from models.linux.pv_mmu import get_and_clear, set_pte
from models.linux.running import Cpu
from models.machine.entries import PAGE_SHIFT
from sim.effects import Activity

_START = 0xFFFF_C900_4000_0000


class VmapSpace:
    """Where the next mapping goes, and the mappings that are given back but not purged."""

    def __init__(self) -> None:
        self._next = _START
        self.lazy: list[tuple[int, int]] = []
        """(address, pages); their entries are there as long as they are not emptied at once."""

    def map_ram(self, cpu: Cpu, pfns: list[int]) -> Activity:
        """vm_map_ram(): the address at which these pages are mapped, writable."""
        kernel = cpu.kernel
        va = self._next
        self._next += len(pfns) + 1 << PAGE_SHIFT
        for number, pfn in enumerate(pfns):
            at = va + (number << PAGE_SHIFT)
            table = yield from l1_for(cpu, kernel.init_mm, at)
            value = kernel.mfn(pfn) << PAGE_SHIFT | PAGE_KERNEL
            yield from set_pte(cpu, kernel.init_mm, at, table, slot_of(at, 1), value)
        return va

    def unmap_ram(self, cpu: Cpu, va: int, pages: int) -> Activity:
        """vm_unmap_ram(): translations are flushed some time later, by :meth:`purge`."""
        if cpu.kernel.fixes.vunmap_clears_at_once:
            yield from self.clear(cpu, va, pages)
        self.lazy.append((va, pages))

    def purge(self, cpu: Cpu) -> Activity:
        """Enough has come together: what was put off is done."""
        areas, self.lazy = self.lazy, []
        for va, pages in areas:
            if not cpu.kernel.fixes.vunmap_clears_at_once:
                yield from self.clear(cpu, va, pages)

    def clear(self, cpu: Cpu, va: int, pages: int) -> Activity:
        """Empty the entries of an area."""
        for number in range(pages):
            at = va + (number << PAGE_SHIFT)
            table = yield from l1_for(cpu, cpu.kernel.init_mm, at)
            yield from get_and_clear(cpu, table, slot_of(at, 1))
