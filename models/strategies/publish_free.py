"""reserve-hook as an interface: the buffer is published, and what is left over is freed in batches.

Leaves of the published pages are read-only from the start. The free is one call for the whole
range, so that the pages can share multicalls.

Proposed in the mail of 24 May 2011.
"""

from models.linux.boot.strategy import Strategy
from models.linux.boot.walks.buffered import build_direct_map
from models.linux.release import V2_6_39
from models.strategies.policies import ReadOnlyBuffer, free_left_over_at_once, top_of_range

publish_free = Strategy(
    name="publish-free",
    summary="whole buffer published as read-only, left-overs freed in multicalls",
    history="proposed on LKML, 24 May 2011",
    kernel=V2_6_39,
    direct_map=build_direct_map,
    placement=top_of_range,
    mask=ReadOnlyBuffer(until="top"),
    leaf_cost="pte_check_scalar",
    release=free_left_over_at_once,
)
