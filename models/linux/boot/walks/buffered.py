"""The direct map of Linux 2.6.36 to 3.8: a buffer for the tables is reserved beforehand.

Each call sizes the buffer for the end of its range, takes it where the strategy says, and
hands out its pages one by one, filled before they are hooked. Source: Linux 2.6.39
arch/x86/mm/init.c:init_memory_mapping, init_64.c:kernel_physical_mapping_init, phys_pud_init,
phys_pmd_init, phys_pte_init.
"""

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from models.linux.boot.early_mappings import early_iounmap, early_memremap
from models.linux.boot.guest import Guest, Page
from models.linux.boot.strategy import Buffer, nothing
from models.linux.boot.walks.alike import PageRun
from models.linux.boot.walks.alike_regions import map_alike
from models.linux.boot.walks.clearing import clear_entries
from models.linux.boot.walks.one_to_one import map_one_to_one
from models.linux.crash import GuestCrash
from models.linux.start_state.geometry import Range
from models.machine.entries import (
    ENTRIES,
    PAGE_SHIFT,
    PAGES_PER_L2,
    PAGES_PER_L3,
    PRESENT,
    mfn_of,
)
from sim.effects import STEP, Activity, Spend

if TYPE_CHECKING:
    from models.linux.boot.crew import Crew
    from models.linux.spinlock import Lock

_4GIB = 1 << 32 >> PAGE_SHIFT


def build_direct_map(guest: Guest) -> Activity:
    """Map the RAM below 4 GiB, then what lies above (setup_arch)."""
    for first, end in ranges_to_map(guest):
        take_buffer(guest, end)
        yield from map_range(guest, first, end)
        yield from settle(guest, end)


def ranges_to_map(guest: Guest) -> list[Range]:
    """What is mapped by a call of init_memory_mapping each."""
    pages = guest.e820.pages()
    low_end = max(min(last, _4GIB) for first, last in pages if first < _4GIB)
    last = pages[-1][1]
    return [(0, low_end), (_4GIB, last)] if last > _4GIB else [(0, low_end)]


