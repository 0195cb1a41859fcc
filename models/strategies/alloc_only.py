"""The hook alone: a table is made read-only when it is hooked, and leaves are not looked at.

With tables at the top of what is being mapped, the first L1 whose region holds tables maps live
ones writable, and Xen refuses it.

What Linux v2.6.39-rc would be without its mask; Stefano Stabellini, xen-devel, 17 May 2011.
"""

from models.linux.boot.strategy import Strategy
from models.linux.boot.walks.buffered import build_direct_map
from models.linux.release import V2_6_39
from models.strategies.policies import EarlySlotsOnly, top_of_range

alloc_only = Strategy(
    name="alloc-only",
    summary="tables high, read-only only by the hook that enters them",
    history="proposed on xen-devel, 17 May 2011",
    kernel=V2_6_39,
    direct_map=build_direct_map,
    placement=top_of_range,
    mask=EarlySlotsOnly(),
)
