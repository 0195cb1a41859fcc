"""The guest's tables are its own: it maps its memory with leaves of 2 MiB, by plain stores.

Nothing is read-only, pinned or hooked, and no hypercall is made. The CPU walks the guest's tables
and a second one, of the hypervisor's, below them (EPT, NPT). So the cost goes elsewhere: each first
touch of 2 MiB of memory is a fault of that second table's, and each miss of the TLB a longer walk.

PVH and HVM guests (XENFEAT_auto_translated_physmap).
"""

from models.linux.boot.strategy import Strategy
from models.linux.boot.walks.native import build_native_map
from models.linux.release import V2_6_39
from models.strategies.policies import top_of_range
from models.xen.versions.paging import Paging

auto_translated = Strategy(
    name="auto-translated",
    summary="the guest's own tables under EPT or NPT, leaves of 2 MiB",
    history="PVH and HVM guests",
    kernel=V2_6_39,
    paging=Paging.NESTED,
    direct_map=build_native_map,
    placement=top_of_range,
    own_ways=frozenset(
        ("mask", "early", "publish", "hook", "release", "access", "store", "order", "batching")
    ),
)
