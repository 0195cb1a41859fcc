"""tables-high under shadow paging: nothing has to be read-only, and a pin means nothing.

The CPU uses tables of Xen's own, made after the guest's. The kernel may leave its tables writable
(XENFEAT_writable_page_tables): Xen watches each from the moment that it is used. So no order of
mapping and pinning is wrong, and the cost is elsewhere: every store to a table in use faults, and
every entry is written twice.

Xen's paging_mode_refcounts, which PV guests of later versions no longer had.
"""

from models.linux.boot.guest import Guest, Page
from models.linux.boot.strategy import PinAndHook, Strategy
from models.linux.boot.walks.buffered import build_direct_map
from models.linux.release import V2_6_39
from models.strategies.policies import top_of_range
from models.xen.versions.paging import Paging
from sim.effects import Activity


class LeaveWritable(PinAndHook):
    """The kernel's own way, and no table needs to be read-only."""

    def alike(self, guest: Guest, first: int, end: int) -> bool:  # noqa: ARG002
        """Yes."""
        return True

    def make_read_only(self, guest: Guest, page: Page) -> Activity:  # noqa: ARG002
        """Nothing to do."""
        yield from ()


shadow = Strategy(
    name="shadow",
    summary="tables high under shadow paging: nothing read-only, every table written twice",
    history="Xen's paging_mode_refcounts",
    kernel=V2_6_39,
    paging=Paging.SHADOW,
    direct_map=build_direct_map,
    placement=top_of_range,
    hook=LeaveWritable(),
)
