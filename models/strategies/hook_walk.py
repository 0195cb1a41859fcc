"""The walk at the hook, repaired: leaves are looked at, and nothing is pinned before.

No table is pinned: until a tree is entered into a live table, all of it is ordinary memory. Then
every L1 below is read, and leaves of *any* table are made read-only by plain stores; leaves in
tables that are live already are changed by hypercall. One mmu_update enters the whole tree, and
the hypervisor validates it at once. For that the kernel knows its tables from the moment their
pages are taken, and which of them are live.

A repair of the proposal of 24 May 2011.
"""

from models.linux.boot.early_mappings import early_iounmap, early_memremap
from models.linux.boot.guest import Guest, Page
from models.linux.boot.page_set import PageSet
from models.linux.boot.strategy import Strategy
from models.linux.boot.walks.buffered import build_direct_map
from models.linux.release import V2_6_39
from models.strategies.policies import EarlySlotsOnly, top_of_range
from sim.effects import Activity, Spend

_LOOK_UP_LEAVES = Spend("set_lookup", 512)


class WalkLeaves:
    """Enter a tree when its root goes into a live table."""

    def l1(self, guest: Guest, table: int, slot: int, page: Page) -> Activity:
        """An L1 is a tree of one."""
        return self.upper(guest, table, slot, page)

    def upper(self, guest: Guest, table: int, slot: int, page: Page) -> Activity:
        """A table that is not live yet takes its entries as they come."""
        if self.walks_below(guest, table, page.pfn):
            yield from self.walk(guest, page.pfn)
        yield from guest.enter(table, slot, page)

    def alike(self, guest: Guest, first: int, end: int) -> bool:
        """Yes, if their tables map no page that is looked for."""
        return not guest.tables.known.between(first, end)

    def walks_below(self, guest: Guest, table: int, root: int) -> bool:  # noqa: ARG002
        """Is the tree walked when its root goes into this table (mfn)?"""
        return guest.pfn_of(table) not in guest.tables.unhooked

    def looks_for(self, guest: Guest, root: int) -> PageSet:  # noqa: ARG002
        """The tables (pfns) that the leaves of a tree must not map writable."""
        return guest.tables.known

    def walk(self, guest: Guest, root: int) -> Activity:
        """Read the tree table by table, then make its own tables read-only elsewhere."""
        tree = guest.tables.tree(root)
        for pfn in tree:
            yield from self.walk_table(guest, root, pfn)
        for pfn in tree:
            yield from guest.make_lowmem_page_readonly(pfn)

    def walk_table(self, guest: Guest, root: int, pfn: int) -> Activity:
        """Map one table of the tree and look at it; the mapping is gone before the hook."""
        page = yield from early_memremap(guest, pfn, writable=True)
        yield from self.clear_leaves(guest, root, page)
        yield from early_iounmap(guest, page)

    def clear_leaves(self, guest: Guest, root: int, page: Page) -> Activity:
        """Where a table is an L1, tables that it maps writable are no longer so."""
        entries = yield from guest.read_table(page)
        if guest.tables.tree(page.pfn) != [page.pfn]:
            return
        yield _LOOK_UP_LEAVES
        for slot, target in guest.writable_leaves(entries, self.looks_for(guest, root)):
            yield from guest.store(page.va + 8 * slot, guest.read_only_leaf(target))
            yield from guest.hazards.closed((target,))


hook_walk = Strategy(
    name="hook-walk",
    summary="tables high, a tree's leaves made read-only when it is entered into a live table",
    history="a repair of LKML, 24 May 2011",
    kernel=V2_6_39,
    direct_map=build_direct_map,
    placement=top_of_range,
    mask=EarlySlotsOnly(),
    publish="alloc",
    hook=WalkLeaves(),
)
