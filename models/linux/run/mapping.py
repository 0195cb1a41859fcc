"""mmap, munmap and mprotect: areas, their entries, and the tables that become empty.

Source: Linux 6.1 mm/mmap.c, mm/memory.c (zap_pte_range, free_pgd_range), mm/mprotect.c,
mm/mmu_gather.c.
"""

from collections.abc import Iterator

from models.linux.run.kernel import Cpu
from models.linux.run.mm import (
    GATHER_PAGES,
    SHIFTS,
    Area,
    Gather,
    Mm,
    entry_at,
    lower_table,
    slot_of,
)
from models.linux.run.pv_mmu import (
    enter_lazy_mmu,
    get_and_clear,
    leave_lazy_mmu,
    modify_prot,
    release_ptpage,
    set_p4d,
    set_upper,
)
from models.linux.run.switching import flush_tlb_range
from models.machine.entries import DIRTY, ENTRIES, PAGE_SHIFT, PRESENT, RW, mfn_of
from sim.effects import STEP, Activity, WaitUntil

_TOP = 1 << 47
"""Where user mode's half ends."""


def map_area(mm: Mm, area: Area) -> Area:
    """mmap(): an area, and no entry yet."""
    mm.areas.append(area)
    return area


def unmap(cpu: Cpu, mm: Mm, area: Area) -> Activity:
    """munmap() of a whole area (unmap_region)."""
    floor, ceiling = mm.neighbours(area)
    mm.areas.remove(area)
    gather = Gather(mm)
    yield from zap(cpu, gather, area)
    yield from free_tables(
        cpu, gather, area.start << PAGE_SHIFT, area.end << PAGE_SHIFT, floor, ceiling
    )
    yield from finish(cpu, gather)


def zap(cpu: Cpu, gather: Gather, area: Area) -> Activity:
    """Empty all entries of an area (unmap_page_range); each is an xchg, not put off."""
    kernel, mm = cpu.kernel, gather.mm
    for table, first, last in l1_spans(cpu, mm, area.start, area.end):
        ptl = kernel.ptl(table)
        position = first
        while position < last:
            yield ptl.to_take
            enter_lazy_mmu(cpu)
            full = False
            while position < last and not full:
                page, position = position, position + 1
                slot = page & ENTRIES - 1
                if not entry_at(kernel, table, slot) & PRESENT:
                    continue
                old = yield from get_and_clear(cpu, table, slot)
                gather.touch(page << PAGE_SHIFT, 1 << PAGE_SHIFT, 1)
                full = _drop_page(cpu, gather, kernel.pfn(mfn_of(old)))
            yield from leave_lazy_mmu(cpu)
            if full:
                yield from flush_gathered(cpu, gather)
            yield ptl.to_release


def _drop_page(cpu: Cpu, gather: Gather, pfn: int) -> bool:
    """One mapping of a page less; True when no more pages fit before a flush."""
    page = cpu.kernel.pages[pfn]
    page.mapped -= 1
    gather.pages.append(-1 if page.mapped or page.file else pfn)
    return len(gather.pages) >= GATHER_PAGES


def l1_spans(cpu: Cpu, mm: Mm, first: int, last: int) -> Iterator[tuple[int, int, int]]:
    """The L1s (mfn) that exist for pages [first, last), with the pages of each."""
    kernel = cpu.kernel
    while first < last:
        end = min(last, (first | ENTRIES - 1) + 1)
        table: int | None = mm.pgd
        for level in (4, 3, 2):
            assert table is not None
            table = lower_table(kernel, table, slot_of(first << PAGE_SHIFT, level))
            if table is None:
                # On to the next address that this missing table does not map.
                size = 1 << SHIFTS[level] - PAGE_SHIFT
                end = min(last, (first | size - 1) + 1)
                break
        else:
            assert table is not None
            yield table, first, end
        first = end


def free_tables(
    cpu: Cpu, gather: Gather, start: int, end: int, floor: int, ceiling: int
) -> Activity:
    """Take out the tables that map [start, end) and nothing of the areas below and above.

    ``floor``: where the area below ends; ``ceiling``: where the next one starts, 0 for none.
    Source: free_pgd_range and its levels.
    """
    yield from _free_below(cpu, gather, gather.mm.pgd, 4, start, end, (floor, ceiling or _TOP))


