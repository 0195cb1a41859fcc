"""The direct map of a kernel whose page tables are its own: leaves of 2 MiB, and plain stores.

The walk of Linux 2.6.39 where large pages may be used. Each range is cut into a part that whole
leaves of 2 MiB cover and what is left at its ends, which takes L1s. Leaves of 1 GiB are not
used: the machines of the time (Nehalem) did not have them. Source: Linux 2.6.39
arch/x86/mm/init.c:init_memory_mapping (split_mem_range, later), init_64.c:phys_pud_init,
phys_pmd_init, phys_pte_init.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from models.linux.boot.early_mappings import early_iounmap
from models.linux.boot.guest import Guest, Page
from models.linux.boot.walks.buffered import (
    alloc_low_page,
    anything_there,
    let_go,
    ranges_to_map,
    reach,
    settle,
    take_buffer,
)
from models.linux.start_state.p2m import PAGE_KERNEL, TABLE_FLAGS, large_leaves
from models.machine.entries import (
    ENTRIES,
    PAGE_SHIFT,
    PAGES_PER_L2,
    PAGES_PER_L3,
    PRESENT,
    PSE,
    mfn_of,
)
from sim.effects import Activity

Entries = NDArray[np.uint64]
_Fill = Callable[[Guest, Page, Entries, int, int], Activity]
"""Enter pages [first, end) into a table, which holds these entries now."""


def build_native_map(guest: Guest) -> Activity:
    """Map the RAM below 4 GiB, then what lies above (setup_arch)."""
    for first, end in ranges_to_map(guest):
        take_buffer(guest, end, large_pages=True)
        low, high = -(-first // ENTRIES) * ENTRIES, end // ENTRIES * ENTRIES
        if low >= high:
            yield from _map(guest, first, end, _map_pages)
        else:
            if first < low:
                yield from _map(guest, first, low, _map_pages)
            yield from _map(guest, low, high, _map_regions)
            if high < end:
                yield from _map(guest, high, end, _map_pages)
        yield from settle(guest, end)


def _map(guest: Guest, first: int, end: int, fill_l2: _Fill) -> Activity:
    """kernel_physical_mapping_init: one walk, with leaves of one size."""

    def fill_l3(guest: Guest, l3: Page, entries: Entries, first: int, end: int) -> Activity:
        for gib in range(first // PAGES_PER_L2, -(-end // PAGES_PER_L2)):
            base = gib * PAGES_PER_L2
            span = max(first, base), min(end, base + PAGES_PER_L2)
            if anything_there(guest, base, base + PAGES_PER_L2):
                entry = int(entries[gib % ENTRIES])
                yield from _enter(guest, l3.va + 8 * (gib % ENTRIES), entry, 2, fill_l2, *span)
                if entry & PRESENT:
                    yield from guest.flush_tlb()
            else:
                yield from guest.store(l3.va + 8 * (gib % ENTRIES), 0)
        yield from guest.flush_tlb()

    l4 = guest.page_at(guest.l4)
    entries = yield from _read(guest, l4)
    for slot in range(first // PAGES_PER_L3, -(-end // PAGES_PER_L3)):
        base = slot * PAGES_PER_L3
        index = guest.kernel.page_offset_slot + slot
        span = max(first, base), min(end, base + PAGES_PER_L3)
        yield from _enter(guest, l4.va + 8 * index, int(entries[index]), 3, fill_l3, *span)
    yield from guest.flush_tlb()


def _enter(
    guest: Guest, entry_va: int, entry: int, level: int, fill: _Fill, first: int, end: int
) -> Activity:
    """Go on in the table of this level that an entry leads to; a fresh one is filled first."""
    if entry & PRESENT:
        page = yield from reach(guest, mfn_of(entry))
        entries = yield from _read(guest, page)
        yield from fill(guest, page, entries, first, end)
        yield from let_go(guest, page)
    else:
        page = yield from alloc_low_page(guest, level)
        yield from fill(guest, page, np.zeros(ENTRIES, np.uint64), first, end)
        yield from early_iounmap(guest, page)
        yield from guest.store(entry_va, page.mfn << PAGE_SHIFT | TABLE_FLAGS)


def _map_regions(guest: Guest, l2: Page, entries: Entries, first: int, end: int) -> Activity:
    """Whole regions, a leaf each, where there is none; the rest of the table is cleared."""
    low, high = first // ENTRIES, end // ENTRIES
    slots = np.arange(low, high) % ENTRIES
    missing = slots[(entries[slots] & np.uint64(PRESENT)) == 0]
    leaves = large_leaves(low // ENTRIES * ENTRIES, ENTRIES)
    for run in np.split(missing, np.flatnonzero(np.diff(missing) > 1) + 1):
        if run.size:
            chosen = leaves[run[0] : run[-1] + 1].copy()
            yield from guest.store_run(l2.va + 8 * int(run[0]), chosen)
    yield from _clear_behind(guest, l2, high)


def _map_pages(guest: Guest, l2: Page, entries: Entries, first: int, end: int) -> Activity:
    """Pages one by one: an L1 for each region, also where a large leaf has been."""
    for region in range(first // ENTRIES, -(-end // ENTRIES)):
        slot = region % ENTRIES
        entry = int(entries[slot])
        split = 0 if entry & PSE else entry
        base = region * ENTRIES
        span = max(first, base), min(end, base + ENTRIES)
        yield from _enter(guest, l2.va + 8 * slot, split, 1, _fill_l1, *span)
    yield from _clear_behind(guest, l2, -(-end // ENTRIES))


def _fill_l1(guest: Guest, l1: Page, entries: Entries, first: int, end: int) -> Activity:
    """The leaves that are not there yet, run by run, of RAM and holes alike."""
    leaves = np.arange(first, end, dtype=np.uint64) << np.uint64(PAGE_SHIFT)
    leaves |= np.uint64(PAGE_KERNEL)
    offset = first % ENTRIES
    missing = np.flatnonzero(entries[offset : offset + end - first] == 0)
    for run in np.split(missing, np.flatnonzero(np.diff(missing) > 1) + 1):
        if run.size:
            low, high = int(run[0]), int(run[-1]) + 1
            yield from guest.store_run(l1.va + 8 * (offset + low), leaves[low:high])


def _clear_behind(guest: Guest, l2: Page, region: int) -> Activity:
    """phys_pmd_init clears what is left of a table that its range ends in."""
    slot = region % ENTRIES
    if slot:
        yield from guest.store_run(l2.va + 8 * slot, np.zeros(ENTRIES - slot, np.uint64))


def _read(guest: Guest, page: Page) -> Activity:
    """All entries of a table that is within reach, through the CPU's translation of it."""
    yield from guest.touch(page.va)
    return (yield from guest.read_table(page))
