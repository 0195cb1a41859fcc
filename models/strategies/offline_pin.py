"""A complete new direct map is built beside the live one, and handed over by a single pin.

Until then its tables are ordinary pages, written by ordinary stores: nothing is pinned or hooked.
Every table's leaf in the new map is read-only when the map is complete; the same pages are made
read-only in the live map; then the whole tree is pinned by its L4, loaded, and the old one let
go. What it needs is a way to write each new table: its own address where it is mapped already,
else the address of one such page.

Hypothetical on 64-bit: an idea of May 2011 (Konrad Rzeszutek Wilk, "at cr3 load"). 32-bit kernels
change to their swapper's tables so.
"""

from models.linux.boot.guest import Guest
from models.linux.boot.strategy import Strategy
from models.linux.boot.walks.offline import load_base, make_read_only, plan_tree, write_tree
from models.linux.release import V2_6_39
from models.strategies.policies import below_mapped
from sim.effects import Activity


def build_offline(guest: Guest) -> Activity:
    """Build, make read-only, pin, switch, unpin."""
    tree = yield from plan_tree(guest)
    yield from write_tree(guest, tree)
    yield from make_read_only(guest, tree)
    yield from guest.pin_l4(tree.l4)
    yield from guest.hazards.closed(tree.tables)
    old = yield from load_base(guest, tree.l4)
    yield from guest.unpin(old)
    yield from guest.flush_tlb()


offline_pin = Strategy(
    name="offline-pin",
    summary="a new map built in ordinary pages, pinned as a whole, then loaded",
    history="an idea of May 2011; on 32-bit, the switch to swapper_pg_dir",
    kernel=V2_6_39,
    direct_map=build_offline,
    placement=below_mapped,
    own_ways=frozenset(("mask", "early", "publish", "hook", "release", "access", "store", "order")),
)
