"""Table pages come from low memory, which the domain builder has mapped.

Every table's own leaf can be reached when the table is hooked, so making it read-only always
succeeds. The mask keeps leaves written later from undoing that.

Linux v2.6.36 to v2.6.38 (mask: fef5ba797991).
"""

from models.linux.boot.strategy import Strategy
from models.linux.boot.walks.buffered import build_direct_map
from models.linux.release import V2_6_38
from models.strategies.policies import ReadOnlyBuffer, always_writable, below_mapped

tables_low = Strategy(
    name="tables-low",
    summary="tables from mapped low memory",
    history="Linux v2.6.36 to v2.6.38, fef5ba797991",
    kernel=V2_6_38,
    direct_map=build_direct_map,
    placement=below_mapped,
    mask=ReadOnlyBuffer(until="used_end"),
    early=always_writable,
    leaf_cost="pte_check_scalar",
)
