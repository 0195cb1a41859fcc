"""fork, exec and exit, as far as page tables go.

Source: Linux 6.1 kernel/fork.c (dup_mmap), mm/memory.c (copy_pte_range), fs/exec.c
(bprm_mm_init, exec_mmap, setup_arg_pages, shift_arg_pages), mm/mmap.c (exit_mmap).
"""

import numpy as np

from models.linux.run.faults import PAGE_DATA, l1_for
from models.linux.run.kernel import AnonPage, Cpu
from models.linux.run.mapping import flush_gathered, free_tables, l1_spans, map_area, protect, zap
from models.linux.run.mm import USER_SLOTS, Area, Gather, Mm, entry_at, slot_of, tables_below
from models.linux.run.pinning import pin_mm, unpin_at_exit
from models.linux.run.pv_mmu import (
    enter_lazy_mmu,
    get_and_clear,
    leave_lazy_mmu,
    set_pte,
    write_protect,
)
from models.linux.run.switching import flush_tlb_mm, flush_tlb_range, switch_mm
from models.machine.entries import DIRTY, ENTRIES, PAGE_SHIFT, PRESENT, RW, mfn_of
from models.xen.accesses import store_page
from sim.effects import Activity

STACK_TOP_PAGE = (1 << 35) - 2
"""Where a new program's stack is made: the last page below STACK_TOP_MAX."""


def new_mm(cpu: Cpu, name: str) -> Activity:
    """mm_alloc: a pgd with the kernel's half, and user mode's own (pgd_alloc, xen_pgd_alloc)."""
    kernel = cpu.kernel
    pgd = kernel.mfn(kernel.alloc_page())
    user_pgd = yield from kernel.alloc_table(cpu)
    yield from kernel.store(cpu, user_pgd, ENTRIES - 1, kernel.table_entry(kernel.vsyscall_l3))
    yield kernel.pgd_lock.to_take
    words = kernel.frames.array(kernel.init_l4).copy()
    words[:USER_SLOTS] = 0
    # The slots of the hypervisor are not the kernel's to copy.
    words[USER_SLOTS : USER_SLOTS + 16] = 0
    if not (yield from store_page(kernel.xen, cpu.vcpu, kernel.va(pgd), np.asarray(words))):
        raise kernel.oops(kernel.va(pgd), pgd)
    mm = Mm(name, pgd, user_pgd)
    kernel.pgd_list.append(mm)
    yield kernel.pgd_lock.to_release
    return mm


def fork(cpu: Cpu, parent: Mm, name: str) -> Activity:
    """A copy of an address space, pinned: its areas, and the entries of those with own pages."""
    kernel = cpu.kernel
    child = yield from new_mm(cpu, name)
    for area in list(parent.areas):
        map_area(child, area.private_copy)
        if area.copied:
            yield from _copy_area(cpu, parent, child, area)
    yield from pin_mm(cpu, child)
    yield from flush_tlb_mm(cpu, parent)
    assert kernel.init_mm is not child
    return child


def _copy_area(cpu: Cpu, parent: Mm, child: Mm, area: Area) -> Activity:
    """copy_page_range: batches in lazy MMU mode; the parent's entries become read-only."""
    kernel = cpu.kernel
    for table, first, last in l1_spans(cpu, parent, area.start, area.end):
        target = yield from l1_for(cpu, child, first << PAGE_SHIFT)
        locks = kernel.ptl(target), kernel.ptl(table)
        for lock in locks:
            yield lock.to_take
        enter_lazy_mmu(cpu)
        for page in range(first, last):
            slot = page & ENTRIES - 1
            entry = entry_at(kernel, table, slot)
            if not entry & PRESENT:
                continue
            if entry & RW:
                yield from write_protect(cpu, table, slot)
            owner = kernel.pages[kernel.pfn(mfn_of(entry))]
            owner.mapped += 1
            owner.exclusive = False
            yield from set_pte(cpu, child, page << PAGE_SHIFT, target, slot, entry & ~RW)
        yield from leave_lazy_mmu(cpu)
        for lock in reversed(locks):
            yield lock.to_release


