"""Table pages come only from memory that is mapped already, as Linux 6.1 does it.

As in v3.9, with a larger BRK window and step, without TLB flushes inside the walk, and with
the p2m list outside the direct map's first part, its leaves read-only.

Linux v5.16 to v6.1.
"""

from models.linux.boot.strategy import Strategy
from models.linux.boot.walks.mapped_only import build_direct_map
from models.linux.release import V6_1

mapped_only_6_1 = Strategy(
    name="mapped-only-6.1",
    summary="tables from mapped memory only, as today",
    history="Linux v5.16 to v6.1",
    kernel=V6_1,
    direct_map=build_direct_map,
)