def table_space(end: int, *, large_pages: bool = False) -> int:
    """Pages for the tables of [0, end): by the end of the range, whatever is mapped already.

    With leaves of 2 MiB, pages are entered one by one only behind the last boundary.
    """

    def pages_for(entries: int) -> int:
        return -(-entries * 8 >> PAGE_SHIFT)

    return (
        pages_for(-(-end // PAGES_PER_L2))
        + pages_for(-(-end // ENTRIES))
        + pages_for(end % ENTRIES if large_pages else end)
    )


def take_buffer(guest: Guest, end: int, *, large_pages: bool = False) -> Buffer:
    """The beginning of a call: find room for the tables where the strategy says."""
    strategy = guest.strategy
    assert strategy.placement is not None
    pages = table_space(end, large_pages=large_pages)
    if guest.crew is not None:
        pages += guest.crew.spare_pages
    start = guest.memblock.find(pages, *strategy.placement(guest, end))
    if start is None:
        raise GuestCrash("bug", f"Cannot find space for the kernel page tables ({pages} pages)")
    buffer = Buffer(start, start, start + pages)
    guest.tables.note_buffer(buffer)
    return buffer


def map_range(guest: Guest, first: int, end: int) -> Activity:
    """Map [first, end) with tables from the buffer, on all vCPUs that there are for it."""
    if guest.crew is None or guest.crew.is_one_piece(first, end):
        return map_piece(guest, first, end)
    return _map_together(guest, guest.crew, first, end)


def _map_together(guest: Guest, crew: "Crew", first: int, end: int) -> Activity:
    yield from crew.share_out(partial(map_piece, clears=False), first, end)
    l2 = _l2_of(guest, end - 1)
    yield from _clear_behind(guest, l2, -(-end // ENTRIES))
    yield from guest.calls.flush()


def map_piece(guest: Guest, first: int, end: int, *, clears: bool = True) -> Activity:
    """Map [first, end) (kernel_physical_mapping_init).

    ``clears``: the rest of the last L2 is cleared; not by who leaves it to others to map.
    """
    l4 = guest.start.init_l4
    words = guest.frames.words(l4)
    for slot in range(first // PAGES_PER_L3, -(-end // PAGES_PER_L3)):
        index = guest.kernel.page_offset_slot + slot
        base = slot * PAGES_PER_L3
        span = max(first, base), min(end, base + PAGES_PER_L3)
        claim = yield from claim_entry(guest, l4, index)
        if not words[index] & PRESENT:
            page = yield from alloc_low_page(guest, 3)
            if not enters_empty(guest):
                yield from _map_l3(guest, page, *span, clears=clears)
            yield from _done_with(guest, page)
            yield from guest.strategy.hook.upper(guest, l4, index, page)
            yield from give_back(claim)
            if not enters_empty(guest):
                continue
        page = yield from reach(guest, mfn_of(words[index]))
        yield from _map_l3(guest, page, *span, clears=clears)
        yield from let_go(guest, page)
    yield from guest.flush_tlb()
    # Who comes next looks at the entries of these tables.
    yield from guest.calls.flush()


def settle(guest: Guest, end: int) -> Activity:
    """The end of a call: what was used of the buffer is reserved, the rest is the strategy's."""
    yield from guest.flush_tlb()
    buffer = guest.tables.buffer
    guest.memblock.reserve(buffer.start, buffer.used_end)
    yield from guest.strategy.release(guest, buffer)
    yield from guest.calls.flush()
    guest.max_pfn_mapped = max(guest.max_pfn_mapped, end)


def _map_l3(guest: Guest, l3: Page, first: int, end: int, *, clears: bool) -> Activity:
    words = guest.frames.words(l3.mfn)
    for gib in range(first // PAGES_PER_L2, -(-end // PAGES_PER_L2)):
        base, slot = gib * PAGES_PER_L2, gib % ENTRIES
        span = max(first, base), min(end, base + PAGES_PER_L2)
        if not anything_there(guest, base, base + PAGES_PER_L2):
            yield from guest.calls.set_entry(l3.mfn, slot, 0)
            continue
        claim = yield from claim_entry(guest, l3.mfn, slot)
        if not words[slot] & PRESENT:
            page = yield from alloc_low_page(guest, 2)
            if not enters_empty(guest):
                # An activity of its own to the interpreter: its many effects do not come this way.
                yield _map_l2(guest, page, *span, clears=clears)
            yield from _done_with(guest, page)
            yield from guest.strategy.hook.upper(guest, l3.mfn, slot, page)
            yield from give_back(claim)
            if not enters_empty(guest):
                continue
        page = yield from reach(guest, mfn_of(words[slot]))
        yield _map_l2(guest, page, *span, clears=clears)
        yield from let_go(guest, page)
        yield from guest.flush_tlb()
    yield from guest.flush_tlb()


def claim_entry(guest: Guest, table: int, slot: int) -> Activity:
    """Look at an entry above L1; the lock that goes with it where others could fill it, too."""
    if guest.crew is None:
        return nothing(guest)
    return guest.crew.claim(guest, table, slot)


def give_back(claim: "Lock | None") -> Activity:
    """The entry is filled; others may look at it."""
    if claim is not None:
        yield claim.to_release


def enters_empty(guest: Guest) -> bool:
    """Are tables above L1 entered before they are filled? The kernel's own way is to fill first."""
    return guest.crew is not None and guest.crew.enters_empty


def _map_l2(guest: Guest, l2: Page, first: int, end: int, *, clears: bool) -> Activity:
    words = guest.frames.words(l2.mfn)
    end_region = -(-end // ENTRIES)
    map_region = partial(_map_region, guest, l2, end=end)
    region = first // ENTRIES
    while region < end_region:
        entry = words[region % ENTRIES]
        if entry & PRESENT:
            page = yield from reach(guest, mfn_of(entry))
            yield from _complete_l1(guest, page, region, end)
            yield from let_go(guest, page)
            region += 1
            continue
        pages = _pages_ahead(guest)
        mapped = yield from map_alike(guest, l2.mfn, region, end, pages, map_region)
        if not mapped:
            yield from map_region(region)
            mapped = 1
        region += mapped
    if clears:
        yield from _clear_behind(guest, l2.mfn, end_region)


def _map_region(guest: Guest, l2: Page, region: int, *, end: int) -> Activity:
    """Map a region whose entry in the L2 is empty."""
    slot = region % ENTRIES
    page = yield from alloc_low_page(guest, 1)
    if guest.strategy.hook_first:
        yield from _done_with(guest, page)
        yield from guest.strategy.hook.l1(guest, l2.mfn, slot, page)
        yield from _fill_hooked_l1(guest, guest.page_at(page.mfn), region, end)
    else:
        yield from _fill_l1(guest, page, region, end)
        yield from _done_with(guest, page)
        yield from guest.strategy.hook.l1(guest, l2.mfn, slot, page)


def _pages_ahead(guest: Guest) -> PageRun:
    """What is left of the buffer."""
    buffer = guest.table_pages

    def take(count: int) -> None:
        buffer.used_end += count

    return PageRun(buffer.used_end, 1, buffer.top - buffer.used_end, take)


def _clear_behind(guest: Guest, l2: int, region: int) -> Activity:
    """The rest of an L2 (mfn) is cleared entry by entry, each a hypercall."""
    if region % ENTRIES:
        yield from clear_entries(guest, l2, range(region % ENTRIES, ENTRIES))


def _l2_of(guest: Guest, pfn: int) -> int:
    """The L2 (mfn) of a page that is mapped."""
    l4e = guest.frames.words(guest.l4)[guest.kernel.page_offset_slot + pfn // PAGES_PER_L3]
    l3e = guest.frames.words(mfn_of(l4e))[pfn // PAGES_PER_L2 % ENTRIES]
    return mfn_of(l3e)


def _fill_l1(guest: Guest, page: Page, region: int, end: int) -> Activity:
    """Write all 512 leaves of a fresh table, which nobody refers to yet."""
    leaves, one_to_one = yield from _leaves(guest, region, end)
    position = 0
    for low, high in one_to_one:
        # The host's own memory is mapped in the name of DOMID_IO, one hypercall a leaf.
        yield from guest.store_leaves(page, position, leaves[position:low])
        yield from map_one_to_one(guest, page, leaves, low, high)
        position = high
    yield from guest.store_leaves(page, position, leaves[position:])
    yield from guest.tables.note_filled(region, page)


def _fill_hooked_l1(guest: Guest, page: Page, region: int, end: int) -> Activity:
    """Write the leaves of a table that is live, and empty: there is nothing to be cleared."""
    leaves, one_to_one = yield from _leaves(guest, region, end)
    present = leaves != 0
    for low, high in one_to_one:
        yield from map_one_to_one(guest, page, leaves, low, high)
        present[low:high] = False
    slots = np.flatnonzero(present)
    for run in np.split(slots, np.flatnonzero(np.diff(slots) > 1) + 1):
        if run.size:
            low, high = int(run[0]), int(run[-1]) + 1
            yield from guest.store_leaves(page, low, leaves[low:high])
    yield from guest.tables.note_filled(region, page)


def _leaves(guest: Guest, region: int, end: int) -> Activity:
    """The leaves of a region as the mask lets them be, and which slots are 1:1."""
    first = region * ENTRIES
    present = min(end, first + ENTRIES)
    strategy = guest.strategy
    leaves, one_to_one = guest.p2m.leaves(first, present)
    if present < first + ENTRIES:
        leaves = np.append(leaves, np.zeros(first + ENTRIES - present, np.uint64))
    if strategy.before_leaf_store is not None and leaves.any():
        yield from strategy.before_leaf_store(guest)
    yield STEP
    leaves = guest.masked(first, leaves)
    if strategy.leaf_cost is not None:
        yield Spend(strategy.leaf_cost, ENTRIES)
    return leaves, [(low - first, high - first) for low, high in one_to_one]


def _complete_l1(guest: Guest, page: Page, region: int, end: int) -> Activity:
    """Go through a table that exists: what is present stays, what is missing is added."""
    first = region * ENTRIES
    words = guest.frames.words(page.mfn)
    missing = np.flatnonzero(guest.frames.array(page.mfn) == 0)
    for slot in missing.tolist():
        pfn = first + slot
        leaves, _ = guest.p2m.leaves(pfn, pfn + 1) if pfn < end else (np.zeros(1, np.uint64), [])
        if not leaves[0] and not words[slot]:
            continue
        yield from guest.store_leaves(page, slot, guest.masked(pfn, leaves))


def anything_there(guest: Guest, first: int, end: int) -> bool:
    """Does the memory map know anything in these pages, RAM or the host's own?"""
    return guest.e820.any_ram(first << PAGE_SHIFT, end << PAGE_SHIFT) or any(
        low < end << PAGE_SHIFT and high > first << PAGE_SHIFT
        for low, high in guest.geometry.identity
    )


def alloc_low_page(guest: Guest, level: int) -> Activity:
    """The next page of the buffer, cleared, at an address where it can be written."""
    crew = guest.crew
    if crew is not None:
        yield from crew.before_page(guest)
    buffer = guest.table_pages
    pfn = buffer.used_end
    if pfn >= buffer.top:
        raise GuestCrash(
            "bug", "alloc_low_page: ran out of memory", pfn=pfn, vcpu=guest.vcpu.number
        )
    if crew is not None:
        yield from crew.while_taking()
    buffer.used_end = pfn + 1
    if crew is not None:
        yield from crew.taken()
    yield from guest.tables.note_table(pfn, level)
    if guest.access == "direct":
        page = guest.page(pfn)
    else:
        page = yield from early_memremap(guest, pfn)
    if crew is not None:
        yield from crew.after_page(guest)
    yield from guest.clear_page(page.va)
    return page


def _done_with(guest: Guest, page: Page) -> Activity:
    """The opposite, before the table is hooked."""
    return nothing(guest) if guest.access == "direct" else early_iounmap(guest, page)


def reach(guest: Guest, mfn: int) -> Activity:
    """A table that is live already: mapped anew, or used where the direct map has it."""
    if guest.access == "early":
        # The strategy's rule knows only tables that were entered when they were full.
        writable = False if enters_empty(guest) else None
        return (yield from early_memremap(guest, guest.pfn_of(mfn), writable=writable))
    return guest.page_at(mfn)


def let_go(guest: Guest, page: Page) -> Activity:
    """The end of what :func:`reach` began."""
    if guest.access == "early":
        yield from early_iounmap(guest, page)