def exit_mm(cpu: Cpu, mm: Mm) -> Activity:
    """A user of an address space less; the last one takes it down (mmput, exit_mmap)."""
    mm.users -= 1
    if mm.users:
        return
    kernel = cpu.kernel
    yield from unpin_at_exit(cpu, mm)
    for level, table in list(tables_below(kernel, mm.pgd)):
        if level > 1:
            continue
        entries = kernel.frames.array(table)
        ptl = kernel.ptl(table)
        yield ptl.to_take
        present = entries[(entries & PRESENT) != 0].tolist()
        yield from kernel.clear_words(cpu, table, len(present))
        for entry in present:
            _drop(cpu, kernel.pfn(mfn_of(entry)))
        yield ptl.to_release
    # Reclaim can still be on its way to an entry: the areas are unlinked before the tables go.
    yield kernel.rmap_lock.to_take
    mm.areas.clear()
    yield kernel.rmap_lock.to_release
    for level, table in list(tables_below(kernel, mm.pgd)):
        if level < 4:
            kernel.free_table(table)
    yield kernel.pgd_lock.to_take
    kernel.pgd_list.remove(mm)
    yield kernel.pgd_lock.to_release
    kernel.free_table(mm.pgd)
    kernel.free_table(mm.user_pgd)


def _drop(cpu: Cpu, pfn: int) -> None:
    page = cpu.kernel.pages[pfn]
    page.mapped -= 1
    if not page.mapped and not page.file:
        del cpu.kernel.pages[pfn]
        cpu.kernel.free_page(pfn)


def begin_exec(cpu: Cpu, name: str) -> Activity:
    """The new program's address space with a first stack page, which holds its arguments."""
    kernel = cpu.kernel
    mm = yield from new_mm(cpu, name)
    stack = map_area(mm, Area("stack", STACK_TOP_PAGE, STACK_TOP_PAGE + 1, copied=True))
    va = stack.start << PAGE_SHIFT
    # Its pages are reached by the kernel's own mapping: no fault (get_arg_page).
    table = yield from l1_for(cpu, mm, va)
    pfn = kernel.alloc_page()
    yield from kernel.clear_page(cpu, kernel.mfn(pfn))
    kernel.pages[pfn] = AnonPage(mapped=1)
    lock = kernel.ptl(table)
    yield lock.to_take
    value = kernel.mfn(pfn) << PAGE_SHIFT | PAGE_DATA
    yield from set_pte(cpu, mm, va, table, slot_of(va, 1), value)
    yield lock.to_release
    return mm


def exec_mmap(cpu: Cpu, old: Mm, new: Mm) -> Activity:
    """The new address space is pinned and loaded, the old one given up."""
    yield from pin_mm(cpu, new)
    yield from switch_mm(cpu, new)
    yield from exit_mm(cpu, old)


def place_stack(cpu: Cpu, mm: Mm, top_page: int, pages: int) -> Activity:
    """setup_arg_pages: the stack's permissions, its move to its place, and room below it."""
    kernel = cpu.kernel
    stack = mm.area("stack")
    old = stack.start
    yield from protect(cpu, mm, stack, stack.start, stack.end, writable=True)
    # shift_arg_pages: the entry moves, in lazy MMU mode; its old tables go.
    source = next(l1_spans(cpu, mm, old, old + 1))[0]
    target = yield from l1_for(cpu, mm, top_page << PAGE_SHIFT)
    locks = [kernel.ptl(source)] + ([kernel.ptl(target)] if target != source else [])
    for lock in locks:
        yield lock.to_take
    enter_lazy_mmu(cpu)
    entry = yield from get_and_clear(cpu, source, old & ENTRIES - 1)
    yield from set_pte(
        cpu, mm, top_page << PAGE_SHIFT, target, top_page & ENTRIES - 1, entry | DIRTY
    )
    yield from leave_lazy_mmu(cpu)
    yield from flush_tlb_range(cpu, mm, old << PAGE_SHIFT, (old + 1) << PAGE_SHIFT)
    for lock in reversed(locks):
        yield lock.to_release
    gather = Gather(mm)
    floor = (top_page + 1) << PAGE_SHIFT
    yield from free_tables(cpu, gather, old << PAGE_SHIFT, (old + 1) << PAGE_SHIFT, floor, 0)
    yield from flush_gathered(cpu, gather)
    stack.start, stack.end = top_page + 1 - pages, top_page + 1


def unmap_whole(cpu: Cpu, mm: Mm, area: Area) -> Activity:
    """Empty an area without giving its tables back (madvise(MADV_DONTNEED))."""
    gather = Gather(mm)
    yield from zap(cpu, gather, area)
    yield from flush_gathered(cpu, gather)
