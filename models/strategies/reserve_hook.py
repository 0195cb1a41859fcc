"""The whole buffer is mapped read-only; what is left over is made writable at once.

At the end of each call the kernel hands the used part to a hook (pagetable_reserve), and
Xen's gives the rest its write permission back before anybody can get hold of it.

Linux v2.6.39 (279b706bf800) to v3.8.
"""

from models.linux.boot.strategy import Strategy
from models.linux.boot.walks.buffered import build_direct_map
from models.linux.release import V2_6_39
from models.strategies.policies import ReadOnlyBuffer, make_left_over_writable, top_of_range

reserve_hook = Strategy(
    name="reserve-hook",
    summary="whole buffer read-only, left-overs made writable at the end of the call",
    history="Linux v2.6.39 to v3.8, 279b706bf800",
    kernel=V2_6_39,
    direct_map=build_direct_map,
    placement=top_of_range,
    mask=ReadOnlyBuffer(until="top"),
    leaf_cost="pte_check_scalar",
    release=make_left_over_writable,
)
