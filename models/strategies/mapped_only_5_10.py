"""As mapped-only-6.1, with an mmu_update for each leaf, empty ones included.

Against the L1 terminal fault the kernel stopped writing entries of page tables itself, and the
boot's leaves, in tables that Xen does not know yet, went along: a hypercall for each 4 KiB of RAM.

Linux v4.19 (f7c90c2aa400) to v5.15, as in v5.10.
"""

from models.linux.boot.strategy import Strategy
from models.linux.boot.walks.mapped_only import build_direct_map
from models.linux.release import V5_10

mapped_only_5_10 = Strategy(
    name="mapped-only-5.10",
    summary="tables from mapped memory only, a hypercall for each leaf",
    history="Linux v4.19 to v5.15, f7c90c2aa400",
    kernel=V5_10,
    direct_map=build_direct_map,
    leaf_updates=True,
)
