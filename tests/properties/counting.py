"""A second rendering of Linux's top-down direct map, which only counts.

Nothing of the simulation is used: no page tables, no frames, no hypervisor, just ranges of pages
and what the kernel and Xen do with each of them. All numbers are pages and all ranges half-open.
Source: Linux 3.10, 5.10 and 6.1, arch/x86/mm/init.c (init_mem_mapping, memory_map_top_down,
alloc_low_pages) and init_64.c (phys_pud_init, phys_pmd_init, phys_pte_init); arch/x86/xen/mmu_pv.c
(mmu.c); Xen 4.17 arch/x86/mm.c (do_mmu_update, _get_page_type).
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Range = tuple[int, int]

L1_PAGES, L2_PAGES, L3_PAGES = 1 << 9, 1 << 18, 1 << 27
"""Pages that a table of each level maps."""
ISA_END = 0x100

EMPTY, WRITABLE, READ_ONLY = 0, 1, 2
"""What an entry of an L1 may be."""


class Panic(Exception):
    """The kernel finds no page for a table."""


@dataclass(frozen=True, kw_only=True)
class Version:
    """What differs between kernels."""

    brk_pages: int
    step_shift: int
    grows_by_new: bool
    """The step grows when a pass maps more than all before it; else once as much is mapped."""
    leaf_by_hypercall: bool
    flushes_while_walking: bool
    extends_brk: bool
    falls_back_to_end: bool
    """Where no 2 MiB are free the walk begins at the end of RAM; else at 2 MiB."""


VERSIONS = {
    "3.10": Version(
        brk_pages=5,
        step_shift=5,
        grows_by_new=True,
        leaf_by_hypercall=False,
        flushes_while_walking=True,
        extends_brk=False,
        falls_back_to_end=False,
    ),
    "5.10": Version(
        brk_pages=12,
        step_shift=8,
        grows_by_new=False,
        leaf_by_hypercall=True,
        flushes_while_walking=False,
        extends_brk=True,
        falls_back_to_end=False,
    ),
    "6.1": Version(
        brk_pages=16,
        step_shift=8,
        grows_by_new=False,
        leaf_by_hypercall=False,
        flushes_while_walking=False,
        extends_brk=True,
        falls_back_to_end=True,
    ),
}


@dataclass(frozen=True, kw_only=True)
class MemoryMap:
    """What the direct map depends on, as it stands when the kernel begins to build it."""

    ram: tuple[Range, ...]
    reserved: tuple[Range, ...]
    builder_l1_tables: int
    brk: Range
    frames: tuple[Range, ...]
    """Pages behind which there are frames of the guest's own."""
    absent: tuple[Range, ...] = ()
    """Pages of the builder's map whose entries are empty, frame or not."""
    io: tuple[Range, ...] = ()
    """Pages that are the host's own addresses."""
    p2m_pages: tuple[Range, ...] = ()
    """Pages that are mapped read-only."""
    typed_writable: tuple[Range, ...] = ()


@dataclass
class Tally:
    """What was counted, by group and key, and which pages became tables."""

    counters: Counter[tuple[str, str]] = field(default_factory=Counter)
    tables: list[tuple[int, int]] = field(default_factory=list)
    """(page, level), in the order in which they were taken."""
    calls: int = 0
    plain_stores: int = 0

    def __getitem__(self, key: tuple[str, str]) -> int:
        return self.counters[key]

    def add(self, group: str, key: str, number: int = 1) -> None:
        """Count something, unless there is none of it."""
        if number:
            self.counters[group, key] += number


@dataclass
class Table:
    """A page table page as Xen sees it."""

    page: int
    live: bool
    """Typed: what is stored into it is checked."""
    entries: dict[int, "Table"] = field(default_factory=dict)
    """Of an L2, L3 or L4: the tables in its slots."""
    leaves: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(512, np.uint8))
    """Of an L1: what is in its slots."""
    read_only_since: int = -1
    """How many flushes there had been when its last writable mapping went."""


def count(memory: MemoryMap, version: Version) -> Tally:
    """Go through init_mem_mapping() and count; :class:`Panic` where the kernel gives up."""
    walk = _Walk(memory, version)
    walk.init_mem_mapping()
    return walk.tally


