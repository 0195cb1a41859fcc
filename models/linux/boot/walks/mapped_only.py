"""The direct map of Linux 3.9 and later: tables come from memory that is mapped already.

The map is built from the top downwards in growing steps; the first tables come from the BRK
area, later ones from what the passes before have mapped, so a table's own leaf can always be
found. Source: Linux 6.1 arch/x86/mm/init.c:init_mem_mapping, memory_map_top_down,
alloc_low_pages; init_64.c:phys_pud_init, phys_pmd_init, phys_pte_init.
"""

from functools import partial

import numpy as np

from models.linux.boot.guest import Guest, Page
from models.linux.boot.walks.alike import PageRun
from models.linux.boot.walks.alike_regions import map_alike
from models.linux.boot.walks.buffered import claim_entry, enters_empty, give_back
from models.linux.boot.walks.clearing import clear_entries
from models.linux.crash import GuestCrash
from models.machine.entries import (
    ENTRIES,
    PAGE_SHIFT,
    PAGES_PER_L2,
    PAGES_PER_L3,
    PRESENT,
    mfn_of,
)
from models.xen.gate import trap
from models.xen.hypercalls import MmuextOp
from models.xen.words import NEW_BASEPTR, TLB_FLUSH_LOCAL
from sim.effects import Activity

_1MIB = 1 << 20 >> PAGE_SHIFT
_2MIB = ENTRIES


def build_direct_map(guest: Guest) -> Activity:
    """init_mem_mapping: the first megabyte, then everything from the top downwards."""
    yield from _Walk(guest).init_mem_mapping()


