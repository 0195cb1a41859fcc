"""Leaves of pages that are the host's own memory, each entered by a hypercall.

The control domain maps them 1:1 in the name of DOMID_IO. Source: Linux arch/x86/xen/mmu.c
(xen_set_iomap_pte), which has an mmu_update for each.
"""

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.linux.boot.guest import Guest
from models.linux.boot.walks.repetition import NotAlike, is_unwatched, repeat, undisturbed
from models.linux.start_state.page import Page
from models.machine.entries import PAGE_SHIFT
from models.xen.hypercalls import MmuUpdate
from sim.effects import Activity


def map_one_to_one(
    guest: Guest, page: Page, leaves: NDArray[np.uint64], low: int, high: int
) -> Activity:
    """Write the leaves in slots [low, high) of a table; ``leaves``: uint64[512], all slots'."""

    def write_leaf(number: int) -> Activity:
        pointer = page.mfn << PAGE_SHIFT | low + number << 3
        return guest.calls.single(MmuUpdate(((pointer, int(leaves[low + number])),)))

    number = 0
    if _is_plain(guest, page) and _are_alike(leaves[low:high]):
        run = Leaves(page.mfn, low, leaves)
        number = yield from repeat(guest, run, high - low, write_leaf)
    for left in range(number, high - low):
        yield from write_leaf(left)


def _is_plain(guest: Guest, page: Page) -> bool:
    """Is the page, for Xen, ordinary memory, and does nobody want to know of each call?"""
    xen, frames = guest.xen, guest.frames
    word = frames.type_info[frames.index(page.mfn)]
    return (
        is_unwatched(guest)
        and word & xen.abi.type_mask == xen.abi.writable
        and page.mfn not in xen.shadows
    )


def _are_alike(leaves: NDArray[np.uint64]) -> bool:
    """Do they map pages that follow each other, all in the same way?"""
    following = np.arange(leaves.size, dtype=np.uint64) << np.uint64(PAGE_SHIFT)
    return bool((leaves - following == leaves[:1]).all())


@dataclass(frozen=True)
class Leaves:
    """Consecutive leaves of one table, numbered from 0."""

    table: int
    """The table (mfn)."""
    low: int
    """The slot of the first."""
    leaves: NDArray[np.uint64]
    """uint64[512]: what is written into each slot of the table."""

    def __str__(self) -> str:
        return f"leaves of mfn {self.table:x} that are written as that in slot {self.low} is"

    def at_rest(self, guest: Guest) -> Hashable:
        """The table, and what has been printed."""
        return undisturbed(guest, self.table)

    def come_to(self, guest: Guest, number: int) -> int:
        """What was written, less the address of the page."""
        leaf: int = guest.frames.words(self.table)[self.low + number]
        return leaf - (number << PAGE_SHIFT)

    def moved(self, what: object, number: int) -> object:  # noqa: ARG002 - a run's method
        """Nothing is told of a leaf."""
        raise NotAlike(f"{self}: {what!r} was told of the first")

    def write(self, guest: Guest, times: int, flushes: int) -> None:  # noqa: ARG002
        """Write the leaves behind the first."""
        slots = slice(self.low + 1, self.low + 1 + times)
        guest.frames.array(self.table)[slots] = self.leaves[slots]
