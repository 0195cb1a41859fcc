"""What could not be made read-only is remembered, and mapped read-only when its leaf is written.

A table goes into a set when it is hooked, since its leaf may not be there yet, and every later
store of a leaf asks the set. That is too late for a leaf that was written before the hook: by a
table that is not reachable yet, or by the table itself, whose own region it may lie in.

Proposed in the mail of 24 May 2011 (Stefano Stabellini's way).
"""

from models.linux.boot.strategy import Strategy
from models.linux.boot.walks.buffered import build_direct_map
from models.linux.release import V2_6_39
from models.strategies.policies import KnownTables, top_of_range

deferred_ro = Strategy(
    name="deferred-ro",
    summary="tables high, those without a leaf yet are mapped read-only later",
    history="proposed on LKML, 24 May 2011",
    kernel=V2_6_39,
    direct_map=build_direct_map,
    placement=top_of_range,
    mask=KnownTables(),
    leaf_cost="set_lookup",
    publish="hook",
)
