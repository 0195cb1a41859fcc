"""As deferred-ro, and a page is remembered as soon as it is taken to be a table.

A table no longer maps itself writable. What is left is the hazard of tables-high: a leaf that was
written before the page was taken, by a table that is pinned and not yet reachable.

A variant of the proposal of 24 May 2011.
"""

from models.linux.boot.strategy import Strategy
from models.linux.boot.walks.buffered import build_direct_map
from models.linux.release import V2_6_39
from models.strategies.policies import KnownTables, top_of_range

deferred_ro_early = Strategy(
    name="deferred-ro-early",
    summary="tables high, every page taken for one is mapped read-only later",
    history="a variant of LKML, 24 May 2011",
    kernel=V2_6_39,
    direct_map=build_direct_map,
    placement=top_of_range,
    mask=KnownTables(),
    leaf_cost="set_lookup",
    publish="alloc",
)
