"""What could not be made read-only is remembered, and mapped read-only when its leaf is written.

A table whose leaf is not there yet when it is hooked goes into a set, and every later store of a
leaf asks the set. It comes too late for a leaf that was written before the hook: by a table that
is not reachable yet, or by the table itself, whose own region it may lie in.

Proposed in the mail of 24 May 2011 (Stefano Stabellini's way).
"""

from models.linux.direct_map import build_direct_map
from models.linux.guest import Guest, Page
from models.linux.kernel import V2_6_39
from models.linux.strategy import PinAndHook, Strategy
from models.strategies.policies import KnownTables, PageSet, top_of_range
from sim.effects import Activity


class DeferUnreachable(PinAndHook):
    """A table whose leaf cannot be found is remembered."""

    def make_read_only(self, guest: Guest, page: Page) -> Activity:
        """Now, or by the leaf that is written later."""
        if not (yield from guest.make_lowmem_page_readonly(page.pfn)):
            guest.strategy_state.add(page.pfn)


deferred_ro = Strategy(
    name="deferred-ro",
    summary="tables high, those without a leaf yet are mapped read-only later",
    history="proposed on LKML, 24 May 2011",
    kernel=V2_6_39,
    direct_map=build_direct_map,
    placement=top_of_range,
    mask=KnownTables(),
    leaf_cost="set_lookup",
    hook=DeferUnreachable(),
    state=PageSet,
)
