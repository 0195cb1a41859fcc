"""Page faults of processes: what the kernel maps, and when it copies a page.

Source: Linux 6.1 mm/memory.c (do_anonymous_page, do_fault_around, do_cow_fault, do_wp_page,
wp_page_copy, wp_page_reuse), mm/filemap.c:filemap_map_pages.
"""

from typing import TYPE_CHECKING

from models.linux.run.kernel import AnonPage, Cpu
from models.linux.run.mm import Area, Mm, Place, entry_at, lower_table, slot_of
from models.linux.run.pv_mmu import alloc_ptpage, get_and_clear, set_p4d, set_pte, set_upper
from models.linux.run.switching import flush_tlb_range
from models.machine.entries import (
    ACCESSED,
    DIRTY,
    ENTRIES,
    NX,
    PAGE_SHIFT,
    PRESENT,
    RW,
    USER,
    mfn_of,
)
from models.xen.accesses import access
from sim.effects import Activity

if TYPE_CHECKING:
    from models.linux.spinlock import Lock

PAGE_READONLY = PRESENT | USER | ACCESSED
PAGE_DATA = PAGE_READONLY | NX | RW | DIRTY
FAULT_AROUND_PAGES = 16
"""fault_around_bytes: 64 KiB."""


def touch(cpu: Cpu, mm: Mm, va: int, *, write: bool, user: bool = True) -> Activity:
    """Access an address until it succeeds; page faults are handled as they come."""
    while not (yield from access(cpu.kernel.xen, cpu.vcpu, va, write=write, user=user)):
        yield from handle_fault(cpu, mm, va, write=write)


def handle_fault(cpu: Cpu, mm: Mm, va: int, *, write: bool) -> Activity:
    """Make an access possible (handle_mm_fault)."""
    kernel = cpu.kernel
    area = mm.area_at(va >> PAGE_SHIFT)
    assert area.writable or not write, f"segmentation fault at {va:#x}"
    table = yield from l1_for(cpu, mm, va)
    place = Place(table, slot_of(va, 1))
    ptl = kernel.ptl(table)
    copy = yield from _prepared(cpu, area, place, write=write)
    yield ptl.to_take
    old = entry_at(kernel, *place)
    if old & PRESENT:
        if write and not old & RW:
            yield from _write_protected(cpu, mm, va, place, copy)
    elif copy is not None:
        kernel.pages[copy] = AnonPage(mapped=1)
        area.copied = True
        value = kernel.mfn(copy) << PAGE_SHIFT | (PAGE_DATA if area.writable else PAGE_READONLY)
        yield from set_pte(cpu, mm, va, *place, value)
        copy = None
    else:
        yield from _map_around(cpu, mm, area, va, table)
        copy = None
    yield ptl.to_release


def _prepared(cpu: Cpu, area: Area, place: Place, *, write: bool) -> Activity:
    """A page for what may have to be written, before the lock is taken; None if none is needed."""
    kernel = cpu.kernel
    old = entry_at(kernel, *place)
    if old & PRESENT:
        if not write or old & RW:
            return None
        page = kernel.pages[kernel.pfn(mfn_of(old))]
        if not page.file and page.mapped == 1:
            return None
    elif not write and area.backing != "anonymous":
        return None
    pfn = kernel.alloc_page()
    yield from kernel.clear_page(cpu, kernel.mfn(pfn))
    return pfn


def _write_protected(cpu: Cpu, mm: Mm, va: int, place: Place, copy: int | None) -> Activity:
    """do_wp_page: the only owner gets write permission, others a copy."""
    kernel = cpu.kernel
    old = entry_at(kernel, *place)
    page = kernel.pages[kernel.pfn(mfn_of(old))]
    if not page.file and page.mapped == 1:
        page.exclusive = True
        yield from set_pte(cpu, mm, va, *place, old | RW | DIRTY)
        if copy is not None:
            kernel.free_page(copy)
        return
    if copy is None:
        copy = kernel.alloc_page()
        yield from kernel.clear_page(cpu, kernel.mfn(copy))
    # ptep_clear_flush: nobody may write through the old entry when the new one is there.
    yield from get_and_clear(cpu, *place)
    yield from flush_tlb_range(cpu, mm, va & -4096, (va & -4096) + 4096)
    kernel.pages[copy] = AnonPage(mapped=1)
    mm.area_at(va >> PAGE_SHIFT).copied = True
    yield from set_pte(cpu, mm, va, *place, kernel.mfn(copy) << PAGE_SHIFT | PAGE_DATA)
    page.mapped -= 1


def _map_around(cpu: Cpu, mm: Mm, area: Area, va: int, table: int) -> Activity:
    """A read of a file: the page and its neighbours in the page cache (do_fault_around)."""
    kernel = cpu.kernel
    page = va >> PAGE_SHIFT
    first, last = page, page + 1
    if area.backing == "file":
        first = max(page & -FAULT_AROUND_PAGES, area.start)
        last = min((page & -FAULT_AROUND_PAGES) + FAULT_AROUND_PAGES, area.end)
    for number in range(first, last):
        slot = number & ENTRIES - 1
        if entry_at(kernel, table, slot) & PRESENT:
            continue
        pfn = area.file[number - area.start]
        kernel.pages.setdefault(pfn, AnonPage(exclusive=False, file=True)).mapped += 1
        value = kernel.mfn(pfn) << PAGE_SHIFT | PAGE_READONLY
        yield from set_pte(cpu, mm, number << PAGE_SHIFT, table, slot, value)


def l1_for(cpu: Cpu, mm: Mm, va: int) -> Activity:
    """The L1 (mfn) of an address; what is missing on the way is made.

    Source: __p4d_alloc ... __pte_alloc.
    """
    kernel = cpu.kernel
    table = mm.pgd
    for level in (4, 3, 2):
        slot = slot_of(va, level)
        lower = lower_table(kernel, table, slot)
        if lower is None:
            lower = yield from _add_table(cpu, mm, table, slot, level)
        table = lower
    return table


def _add_table(cpu: Cpu, mm: Mm, table: int, slot: int, level: int) -> Activity:
    """A new table below an entry of a table of this level (set_p4d, set_pud, set_pmd)."""
    kernel = cpu.kernel
    fresh = yield from kernel.alloc_table(cpu)
    # An L2's entries have a split lock of their own; above that there is one for all.
    split = level == 2 and kernel.fixes.split_pmd_locks
    lock: Lock = kernel.ptl(table) if split else mm.page_table_lock
    yield lock.to_take
    lower = lower_table(kernel, table, slot)
    if lower is None:
        yield from alloc_ptpage(cpu, mm, fresh, level - 1)
        if level == 4:
            yield from set_p4d(cpu, mm, slot, kernel.table_entry(fresh))
        else:
            yield from set_upper(cpu, table, slot, kernel.table_entry(fresh))
        lower = fresh
    else:
        kernel.free_page(kernel.pfn(fresh))
    yield lock.to_release
    return lower
