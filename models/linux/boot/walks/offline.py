"""A whole new direct map, written beside the one in use.

The pages for all of its tables are taken first, so every entry is known before the first is
written, and each table is written once, from the top downwards. Nobody uses the tree yet: all
stores are ordinary ones. No kernel has built its 64-bit map so; the shape is what follows from the
proposal, and the parts that it leaves open are the choices made here.
"""

from dataclasses import dataclass, field

import numpy as np

from models.linux.boot.calls import bug
from models.linux.boot.guest import Guest, Page
from models.linux.boot.walks.buffered import anything_there, ranges_to_map
from models.linux.crash import GuestCrash
from models.linux.start_state.p2m import PAGE_KERNEL, TABLE_FLAGS
from models.machine.entries import ENTRIES, PAGE_SHIFT, PAGES_PER_L2
from models.xen.hypercalls import MmuextOp
from models.xen.words import NEW_BASEPTR, RESERVED_L4_SLOTS, UVMF_INVLPG
from sim.effects import Activity


@dataclass
class Tree:
    """The tables of a direct map that is not in use yet: pages (pfns) by what they map."""

    ends: dict[int, int]
    """region -> one past the last page that its L1 maps, for each region of 512 pages."""
    l4: int = -1
    l3s: dict[int, int] = field(default_factory=dict)
    l2s: dict[int, int] = field(default_factory=dict)
    l1s: dict[int, int] = field(default_factory=dict)
    window_moved: bool = False
    """The address of the L4's page leads to another table."""

    @property
    def tables(self) -> list[int]:
        """All pages, from the L4 downwards."""
        return [self.l4, *self.l3s.values(), *self.l2s.values(), *self.l1s.values()]


