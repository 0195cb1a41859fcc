"""tables-high, and the leaf that cannot be reached is changed by its machine address.

The kernel knows which of its tables maps a page: it has filled it. When a table is to be hooked and
the walk finds no way to its leaf, an mmu_update names the leaf by the machine address of that
table, which is pinned and not hooked. Xen allows it: only walks need a path.

In no mail of 2011; allowed by do_mmu_update, as recorded on Xen 4.17.7 and c447b7308b.
"""

from models.linux.boot.guest import Guest, Page
from models.linux.boot.strategy import PinAndHook, Strategy
from models.linux.boot.walks.buffered import build_direct_map
from models.linux.release import V2_6_39
from models.strategies.policies import ReadOnlyBuffer, top_of_range
from sim.effects import Activity


class PatchUnreachable(PinAndHook):
    """A leaf without a path is written by machine address."""

    def alike(self, guest: Guest, first: int, end: int) -> bool:  # noqa: ARG002
        """Yes: what is done depends on what maps the table's page."""
        return True

    def make_read_only(self, guest: Guest, page: Page) -> Activity:
        """By virtual address if there is a path, else where the leaf is known to be.

        Only a leaf that was written before the page was taken can be writable: later ones are
        masked.
        """
        found = yield from guest.make_lowmem_page_readonly(page.pfn)
        table = guest.tables.mapped_before.get(page.pfn)
        if not found and table is not None:
            yield from guest.make_leaf_readonly(table, page.pfn)


patch_alias = Strategy(
    name="patch-alias",
    summary="tables high, unreachable leaves made read-only by machine address",
    history="not proposed in 2011",
    kernel=V2_6_39,
    direct_map=build_direct_map,
    placement=top_of_range,
    mask=ReadOnlyBuffer(until="used_end"),
    leaf_cost="pte_check_scalar",
    hook=PatchUnreachable(),
)
