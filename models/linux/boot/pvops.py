"""What the kernel's low-level operations are: made through Xen, or by the CPU itself.

Source: Linux arch/x86/xen/mmu.c (xen_mmu_ops); arch/x86/kernel/paravirt.c for a kernel whose
memory is translated (XENFEAT_auto_translated_physmap), which keeps the native ones.
"""

from typing import TYPE_CHECKING, Protocol

from models.linux.start_state.page import Page
from models.xen.gate import Xen, flush_tlb, invlpg
from models.xen.hypercalls import MmuextOp
from models.xen.versions.paging import Paging
from models.xen.words import INVLPG_LOCAL, TLB_FLUSH_LOCAL
from sim.effects import Activity

if TYPE_CHECKING:
    from models.linux.boot.guest import Guest

_FLUSH_ALL = MmuextOp(((TLB_FLUSH_LOCAL, 0, 0),))


class PvOps(Protocol):
    """The operations that differ, as far as the boot uses them."""

    def clear_early_slot(self, guest: "Guest", page: Page) -> Activity:
        """Take the leaf of a temporary mapping away (pte_clear)."""

    def flush_page(self, guest: "Guest", va: int) -> Activity:
        """Flush one page of this CPU's TLB."""

    def flush_all(self, guest: "Guest") -> Activity:
        """Flush all of it."""


class ThroughXen:
    """Each a hypercall."""

    def clear_early_slot(self, guest: "Guest", page: Page) -> Activity:
        """update_va_mapping."""
        return guest.calls.update_va_mapping(page.pfn, page.va, 0)

    def flush_page(self, guest: "Guest", va: int) -> Activity:
        """MMUEXT_INVLPG_LOCAL."""
        return guest.calls.single(MmuextOp(((INVLPG_LOCAL, va, 0),)))

    def flush_all(self, guest: "Guest") -> Activity:
        """MMUEXT_TLB_FLUSH_LOCAL."""
        return guest.calls.single(_FLUSH_ALL)


class Native:
    """Stores and instructions."""

    def clear_early_slot(self, guest: "Guest", page: Page) -> Activity:
        """A store."""
        return guest.store(guest.early.leaf_va(page.va), 0)

    def flush_page(self, guest: "Guest", va: int) -> Activity:
        """INVLPG."""
        return invlpg(guest.xen, guest.vcpu, va)

    def flush_all(self, guest: "Guest") -> Activity:
        """A load of CR3."""
        return flush_tlb(guest.xen, guest.vcpu)


def operations(xen: Xen) -> PvOps:
    """What a kernel in this domain uses."""
    return Native() if xen.paging is Paging.NESTED else ThroughXen()