def _free_below(
    cpu: Cpu, gather: Gather, table: int, level: int, start: int, end: int, room: tuple[int, int]
) -> Activity:
    """The tables below one: each that lies wholly between the neighbours' ends goes."""
    kernel = cpu.kernel
    size = 1 << SHIFTS[level]
    va = start
    while va < end:
        following = (va | size - 1) + 1
        slot = slot_of(va, level)
        lower = lower_table(kernel, table, slot)
        if lower is not None:
            if level > 2:
                yield from _free_below(cpu, gather, lower, level - 1, va, min(end, following), room)
            # A neighbour that reaches into what the table maps needs it.
            if room[0] <= va & -size and following <= room[1]:
                yield from _remove_table(cpu, gather, table, slot, lower, level, va)
        va = following


def _remove_table(
    cpu: Cpu, gather: Gather, table: int, slot: int, lower: int, level: int, va: int
) -> Activity:
    """pmd_clear and pte_free_tlb, or the same above; the page is given back after the flush."""
    if level == 4:
        yield from set_p4d(cpu, gather.mm, slot, 0)
    else:
        yield from set_upper(cpu, table, slot, 0)
    yield from release_ptpage(cpu, lower, level - 1)
    base = va if level == 2 else va & -(1 << SHIFTS[level])
    gather.touch(base & -4096, 1 << PAGE_SHIFT, level)
    gather.freed_tables = True
    gather.tables.append(lower)


def flush_gathered(cpu: Cpu, gather: Gather) -> Activity:
    """Flush what was unmapped, then give the pages back (tlb_flush_mmu)."""
    kernel = cpu.kernel
    if gather.start is not None and not gather.whole:
        stride = SHIFTS[gather.smallest]
        yield from flush_tlb_range(cpu, gather.mm, gather.start, gather.end, stride)
    for pfn in gather.pages:
        if pfn >= 0:
            del kernel.pages[pfn]
            kernel.free_page(pfn)
    if gather.tables:
        yield from _grace_period(cpu)
    for mfn in gather.tables:
        kernel.free_table(mfn)
    gather.pages.clear()
    gather.tables.clear()
    gather.start, gather.end, gather.smallest = None, 0, 5
    gather.freed_tables = False


finish = flush_gathered


def _grace_period(cpu: Cpu) -> Activity:
    """Lockless walks that may have met the tables come to their end (tlb_remove_table)."""
    kernel = cpu.kernel
    yield STEP
    if kernel.fixes.tables_freed_by_rcu and any(kernel.walked.values()):
        yield WaitUntil("a grace period", lambda: not any(kernel.walked.values()))


def protect(cpu: Cpu, mm: Mm, area: Area, first: int, last: int, *, writable: bool) -> Activity:
    """mprotect() of pages [first, last) of an area, which ends as areas of their own."""
    kernel = cpu.kernel
    changed = _split(mm, area, first, last)
    changed.writable = writable
    gather = Gather(mm)
    for table, low, high in l1_spans(cpu, mm, first, last):
        ptl = kernel.ptl(table)
        yield ptl.to_take
        enter_lazy_mmu(cpu)
        for page in range(low, high):
            slot = page & ENTRIES - 1
            old = entry_at(kernel, table, slot)
            if not old & PRESENT:
                continue
            new = old & ~RW
            if writable and kernel.era.tries_writable:
                owner = kernel.pages[kernel.pfn(mfn_of(old))]
                if old & DIRTY and owner.exclusive and not owner.file:
                    new |= RW
            yield from modify_prot(cpu, table, slot, new)
            if old & RW and not new & RW:
                # Only a permission that goes away has to be flushed.
                gather.touch(page << PAGE_SHIFT, 1 << PAGE_SHIFT, 1)
        yield from leave_lazy_mmu(cpu)
        yield ptl.to_release
    yield from finish(cpu, gather)
    _merge(mm, changed)


def _split(mm: Mm, area: Area, first: int, last: int) -> Area:
    """Cut an area so that [first, last) is one of its own (split_vma)."""
    for low, high in ((area.start, first), (last, area.end)):
        if low < high:
            rest = area.private_copy
            rest.file = area.file[low - area.start : high - area.start]
            rest.start, rest.end = low, high
            mm.areas.append(rest)
    area.file = area.file[first - area.start : last - area.start]
    area.start, area.end = first, last
    return area


def _merge(mm: Mm, area: Area) -> None:
    """Neighbours of one name and the same permissions become one area again (vma_merge)."""
    for other in list(mm.areas):
        if other is area or other.name != area.name or other.writable != area.writable:
            continue
        if other.end == area.start:
            area.file = [*other.file, *area.file]
            area.start = other.start
        elif other.start == area.end:
            area.file = [*area.file, *other.file]
            area.end = other.end
        else:
            continue
        mm.areas.remove(other)
