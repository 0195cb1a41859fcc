"""Table pages come only from memory that is mapped already, from the top downwards.

The invariant of 2008, that every table's own leaf exists before the table, holds again by the
allocator's contract; no mask and no hook are needed.

Linux v3.9 and v3.10 (8d57470d8f85 and its series).
"""

from models.linux.boot.strategy import Strategy
from models.linux.boot.walks.mapped_only import build_direct_map
from models.linux.release import V3_10

mapped_only_3_10 = Strategy(
    name="mapped-only-3.10",
    summary="tables from mapped memory only, top-down",
    history="Linux v3.9 and v3.10, 8d57470d8f85",
    kernel=V3_10,
    direct_map=build_direct_map,
)
