"""Kernel mappings in vmalloc space: made page by page, and given up sooner or later.

Every page that is mapped here has two leaves, this one and the direct map's. Under Xen a leaf that
outlives its use keeps its page from becoming a page table. Source: Linux 6.1 mm/vmalloc.c
(vmap_pages_pte_range, free_unmap_vmap_area, __purge_vmap_area_lazy); commits d05fdf316067,
64141da58724.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from models.linux.run.faults import l1_for
from models.linux.run.mm import slot_of
from models.linux.run.pv_mmu import get_and_clear, set_pte
from models.linux.run.switching import flush_tlb_everywhere
from models.linux.start_state.p2m import PAGE_KERNEL
from models.machine.entries import PAGE_SHIFT
from sim.effects import STEP, Activity

if TYPE_CHECKING:
    from models.linux.run.kernel import Cpu, RunningKernel

START = 0xFFFF_C900_0000_0000
LAZY_PAGES = 1 << 13
"""Pages that may wait for a flush on each doubling of the CPUs (lazy_max_pages: 32 MiB)."""


class Vmalloc:
    """What is mapped, and what was given up since the last flush."""

    def __init__(
        self,
        kernel: "RunningKernel",
        *,
        clears_at_once: bool = True,
        lazy_pages: int | None = None,
    ) -> None:
        """``lazy_pages``: how many may wait for a flush; None: as many as the kernel lets."""
        self._kernel = kernel
        self._lazy_pages = (
            LAZY_PAGES * len(kernel.cpus).bit_length() if lazy_pages is None else lazy_pages
        )
        self.clears_at_once = clears_at_once
        """Leaves are emptied when a mapping is given up, not when it is flushed (64141da58724)."""
        self.mapped: dict[int, Sequence[int]] = {}
        """Address -> the pages (pfns) mapped from there on."""
        self._next = START
        self._waiting: list[tuple[int, int, bool]] = []
        """(address, pages with the guard, emptied already) that wait for a flush."""
        self._reusable: dict[int, list[int]] = {}
        """By pages with the guard, the addresses that were flushed since they were given up."""

    @property
    def waiting_pages(self) -> int:
        """Pages whose addresses may not be used again yet."""
        return sum(pages for _, pages, _ in self._waiting)

    def map(self, cpu: "Cpu", pages: Sequence[int]) -> Activity:
        """Map pages (pfns) at addresses that follow each other; the first of these."""
        kernel = self._kernel
        flushed = self._reusable.get(len(pages) + 1)
        if flushed:
            va = flushed.pop(0)
        else:
            va = self._next
            self._next += 2 * len(pages) << PAGE_SHIFT  # a guard page, and alignment
        for number, pfn in enumerate(pages):
            at = va + (number << PAGE_SHIFT)
            table = yield from l1_for(cpu, kernel.init_mm, at)
            value = kernel.mfn(pfn) << PAGE_SHIFT | PAGE_KERNEL
            # No lock: each entry of init_mm is changed by a hypercall of its own (2bd50036b5df).
            yield from set_pte(cpu, kernel.init_mm, at, table, slot_of(at, 1), value)
        self.mapped[va] = pages
        return va

    def unmap(self, cpu: "Cpu", va: int) -> Activity:
        """Give a mapping up; its pages are the caller's again.

        The guard page's entry is emptied as well, though it is empty: the hypervisor is asked,
        finds nothing to change, and that is all.
        """
        pages = len(self.mapped.pop(va)) + 1
        if self.clears_at_once:
            yield from self._clear(cpu, va, pages)
        self._waiting.append((va, pages, self.clears_at_once))
        yield STEP
        if self.waiting_pages > self._lazy_pages:
            yield from self.purge(cpu)

    def purge(self, cpu: "Cpu") -> Activity:
        """Flush what was given up on all CPUs.

        Who comes meanwhile finds nothing that waits.
        """
        waiting, self._waiting = self._waiting, []
        for va, pages, emptied in waiting:
            if not emptied:
                yield from self._clear(cpu, va, pages)
        yield from flush_tlb_everywhere(cpu)
        for va, pages, _ in waiting:
            self._reusable.setdefault(pages, []).append(va)

    def _clear(self, cpu: "Cpu", va: int, pages: int) -> Activity:
        kernel = self._kernel
        for number in range(pages):
            at = va + (number << PAGE_SHIFT)
            table = yield from l1_for(cpu, kernel.init_mm, at)
            yield from get_and_clear(cpu, table, slot_of(at, 1))
