"""Table pages come from the top of the memory that is about to be mapped.

Leaves are read-only for pages that are tables *at the moment of the store*. A page that
becomes a table later was mapped writable before, in a table that may be pinned and not yet
reachable; then nobody can take the permission away, and the pin is refused.

Linux v2.6.39-rc1 to rc5 (4b239f458c22; mask: d8aa5ec3382e).
"""

from models.linux.boot.strategy import Strategy
from models.linux.boot.walks.buffered import build_direct_map
from models.linux.release import V2_6_39
from models.strategies.policies import ReadOnlyBuffer, top_of_range

tables_high = Strategy(
    name="tables-high",
    summary="tables at the top of RAM, the bug of 2011",
    history="Linux v2.6.39-rc1 to rc5, 4b239f458c22",
    kernel=V2_6_39,
    direct_map=build_direct_map,
    placement=top_of_range,
    mask=ReadOnlyBuffer(until="used_end"),
    leaf_cost="pte_check_scalar",
)