def plan_tree(guest: Guest) -> Activity:
    """Take a page for every table of the new :class:`Tree`."""
    tree = Tree(_regions(guest))
    gibs = dict.fromkeys(region // ENTRIES for region in tree.ends)
    slots = dict.fromkeys(gib // ENTRIES for gib in gibs)
    pages = iter(_take_pages(guest, 1 + len(slots) + len(gibs) + len(tree.ends)))
    tree.l4 = next(pages)
    yield from guest.tables.note_table(tree.l4, 4)
    for level, numbers, tables in (
        (3, slots, tree.l3s),
        (2, gibs, tree.l2s),
        (1, tree.ends, tree.l1s),
    ):
        for number in numbers:
            tables[number] = next(pages)
            yield from guest.tables.note_table(tables[number], level)
    return tree


def _regions(guest: Guest) -> dict[int, int]:
    """The regions that get an L1: those that the kernel's own walk would go through."""
    ends = {}
    for first, last in ranges_to_map(guest):
        for gib in range(first // PAGES_PER_L2, -(-last // PAGES_PER_L2)):
            base = gib * PAGES_PER_L2
            if anything_there(guest, base, base + PAGES_PER_L2):
                low, high = max(first, base), min(last, base + PAGES_PER_L2)
                for region in range(low // ENTRIES, -(-high // ENTRIES)):
                    ends[region] = min(high, (region + 1) * ENTRIES)
    return ends


def _take_pages(guest: Guest, count: int) -> list[int]:
    """Pages that are mapped already, if there are enough; else one of those, and the highest.

    A page that is mapped can be written at its own address. One such page is enough to write
    all others through its address, one after the other.
    """
    assert guest.strategy.placement is not None
    mapped = guest.strategy.placement(guest, guest.e820.max_pfn)
    start = guest.memblock.find(count, *mapped)
    if start is not None:
        guest.memblock.reserve(start, start + count)
        return list(range(start, start + count))
    pages = []
    for low, high in (mapped, *[(mapped[0], guest.e820.max_pfn)] * (count - 1)):
        page = guest.memblock.find(1, low, high)
        if page is None:
            raise GuestCrash("bug", f"Cannot find space for the kernel page tables ({count} pages)")
        guest.memblock.reserve(page, page + 1)
        pages.append(page)
    return pages


def write_tree(guest: Guest, tree: Tree) -> Activity:
    """Write all tables; in the new map every table, old or new, is read-only."""
    # The L4 comes first: the others may need its address.
    entries = yield from guest.read_table(guest.page_at(guest.l4))
    entries[RESERVED_L4_SLOTS.start : RESERVED_L4_SLOTS.stop] = 0  # Xen's; it fills in its own
    for slot, pfn in tree.l3s.items():
        entries[guest.kernel.page_offset_slot + slot] = _entry(guest, pfn)
    page = yield from _reach(guest, tree, tree.l4)
    yield from guest.store_run(page.va, entries)

    for above, below in ((tree.l3s, tree.l2s), (tree.l2s, tree.l1s)):
        contents = {number: np.zeros(ENTRIES, np.uint64) for number in above}
        for number, pfn in below.items():
            contents[number // ENTRIES][number % ENTRIES] = _entry(guest, pfn)
        for number, pfn in above.items():
            page = yield from _reach(guest, tree, pfn)
            yield from guest.store_run(page.va, contents[number])

    tables: dict[int, list[int]] = {}
    for pfn in (*tree.tables, *guest.start.builder_l1s, *guest.start.static_pfns):
        tables.setdefault(pfn // ENTRIES, []).append(pfn)
    for region, pfn in tree.l1s.items():
        page = yield from _reach(guest, tree, pfn)
        yield from _write_l1(guest, page, region, tree.ends[region], tables.get(region, []))


def _write_l1(guest: Guest, page: Page, region: int, end: int, tables: list[int]) -> Activity:
    """Write all leaves of a region, and those of its pages that are tables once more."""
    first = region * ENTRIES
    leaves = np.zeros(ENTRIES, np.uint64)
    leaves[: end - first], _ = guest.p2m.leaves(first, end)
    yield from guest.store_run(page.va, guest.masked(first, leaves))
    for pfn in tables:
        yield from guest.store(page.va + 8 * (pfn - first), guest.read_only_leaf(pfn))
    yield from guest.tables.note_filled(region, page)


def _entry(guest: Guest, pfn: int) -> int:
    return guest.mfn(pfn) << PAGE_SHIFT | TABLE_FLAGS


def _reach(guest: Guest, tree: Tree, pfn: int) -> Activity:
    """A :class:`Page` that can be written: at its own address, or at that of the L4's page.

    The leaf of the L4's page is pointed to one table after the other, so what was written
    before has no writable leaf left.
    """
    mfn = guest.mfn(pfn)
    leaf = guest.lookup_address(guest.va(pfn))
    if leaf is not None and leaf[1]:
        return Page(pfn, mfn, guest.va(pfn))
    va = guest.va(tree.l4)
    yield from guest.calls.update_va_mapping(pfn, va, mfn << PAGE_SHIFT | PAGE_KERNEL, UVMF_INVLPG)
    tree.window_moved = True
    return Page(pfn, mfn, va)


def make_read_only(guest: Guest, tree: Tree) -> Activity:
    """Take the write permission from all tables in the live map; most may not be mapped there."""
    if tree.window_moved:
        leaf = guest.read_only_leaf(tree.l4)
        yield from guest.calls.update_va_mapping(tree.l4, guest.va(tree.l4), leaf, UVMF_INVLPG)
        yield from guest.hazards.closed((tree.l4,))
    for pfn in tree.tables[tree.window_moved :]:
        yield from guest.make_lowmem_page_readonly(pfn)


def load_base(guest: Guest, pfn: int) -> Activity:
    """Make another L4 the kernel's (xen_write_cr3); the pfn of the one before."""
    old, new = guest.l4, guest.mfn(pfn)
    call = MmuextOp(((NEW_BASEPTR, new, 0),))
    rc: int = yield from guest.calls.single(call)
    if rc:
        raise bug(call, rc, "pin", pfn)
    guest.l4 = new
    guest.retired |= _tables_below(guest, old) - _tables_below(guest, new)
    return guest.pfn_of(old)


def _tables_below(guest: Guest, l4: int) -> set[int]:
    """The pages of a tree's tables, its root among them."""
    level = {guest.pfn_of(l4)}
    tables = set(level)
    for _ in range(3):
        level = {
            child
            for pfn in level
            for child in guest.tables_in(guest.frames.array(guest.mfn(pfn)))
            if child not in tables
        }
        tables |= level
    return tables
