"""A fresh L1 is hooked while it is empty, and its leaves are stored into the live table.

The table is read-only by then, so every store of a leaf is a fault, which Xen decodes, checks and
makes: the writable-pagetable assist. It takes the place of nothing but the order of filling and
hooking: a table's own leaf must be found when it is hooked, as in tables-low, on which it stands.

Linux of 32 bits fills its tables so; on 64 bits no kernel did.
"""

from models.linux.boot.strategy import Strategy
from models.linux.boot.walks.buffered import build_direct_map
from models.linux.release import V2_6_38
from models.strategies.policies import ReadOnlyBuffer, always_writable, below_mapped

ptwr_fill = Strategy(
    name="ptwr-fill",
    summary="tables from mapped low memory, hooked empty: every leaf is an emulated store",
    history="the order of 32-bit Linux, with Xen's writable page tables",
    kernel=V2_6_38,
    direct_map=build_direct_map,
    placement=below_mapped,
    mask=ReadOnlyBuffer(until="used_end"),
    early=always_writable,
    leaf_cost="pte_check_scalar",
    hook_first=True,
)
