"""Walks at the hook that forget one thing: orders that look right and are not.

Each is hook-walk with one step left out, so that a scenario can show what the step is for. None
was in any kernel; the proposals of 24 May 2011 leave it open which of these orders is meant.
"""

from models.linux.boot.early_mappings import early_iounmap, early_memremap
from models.linux.boot.guest import Guest, Page
from models.linux.boot.page_set import PageSet
from models.strategies.hook_walk import WalkLeaves
from sim.effects import Activity


class WalkOwnTree(WalkLeaves):
    """Leaves that map tables of the tree are found, those that map tables elsewhere are not."""

    def looks_for(self, guest: Guest, root: int) -> PageSet:
        """The tree's own tables, as its entries tell; nobody publishes any others."""
        return PageSet(guest.tables.tree(root))


class WalkChildrenOnly(WalkLeaves):
    """The tables below the one that is hooked are looked for, and not that one."""

    def looks_for(self, guest: Guest, root: int) -> PageSet:
        """All known tables but the root."""
        return guest.tables.known.without(root)


class WalkUpToL2(WalkLeaves):
    """A tree is walked when its L2 is hooked, even if the L3 above is not live yet."""

    def walks_below(self, guest: Guest, table: int, root: int) -> bool:
        """At an L2, or at an L1 that goes into a live one; an L3 is entered as it is."""
        below = len(guest.tables.tree(root)) > 1
        return self._is_l2(guest, root) if below else super().walks_below(guest, table, root)

    def _is_l2(self, guest: Guest, root: int) -> bool:
        """Has it children, and none of them children of its own?"""
        tree = guest.tables.tree
        return all(tree(child) == [child] for child in tree(root)[1:])


class WalkPinEarly(WalkLeaves):
    """Each L1 is pinned when it is hooked, as the kernels of 2011 do, before its tree is walked."""

    def l1(self, guest: Guest, table: int, slot: int, page: Page) -> Activity:
        """Its own leaves are looked at, and it becomes a table at once."""
        yield from self.walk(guest, page.pfn)
        yield from guest.pin_l1(page.pfn)
        yield from guest.enter(table, slot, page)

    def upper(self, guest: Guest, table: int, slot: int, page: Page) -> Activity:
        """All L1s below are tables by now: there is nothing left to walk."""
        yield from guest.make_lowmem_page_readonly(page.pfn)
        yield from guest.enter(table, slot, page)


class WalkKeepsMapping(WalkLeaves):
    """The mapping through which a table is walked goes only after the table has been hooked."""

    def upper(self, guest: Guest, table: int, slot: int, page: Page) -> Activity:
        """The root stays mapped, writable, where the walk had it."""
        if not self.walks_below(guest, table, page.pfn):
            yield from guest.enter(table, slot, page)
            return
        tree = guest.tables.tree(page.pfn)
        kept = yield from early_memremap(guest, page.pfn, writable=True)
        yield from self.clear_leaves(guest, page.pfn, kept)
        for pfn in tree[1:]:
            yield from self.walk_table(guest, page.pfn, pfn)
        for pfn in tree:
            yield from guest.make_lowmem_page_readonly(pfn)
        yield from guest.enter(table, slot, page)
        yield from early_iounmap(guest, kept)