class _Walk:
    """The walk's own variables (file-level ones in the kernel); pages throughout."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self.kernel = guest.kernel
        self.brk_next, self.brk_top = guest.start.layout.brk
        self.can_use_brk = True
        self.min_mapped = 0
        self.max_mapped = 0

    def init_mem_mapping(self) -> Activity:
        guest, kernel = self.guest, self.kernel
        end = guest.e820.max_pfn
        yield from self._map(guest, 0, _1MIB)
        self.max_mapped = 0
        block = guest.memblock.find(_2MIB, _1MIB, end, align=_2MIB)
        if block is not None:
            real_end = block + _2MIB
        elif kernel.starts_at_end_of_ram:
            real_end = max(_1MIB, end // _2MIB * _2MIB)
        else:
            real_end = _2MIB  # nobody looks whether the search gave 0
        self.min_mapped = last = real_end
        step, total = _2MIB, 0
        while last > _1MIB:
            start = max((last - 1) // step * step, _1MIB) if last > step else _1MIB
            mapped = yield from self._map_range(start, last)
            last = self.min_mapped = start
            if kernel.grows_when_total_reaches_step:
                total += mapped
                grows = total >= step
            else:
                grows = mapped > total
                total += mapped
            if grows:
                step <<= kernel.step_shift
        if real_end < end:
            yield from self._map_range(real_end, end)
        base = MmuextOp(((NEW_BASEPTR, guest.start.init_l4, 0),))
        yield trap(guest.xen, guest.vcpu, base)
        flush = MmuextOp(((TLB_FLUSH_LOCAL, guest.start.init_l4, 0),))
        yield trap(guest.xen, guest.vcpu, flush)

    def _map_range(self, low: int, high: int) -> Activity:
        """Map the memory inside [low, high), a call a piece; the pages mapped."""
        pages = 0
        for first, last in self.guest.memblock.pieces(low, high):
            # The unused part of the BRK window must not lie in what is mapped now.
            self.can_use_brk = max(first, self.brk_next) >= min(last, self.brk_top)
            crew = self.guest.crew
            if crew is None or crew.is_one_piece(first, last):
                ends = [(yield from self._map(self.guest, first, last))]
            else:
                ends = yield from crew.share_out(self._map, first, last)
            # Tables may be taken from here on from what has been mapped now.
            self.max_mapped = max(self.max_mapped, *ends)
            pages += last - first
            self.can_use_brk = True
        return pages

    def _map(self, guest: Guest, first: int, end: int) -> Activity:
        """init_memory_mapping: one walk for one piece; one past the last page newly entered."""
        l4 = guest.start.init_l4
        words = guest.frames.words(l4)
        last_mapped = first
        for slot in range(first // PAGES_PER_L3, -(-end // PAGES_PER_L3)):
            index = self.kernel.page_offset_slot + slot
            base = slot * PAGES_PER_L3
            span = max(first, base), min(end, base + PAGES_PER_L3)
            claim = yield from claim_entry(guest, l4, index)
            if not words[index] & PRESENT:
                page = yield from self._alloc_low_page(guest, 3)
                if not enters_empty(guest):
                    last_mapped = yield from self._map_upper(guest, 3, page, *span)
                yield from guest.strategy.hook.upper(guest, l4, index, page)
                yield from give_back(claim)
                if not enters_empty(guest):
                    continue
            page = guest.page_at(mfn_of(words[index]))
            last_mapped = yield from self._map_upper(guest, 3, page, *span)
        if self.kernel.flushes_while_walking:
            yield from guest.flush_tlb()
        yield from guest.calls.flush()
        return last_mapped

    def _map_upper(self, guest: Guest, level: int, table: Page, first: int, end: int) -> Activity:
        """All slots to the end of an L3 or L2: those behind the range are cleared if empty RAM."""
        below = level - 1
        words = guest.frames.words(table.mfn)
        pages = PAGES_PER_L2 if level == 3 else ENTRIES  # that an entry maps
        table_base = first // (pages * ENTRIES) * pages * ENTRIES
        map_below = (
            partial(self._map_l1, guest) if below == 1 else partial(self._map_upper, guest, below)
        )
        flushes = level == 3 and self.kernel.flushes_while_walking
        last_mapped = end
        mapped_to = 0  # whatever lies below has been mapped together with a region before it
        slots_end = min(-(-(end - table_base) // pages), ENTRIES)
        for slot in range(first // pages % ENTRIES, slots_end):
            base = table_base + slot * pages
            if base < mapped_to:
                continue
            span = max(first, base), min(end, base + pages)
            # An L1 is one vCPU's own; what stands above it may be shared.
            claim = (yield from claim_entry(guest, table.mfn, slot)) if below > 1 else None
            if not words[slot] & PRESENT:
                if below == 1:
                    if base >= first:
                        mapped_to = yield from self._map_alike(guest, table, base, end)
                    if mapped_to > base:
                        last_mapped = mapped_to
                    else:
                        last_mapped = yield from self._map_region(guest, table, *span)
                    continue
                page = yield from self._alloc_low_page(guest, below)
                if not enters_empty(guest):
                    last_mapped = yield from map_below(page, *span)
                yield from guest.strategy.hook.upper(guest, table.mfn, slot, page)
                yield from give_back(claim)
                if not enters_empty(guest):
                    continue
            last_mapped = yield from map_below(guest.page_at(mfn_of(words[slot])), *span)
            if flushes:
                yield from guest.flush_tlb()
        for without_ram in _without_ram(guest, table_base, pages, slots_end):
            yield from clear_entries(guest, table.mfn, without_ram)
        if flushes:
            yield from guest.flush_tlb()
        return last_mapped

    def _map_alike(self, guest: Guest, l2: Page, first: int, end: int) -> Activity:
        """Map the regions from page ``first`` on that are alike; one past the last page of them."""

        def map_region(region: int) -> Activity:
            return self._map_region(guest, l2, region * ENTRIES, (region + 1) * ENTRIES)

        pages = self._pages_ahead(guest)
        region = first // ENTRIES
        mapped = yield from map_alike(guest, l2.mfn, region, end, pages, map_region)
        return first + mapped * ENTRIES

    def _map_region(self, guest: Guest, l2: Page, first: int, end: int) -> Activity:
        """Map [first, end), which is in a region whose entry in the L2 is empty."""
        page = yield from self._alloc_low_page(guest, 1)
        last_mapped = yield from self._map_l1(guest, page, first, end)
        region = first // ENTRIES
        yield from guest.tables.note_filled(region, page)
        yield from guest.strategy.hook.l1(guest, l2.mfn, region % ENTRIES, page)
        return last_mapped

    def _map_l1(self, guest: Guest, l1: Page, first: int, end: int) -> Activity:
        """Leaves that are empty are written; the rest of the table is cleared where no RAM is.

        Returns one past the last page newly entered, or ``end`` if none was.
        """
        base = first // ENTRIES * ENTRIES
        leaves, _ = guest.p2m.leaves(first, end)
        leaves = guest.masked(first, leaves)
        known = guest.frames.arrays.get(l1.mfn)
        if end - first == ENTRIES and (known is None or not known.any()):
            yield from guest.store_leaves(l1, 0, leaves)  # a whole table, and a fresh one
            return end
        table = guest.frames.array(l1.mfn)
        empty = table[first - base : end - base] == 0
        wanted = np.zeros(ENTRIES, bool)
        wanted[first - base : end - base] = empty
        new = np.zeros(ENTRIES, np.uint64)
        new[first - base : end - base] = leaves
        for slot in range(end - base, ENTRIES):
            pfn = base + slot
            if not _any_ram(guest, pfn, pfn + 1):
                wanted[slot] = True
        slots = np.flatnonzero(wanted)
        for run in np.split(slots, np.flatnonzero(np.diff(slots) > 1) + 1):
            if run.size:
                low, high = int(run[0]), int(run[-1]) + 1
                yield from guest.store_leaves(l1, low, new[low:high])
        entered = np.flatnonzero(empty)
        return first + int(entered[-1]) + 1 if entered.size else end

    def _alloc_low_page(self, guest: Guest, level: int) -> Activity:
        """A page for a table, cleared through its address in the direct map."""
        crew = guest.crew
        if crew is not None:
            yield from crew.before_page(guest)
        pfn = yield from self._take_page(guest)
        if crew is not None:
            yield from crew.taken()
        yield from guest.tables.note_table(pfn, level)
        if crew is not None:
            yield from crew.after_page(guest)
        page = guest.page(pfn)
        yield from guest.clear_page(page.va)
        return page

    def _pages_ahead(self, guest: Guest) -> PageRun | None:
        """The pages that :meth:`_take_page` gives next, as far as they follow each other."""
        if self.can_use_brk and self.brk_next < self.brk_top:
            return PageRun(self.brk_next, 1, self.brk_top - self.brk_next, self._take_of_brk)
        if self.min_mapped >= self.max_mapped:
            return None
        memblock = guest.memblock
        highest = memblock.find(1, self.min_mapped, self.max_mapped)
        if highest is None:
            return None

        def take(count: int) -> None:
            next_page = memblock.find(1, self.min_mapped, self.max_mapped)
            assert next_page is not None  # there was a run of them
            memblock.reserve(next_page + 1 - count, next_page + 1)

        return PageRun(highest, -1, memblock.free_down_from(highest, self.min_mapped), take)

    def _take_of_brk(self, count: int) -> None:
        self.brk_next += count

    def _take_page(self, guest: Guest) -> Activity:
        """Of the BRK window while it may be used, then of what is mapped already (a pfn)."""
        if self.can_use_brk and self.brk_next < self.brk_top:
            pfn = self.brk_next
            self.brk_next += 1
        elif self.min_mapped < self.max_mapped:
            found = guest.memblock.find(1, self.min_mapped, self.max_mapped)
            if found is None:
                raise GuestCrash("bug", "alloc_low_pages: can not alloc memory")
            pfn = found
            if guest.crew is not None:
                yield from guest.crew.while_taking()
            guest.memblock.reserve(pfn, pfn + 1)
        elif self.can_use_brk and self.kernel.extends_brk:
            pfn = self.brk_next
            self.brk_next += 1
        else:
            raise GuestCrash("bug", "alloc_low_pages: ran out of memory")
        return pfn


def _without_ram(guest: Guest, base: int, pages: int, first: int) -> list[range]:
    """The slots of a table from ``first`` on under which no RAM is, as runs of slots.

    ``base`` (pfn) is what the table maps first, ``pages`` what an entry maps.
    """
    runs: list[range] = []
    for slot in range(first, ENTRIES):
        if _any_ram(guest, base + slot * pages, base + (slot + 1) * pages):
            continue
        start = runs.pop().start if runs and runs[-1].stop == slot else slot
        runs.append(range(start, slot + 1))
    return runs


def _any_ram(guest: Guest, first: int, end: int) -> bool:
    return guest.e820.any_ram(first << PAGE_SHIFT, end << PAGE_SHIFT)
