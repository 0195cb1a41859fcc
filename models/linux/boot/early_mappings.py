"""Temporary mappings: eight addresses at which the kernel can have any page for a while.

Source: Linux 2.6.39 arch/x86/mm/ioremap.c (early_memremap, early_iounmap, __early_set_fixmap).
"""

from copy import copy
from functools import partial
from typing import TYPE_CHECKING

from models.linux.start_state.build import EARLY_SLOT_BASE
from models.linux.start_state.p2m import PAGE_KERNEL
from models.linux.start_state.page import Page
from models.machine.entries import PAGE_SHIFT, RW
from sim.effects import STEP, Activity

if TYPE_CHECKING:
    from models.linux.boot.guest import Guest

_SLOTS = 8
"""Early mappings that may exist at the same time, for each vCPU."""


class EarlyMappings:
    """The temporary addresses, and what is mapped there now."""

    def __init__(self, leaves_va: int) -> None:
        self.slots: list[tuple[int, bool] | None] = [None] * _SLOTS
        """Page (pfn) behind each address, and whether it can be written there."""
        self._own = range(_SLOTS)
        self._leaves_va = leaves_va

    def for_vcpu(self, number: int) -> "EarlyMappings":
        """The addresses of a further vCPU, behind those of the ones before it."""
        others = copy(self)
        others._own = range(number * _SLOTS, (number + 1) * _SLOTS)  # noqa: SLF001 - one of its kind
        self.slots.extend([None] * (others._own.stop - len(self.slots)))  # noqa: SLF001
        return others

    def unused(self) -> int | None:
        """One of this vCPU's addresses that nothing is mapped at, if there is one."""
        return next((slot for slot in self._own if self.slots[slot] is None), None)

    def leaf_va(self, va: int) -> int:
        """Where the leaf of a temporary address is found in the direct map."""
        return self._leaves_va + 8 * (va - EARLY_SLOT_BASE >> PAGE_SHIFT)

    def free(self, slot: int) -> None:
        """Another page may be mapped there."""
        self.slots[slot] = None


def early_memremap(guest: "Guest", pfn: int, *, writable: bool | None = None) -> Activity:
    """Map a page at a temporary address; a :class:`Page`.

    Whether it can be written there is for the strategy's mask to say, if not told.
    """
    mfn = guest.mfn(pfn)
    strategy, early = guest.strategy, guest.early
    if strategy.before_leaf_store is not None:
        yield from strategy.before_leaf_store(guest)
    entry = mfn << PAGE_SHIFT | PAGE_KERNEL
    if writable is None:
        yield STEP
        writable = strategy.mask is None or not strategy.early(guest.table_pages, pfn)
    # The store below is made at once: not before an address is free that still waits to be
    # unmapped, nor before a page has become a table that waits to.
    lazy = guest.calls.lazy
    if early.unused() is None or (writable and lazy is not None and lazy.is_about(pfn)):
        yield from guest.calls.flush()
    slot = early.unused()
    assert slot is not None
    early.slots[slot] = pfn, writable
    if not writable:
        entry &= ~RW
    va = EARLY_SLOT_BASE + (slot << PAGE_SHIFT)
    yield from guest.store(early.leaf_va(va), entry)
    yield from guest.ops.flush_page(guest, va)
    return Page(pfn, mfn, va)


def early_iounmap(guest: "Guest", page: Page) -> Activity:
    """Give a temporary address back."""
    yield from guest.ops.clear_early_slot(guest, page)
    yield from guest.ops.flush_page(guest, page.va)
    slot = page.va - EARLY_SLOT_BASE >> PAGE_SHIFT
    guest.calls.afterwards(partial(guest.early.free, slot))
