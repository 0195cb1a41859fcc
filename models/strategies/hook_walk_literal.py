"""Whoever enters a table walks it first, and makes the tables below it read-only.

As the mail has it: the entries of the table that is about to be hooked are read through a mapping
of its own, and every table that they point to is made read-only. The kernel still pins each L1
before, and what stands in the way is no table below but a leaf.

Proposed in the mail of 24 May 2011 (Konrad Rzeszutek Wilk's way).
"""

from models.linux.boot.early_mappings import early_iounmap, early_memremap
from models.linux.boot.guest import Guest, Page
from models.linux.boot.strategy import PinAndHook, Strategy
from models.linux.boot.walks.buffered import build_direct_map
from models.linux.release import V2_6_39
from models.strategies.policies import EarlySlotsOnly, top_of_range
from sim.effects import Activity


class WalkAndHook(PinAndHook):
    """The kernel's own way, and a walk before a table is entered."""

    def l1(self, guest: Guest, table: int, slot: int, page: Page) -> Activity:
        """An L1 has no tables below it, but that is found out by reading it."""
        yield from self.make_read_only(guest, page)
        yield from guest.pin_l1(page.pfn)
        yield from _read(guest, page.pfn)
        yield from guest.enter(table, slot, page)

    def alike(self, guest: Guest, first: int, end: int) -> bool:  # noqa: ARG002
        """Yes: what is read of an L1 has no consequences."""
        return True

    def upper(self, guest: Guest, table: int, slot: int, page: Page) -> Activity:
        """The tables that it points to are made read-only, then the table itself."""
        entries = yield from _read(guest, page.pfn)
        for child in guest.tables_in(entries):
            yield from guest.make_lowmem_page_readonly(child)
        yield from super().upper(guest, table, slot, page)


def _read(guest: Guest, pfn: int) -> Activity:
    """The entries of a table, through a read-only mapping of its own."""
    page = yield from early_memremap(guest, pfn, writable=False)
    entries = yield from guest.read_table(page)
    yield from early_iounmap(guest, page)
    return entries


hook_walk_literal = Strategy(
    name="hook-walk-literal",
    summary="tables high, each walked when it is hooked to make the tables below read-only",
    history="proposed on LKML, 24 May 2011",
    kernel=V2_6_39,
    direct_map=build_direct_map,
    placement=top_of_range,
    mask=EarlySlotsOnly(),
    hook=WalkAndHook(),
)
