"""High memory of a 32-bit kernel, in outline: pages that only temporary mappings lead to.

What is kept of it is what Xen sees: a page that the direct map does not have, a mapping that is
left where it was when nobody uses it any more, and a table in such a page, which is neither made
read-only nor pinned by the kernel. Source: Linux 2.6.31 mm/highmem.c (kmap_high, kunmap_high,
flush_all_zero_pkmaps), arch/x86/mm/highmem_32.c (kunmap_atomic), arch/x86/xen/mmu.c
(xen_alloc_ptpage, xen_pin_page).
"""

from typing import TYPE_CHECKING

import numpy as np

from models.linux.run.faults import l1_for
from models.linux.run.mm import slot_of
from models.linux.run.pv_mmu import get_and_clear, set_pte, set_upper
from models.linux.run.switching import flush_tlb_all_here, flush_tlb_everywhere
from models.linux.spinlock import Lock
from models.linux.start_state.p2m import PAGE_KERNEL
from models.machine.entries import ENTRIES, PAGE_SHIFT
from models.xen.accesses import store_page
from models.xen.hypercalls import UpdateVaMapping
from sim.effects import STEP, Activity

if TYPE_CHECKING:
    from models.linux.run.kernel import Cpu, RunningKernel

PKMAP_BASE = 0xFFFF_C900_4000_0000
"""Where high pages are mapped. A 64-bit kernel has no such place: this one is in vmalloc space."""
_ATOMIC_SLOT = 64
"""The first of the CPUs' own slots, which are emptied after each use."""
_ZEROES = np.zeros(ENTRIES, np.uint64)


class HighMemory:
    """The free high pages, and the slots in which some are mapped."""

    def __init__(self, kernel: "RunningKernel") -> None:
        self._kernel = kernel
        self.free: list[int] = []
        """Pages (pfns)."""
        self.mapped: dict[int, int] = {}
        """Slot -> the page (pfn) of its entry."""
        self._used: set[int] = set()
        self._lock = Lock("kmap_lock")

    def take_from_direct_map(self, cpu: "Cpu", pfn: int) -> Activity:
        """Make an ordinary page a high one."""
        kernel = self._kernel
        yield from kernel.direct(cpu, UpdateVaMapping(kernel.va(kernel.mfn(pfn)), 0))
        self.free.append(pfn)

    def kmap(self, cpu: "Cpu", pfn: int) -> Activity:
        """Map a page writable: the address."""
        yield self._lock.to_take
        slot = next(number for number in range(_ATOMIC_SLOT) if number not in self.mapped)
        self.mapped[slot] = pfn
        self._used.add(slot)
        yield from self._set(cpu, slot, self._kernel.mfn(pfn) << PAGE_SHIFT | PAGE_KERNEL)
        yield self._lock.to_release
        return _va(slot)

    def kunmap(self, va: int) -> Activity:
        """The mapping is not used any more. Its entry stays until all such are flushed."""
        yield STEP
        self._used.discard(slot_of(va, 1))

    def flush_unused(self, cpu: "Cpu") -> Activity:
        """Empty the entries that nobody uses, on all CPUs (kmap_flush_unused)."""
        yield self._lock.to_take
        unused = [slot for slot in self.mapped if slot not in self._used]
        for slot in unused:
            table = yield from l1_for(cpu, self._kernel.init_mm, _va(slot))
            yield from get_and_clear(cpu, table, slot_of(_va(slot), 1))
            del self.mapped[slot]
        if unused:
            yield from flush_tlb_everywhere(cpu)
        yield self._lock.to_release

    def clear(self, cpu: "Cpu", pfn: int) -> Activity:
        """Fill a page with zeroes, through a mapping that goes at once (kmap_atomic)."""
        kernel = self._kernel
        slot = _ATOMIC_SLOT + cpu.number
        yield from self._set(cpu, slot, kernel.mfn(pfn) << PAGE_SHIFT | PAGE_KERNEL)
        if not (yield from store_page(kernel.xen, cpu.vcpu, _va(slot), _ZEROES)):
            raise kernel.oops(_va(slot), kernel.mfn(pfn))
        yield from self._set(cpu, slot, 0)
        yield from flush_tlb_all_here(cpu)

    def add_table(self, cpu: "Cpu", l2: int, slot: int, pfn: int) -> Activity:
        """A high page becomes an L1 of a pinned address space (xen_alloc_ptpage, set_pmd).

        No mapping of it is known that would have to be made read-only, so it is just entered.
        """
        kernel = self._kernel
        mfn = kernel.mfn(pfn)
        yield from self.clear(cpu, pfn)
        kernel.pinned.add(mfn)
        if kernel.fixes.high_tables_flush_kmaps:
            yield from self.flush_unused(cpu)
        yield from set_upper(cpu, l2, slot, kernel.table_entry(mfn))

    def remove_table(self, cpu: "Cpu", l2: int, slot: int, pfn: int) -> Activity:
        """And is one no longer."""
        yield from set_upper(cpu, l2, slot, 0)
        self._kernel.pinned.discard(self._kernel.mfn(pfn))
        yield STEP
        self.free.append(pfn)

    def _set(self, cpu: "Cpu", slot: int, value: int) -> Activity:
        init_mm = self._kernel.init_mm
        table = yield from l1_for(cpu, init_mm, _va(slot))
        yield from set_pte(cpu, init_mm, _va(slot), table, slot_of(_va(slot), 1), value)


def _va(slot: int) -> int:
    return PKMAP_BASE + (slot << PAGE_SHIFT)
