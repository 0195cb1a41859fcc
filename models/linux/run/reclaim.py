"""Page reclaim's way to the entries of a page: other processes' tables, by the reverse mapping.

Source: Linux 2.6.24 mm/rmap.c (page_referenced_one, page_check_address), asm-x86/pgtable.h
(ptep_test_and_clear_young).
"""

from collections.abc import Callable

from models.linux.run.kernel import Cpu
from models.linux.run.mm import Mm, entry_at, find_place
from models.machine.entries import ACCESSED, PAGE_SHIFT, PRESENT
from sim.effects import STEP, Activity


def page_referenced(cpu: Cpu, page: int, asks: Callable[[int], None] | None = None) -> Activity:
    """Was this page (of the address space) used? Its accessed bit goes in every mm that has it.

    An mm is found as soon as it has the area, long before fork() has finished it. Each entry is
    written under the lock of its table. ``asks`` hears of each table (mfn) that is met.
    """
    kernel = cpu.kernel
    yield kernel.rmap_lock.to_take
    for mm in list(kernel.pgd_list):
        if not any(area.start <= page < area.end for area in mm.areas):
            continue
        place = find_place(kernel, mm, page << PAGE_SHIFT)
        if place is None:
            continue
        if asks is not None:
            asks(place.table)
        ptl = kernel.ptl(place.table)
        yield ptl.to_take
        # What was found without the lock may have gone meanwhile (page_check_address).
        if mm in kernel.pgd_list and find_place(kernel, mm, page << PAGE_SHIFT) == place:
            entry = entry_at(kernel, *place)
            if entry & PRESENT and entry & ACCESSED:
                yield from kernel.exchange(cpu, *place, entry & ~ACCESSED)
        yield ptl.to_release
    yield kernel.rmap_lock.to_release


def use(cpu: Cpu, mm: Mm, pages: range) -> Activity:
    """A program uses its pages: the CPU marks their entries as accessed."""
    kernel = cpu.kernel
    yield STEP
    for page in pages:
        place = find_place(kernel, mm, page << PAGE_SHIFT)
        if place is not None and entry_at(kernel, *place) & PRESENT:
            kernel.frames.words(place.table)[place.slot] |= ACCESSED
