"""The walk at the hook, repaired: leaves are looked at, and nothing is pinned before.

No table is pinned: until a tree is entered into a live table, all of it is ordinary memory. Then
every L1 below is read, and leaves of *any* table are made read-only by plain stores; leaves in
tables that are live already are changed by hypercall. One mmu_update enters the whole tree, and
the hypervisor validates it at once. For that the kernel knows its tables from the moment their
pages are taken, and which of them are live.

A repair of the proposal of 24 May 2011.
"""

from dataclasses import dataclass, field

from models.linux.direct_map import build_direct_map
from models.linux.guest import Guest, Page
from models.linux.kernel import V2_6_39
from models.linux.strategy import Strategy
from models.strategies.policies import EarlySlotsOnly, top_of_range
from sim.effects import Activity, Spend

_LOOK_UP_LEAVES = Spend("set_lookup", 512)


@dataclass
class Trees:
    """What the kernel knows of its new tables, by pfn."""

    tables: set[int] = field(default_factory=set)
    waiting: dict[int, list[int]] = field(default_factory=dict)
    """The tables that are not live yet, with those entered into them."""


def take_for_table(guest: Guest, pfn: int) -> None:
    """A page is a table from now on, and not live."""
    guest.strategy_state.tables.add(pfn)
    guest.strategy_state.waiting[pfn] = []


class WalkLeaves:
    """Enter a tree when its root goes into a live table."""

    def l1(self, guest: Guest, table: int, slot: int, page: Page) -> Activity:
        """An L1 is a tree of one."""
        return self.upper(guest, table, slot, page)

    def upper(self, guest: Guest, table: int, slot: int, page: Page) -> Activity:
        """A table that is not live yet takes its entries as they come."""
        trees: Trees = guest.strategy_state
        above = trees.waiting.get(guest.pfn_of(table))
        if above is not None:
            above.append(page.pfn)
            yield from guest.enter(table, slot, page)
            return
        tree = self._tree(trees, page.pfn)
        for pfn in tree:
            yield from self._make_leaves_read_only(guest, trees, pfn)
        for pfn in tree:
            yield from guest.make_lowmem_page_readonly(pfn)
        yield from guest.enter(table, slot, page)
        for pfn in tree:
            del trees.waiting[pfn]
            yield from guest.window_closed(pfn)

    def _tree(self, trees: Trees, root: int) -> list[int]:
        """All tables of a tree, the root first."""
        return [root, *(pfn for child in trees.waiting[root] for pfn in self._tree(trees, child))]

    def _make_leaves_read_only(self, guest: Guest, trees: Trees, pfn: int) -> Activity:
        """Read one table; where it is an L1, tables that it maps writable are no longer so."""
        page = yield from guest.early_memremap(pfn, writable=True)
        entries = yield from guest.read_table(page)
        if not trees.waiting[pfn]:
            yield _LOOK_UP_LEAVES
            for slot, target in guest.writable_leaves(entries, trees.tables):
                yield from guest.store(page.va + 8 * slot, guest.read_only_leaf(target))
                yield from guest.window_closed(target)
        yield from guest.early_iounmap(page)


hook_walk = Strategy(
    name="hook-walk",
    summary="tables high, a tree's leaves made read-only when it is entered into a live table",
    history="a repair of LKML, 24 May 2011",
    kernel=V2_6_39,
    direct_map=build_direct_map,
    placement=top_of_range,
    mask=EarlySlotsOnly(),
    table_allocated=take_for_table,
    hook=WalkLeaves(),
    state=Trees,
)