class _Walk:
    def __init__(self, memory: MemoryMap, version: Version) -> None:
        self.memory = memory
        self.version = version
        self.tally = Tally()
        self.reserved = list(memory.reserved)
        self.free = subtract(memory.ram, memory.reserved)
        self.flushes = 0
        self.brk_next, self.brk_top = memory.brk
        self.brk_allowed = True
        self.min_mapped = self.max_mapped = 0
        l2 = Table(-1, live=True)
        for region in range(memory.builder_l1_tables):
            l1 = Table(-1, live=True)
            first = region * L1_PAGES
            paint(l1.leaves, first, memory.frames, WRITABLE)
            paint(l1.leaves, first, memory.io, WRITABLE)
            paint(l1.leaves, first, memory.absent, EMPTY)
            l2.entries[region] = l1
        self.l4 = Table(-1, live=True, entries={0: Table(-1, live=True, entries={0: l2})})

    # -- init.c -----------------------------------------------------------------------------------

    def init_mem_mapping(self) -> None:
        end = self.memory.ram[-1][1]
        self.init_memory_mapping(0, ISA_END)
        block = self.highest_free(L1_PAGES, ISA_END, end, align=L1_PAGES)
        if block is not None:
            real_end = block + L1_PAGES
        elif self.version.falls_back_to_end:
            real_end = max(ISA_END, end // L1_PAGES * L1_PAGES)
        else:
            real_end = L1_PAGES
        self.max_mapped, self.min_mapped = 0, real_end
        step, last, total = L1_PAGES, real_end, 0
        while last > ISA_END:
            start = ISA_END
            if last > step:
                start = max((last - 1) // step * step, ISA_END)
            new = self.map_range(start, last)
            last = self.min_mapped = start
            grows = new > total if self.version.grows_by_new else total + new >= step
            total += new
            if grows:
                step <<= self.version.step_shift
        if real_end < end:
            self.map_range(real_end, end)
        self.tally.add("hypercalls_direct", "mmuext_op")
        self.tally.add("mmuext_ops", "NEW_BASEPTR")
        self.tally.add("tlb", "xen_switch_cr3")
        self.flushes += 1
        self.flush_hypercall()

    def map_range(self, low: int, high: int) -> int:
        mapped = 0
        for start, end in clipped(self.memory.ram, low, high):
            self.brk_allowed = max(start, self.brk_next) >= min(end, self.brk_top)
            self.init_memory_mapping(start, end)
            mapped += end - start
        self.brk_allowed = True
        return mapped

    def take_page(self, level: int) -> Table:
        if self.brk_allowed and self.brk_next < self.brk_top:
            page = self.brk_next
            self.brk_next += 1
        elif self.min_mapped < self.max_mapped:
            found = self.highest_free(1, self.min_mapped, self.max_mapped)
            if found is None:
                raise Panic("can not alloc memory")
            page = found
            self.free = subtract(self.free, [(page, page + 1)])
        elif self.brk_allowed and self.version.extends_brk:
            page = self.brk_next
            self.brk_next += 1
            self.brk_top = max(self.brk_top, self.brk_next)
        else:
            raise Panic("ran out of memory")
        self.tally.tables.append((page, level))
        self.tally.plain_stores += 512
        return Table(page, live=False)

    def highest_free(self, pages: int, low: int, high: int, align: int = 1) -> int | None:
        for start, end in reversed(list(clipped(self.free, low, high))):
            first = (end - pages) // align * align
            if first >= start:
                return first
        return None

    # -- init_64.c --------------------------------------------------------------------------------

    def init_memory_mapping(self, start: int, end: int) -> None:
        """kernel_physical_mapping_init: whatever 512 GiB are touched."""
        self.tally.calls += 1
        last = end
        for slot in range(start // L3_PAGES, -(-end // L3_PAGES)):
            low, high = max(start, slot * L3_PAGES), min(end, (slot + 1) * L3_PAGES)
            known = self.l4.entries.get(slot)
            if known is not None:
                last = self.map_l3(known, slot * L3_PAGES, low, high)
            else:
                table = self.take_page(3)
                last = self.map_l3(table, slot * L3_PAGES, low, high)
                self.read_only(table)
                self.hook(4, self.l4, slot, table)
        if self.version.flushes_while_walking:
            self.flush_hypercall()
        self.max_mapped = max(self.max_mapped, last)

    def map_l3(self, table: Table, base: int, start: int, end: int) -> int:
        last = end
        for slot in range((start - base) // L2_PAGES, 512):
            first = base + slot * L2_PAGES
            if first >= end:
                if not self.any_ram(first, first + L2_PAGES):
                    self.update(3, table, "np_to_np")
                continue
            low, high = max(start, first), min(end, first + L2_PAGES)
            known = table.entries.get(slot)
            if known is not None:
                last = self.map_l2(known, first, low, high)
                if self.version.flushes_while_walking:
                    self.flush_hypercall()
            else:
                fresh = self.take_page(2)
                last = self.map_l2(fresh, first, low, high)
                self.read_only(fresh)
                self.hook(3, table, slot, fresh)
        if self.version.flushes_while_walking:
            self.flush_hypercall()
        return last

    def map_l2(self, table: Table, base: int, start: int, end: int) -> int:
        last = end
        for slot in range((start - base) // L1_PAGES, 512):
            first = base + slot * L1_PAGES
            if first >= end:
                if not self.any_ram(first, first + L1_PAGES):
                    # The builder's map may reach behind the end of RAM.
                    gone = table.entries.pop(slot, None)
                    self.update(2, table, "np_to_np" if gone is None else "p_to_np")
                continue
            low, high = max(start, first), min(end, first + L1_PAGES)
            known = table.entries.get(slot)
            if known is not None:
                last = self.map_l1(known, first, low, high)
            else:
                fresh = self.take_page(1)
                last = self.map_l1(fresh, first, low, high)
                self.read_only(fresh)
                self.pin(fresh, first)
                self.hook(2, table, slot, fresh)
        return last

    def map_l1(self, table: Table, base: int, start: int, end: int) -> int:
        """All pages of the range whose entries are empty, and zeroes behind it where no RAM is."""
        wanted = np.zeros(512, np.uint8)
        paint(wanted, base, self.memory.frames, WRITABLE)
        paint(wanted, base, self.memory.io, WRITABLE)
        paint(wanted, base, self.memory.p2m_pages, READ_ONLY, only_over=WRITABLE)
        ram = np.zeros(512, np.uint8)
        paint(ram, base, self.memory.ram, 1)
        slots = np.arange(base, base + 512)
        written = (slots >= start) & (slots < end) & (table.leaves == EMPTY)
        cleared = (slots >= end) & (ram == 0)
        last = int(slots[written][-1]) + 1 if written.any() else end
        for what, name in (
            (WRITABLE, "np_to_p_rw"),
            (READ_ONLY, "np_to_p_ro"),
            (EMPTY, "np_to_np"),
        ):
            number = int(np.count_nonzero(written & (wanted == what)))
            if what == EMPTY:
                number += int(np.count_nonzero(cleared & (table.leaves == EMPTY)))
            self.store_leaves(table, number, name)
        # What the builder mapped where the memory map knows of no RAM.
        self.store_leaves(table, int(np.count_nonzero(table.leaves[cleared])), "p_to_np")
        table.leaves[cleared] = EMPTY
        table.leaves[written] = wanted[written]
        if table.live:
            self.count_writable(written & (wanted == WRITABLE), base)
        return last

    # -- what it is to the hypervisor --------------------------------------------------------------

    def store_leaves(self, table: Table, number: int, transition: str) -> None:
        if self.version.leaf_by_hypercall:
            self.update(1, table, transition, number)
        elif table.live:
            self.tally.add("page_faults_into_xen", "total", number)
            self.tally.add("page_faults_into_xen", "fixed_by_xen(ptwr/mmio-ro/gdt)", number)
            self.tally.add("ptwr_emulations_by_transition", transition, number)
        else:
            self.tally.plain_stores += number

    def count_writable(self, new: NDArray[np.bool_], base: int) -> None:
        """Frames that are mapped writable for the first time, of the pages from ``base`` on."""
        row = new.astype(np.uint8)
        paint(row, base, self.memory.io, 0)
        paint(row, base, self.memory.typed_writable, 0)
        number = int(np.count_nonzero(row))
        self.tally.add("page_type_changes", "untyped_or_unref->writable_page", number)

    def read_only(self, table: Table) -> None:
        """update_va_mapping of the table's own leaf, which is always there."""
        self.tally.add("hypercalls_direct", "update_va_mapping")
        self.tally.add("update_va_mapping_by_flush", "none")
        self.tally.add("update_va_mapping_by_transition", "p_rw_to_ro")
        table.read_only_since = self.flushes

    def pin(self, table: Table, base: int) -> None:
        self.tally.add("hypercalls_direct", "mmuext_op")
        self.tally.add("mmuext_ops", "PIN_L1_TABLE")
        self.becomes_table(1, table)
        present = int(np.count_nonzero(table.leaves))
        self.tally.add("L1_validations_by_present_entries", str(present))
        self.tally.counters["present_entries_scanned_in_validations", "L1"] += present
        self.count_writable(table.leaves == WRITABLE, base)

    def becomes_table(self, level: int, table: Table) -> None:
        """A frame that was mapped writable changes its type; its stale translations go first."""
        if table.read_only_since >= self.flushes:
            self.flushes += 1
            self.tally.add("tlb", "local_full_flush")
            self.tally.add("misc", "tlb_flushes_forced_by_page_type_change")
        self.tally.add("page_type_changes", f"writable_page->L{level}")
        self.tally.add("page_type_validations", f"L{level}")
        table.live = True
        if level > 1:
            present = len(table.entries)
            self.tally.counters["present_entries_scanned_in_validations", f"L{level}"] += present
            for below in table.entries.values():
                if not below.live:
                    self.becomes_table(level - 1, below)

    def hook(self, level: int, table: Table, slot: int, below: Table) -> None:
        if table.live and not below.live:
            self.becomes_table(level - 1, below)
        table.entries[slot] = below
        self.update(level, table, "np_to_p_rw")

    def update(self, level: int, table: Table, transition: str, number: int = 1) -> None:
        """Calls of mmu_update, each for an entry in a table of this level."""
        self.tally.add("hypercalls_direct", "mmu_update", number)
        self.tally.add("mmu_update_entries_by_cmd", "NORMAL_PT_UPDATE", number)
        target = f"L{level}" if table.live else "writable_page"
        self.tally.add("mmu_update_entries_by_target_page_type", target, number)
        if table.live:
            kind = f"L{level}:{transition}"
            self.tally.add("mmu_update_entries_by_type_and_transition", kind, number)
            if level > 1:
                self.flushes += number
                self.tally.add("tlb", "local_full_flush", number)

    def flush_hypercall(self) -> None:
        self.tally.add("hypercalls_direct", "mmuext_op")
        self.tally.add("mmuext_ops", "TLB_FLUSH_LOCAL")
        self.tally.add("tlb", "local_full_flush")
        self.flushes += 1

    def any_ram(self, first: int, end: int) -> bool:
        return any(True for _ in clipped(self.memory.ram, first, end))


# -- ranges ---------------------------------------------------------------------------------------


def clipped(ranges: Iterable[Range], low: int, high: int) -> Iterator[Range]:
    """What of these ranges lies in [low, high)."""
    for start, end in ranges:
        if start < high and end > low:
            yield max(start, low), min(end, high)


def subtract(ranges: Iterable[Range], holes: Iterable[Range]) -> list[Range]:
    """What is left of these ranges without the holes."""
    left = list(ranges)
    for low, high in holes:
        cut = []
        for start, end in left:
            cut += [(start, min(end, low)), (max(start, high), end)]
        left = [(start, end) for start, end in cut if start < end]
    return left


def paint(
    row: NDArray[np.uint8],
    base: int,
    ranges: Iterable[Range],
    value: int,
    only_over: int | None = None,
) -> None:
    """Set the entries of a row of 512, which begins at page ``base``, that lie in the ranges."""
    for start, end in clipped(ranges, base, base + 512):
        part = row[start - base : end - base]
        part[slice(None) if only_over is None else part == only_over] = value
