"""The CPU's walk of four levels of page tables, from a base pointer to an L1 entry.

Source: AMD64 Architecture Programmer's Manual, volume 2, section 5.3.
"""

from collections.abc import Mapping
from typing import Protocol

from models.machine.entries import ENTRIES, MFN_MASK, PAGE_SHIFT, PRESENT, PSE, RW, mfn_of
from models.machine.frames import FrameTable
from models.machine.tlb import Translation


class Pages(Protocol):
    """Where the words of pages are read: a frame table, or who keeps what is read of it."""

    @property
    def pages(self) -> Mapping[int, "Readable"]:
        """The words of a page by mfn."""


class Readable(Protocol):
    """Words that can be read by index."""

    def __getitem__(self, slot: int, /) -> int:
        """One of them."""


def find_l1_entry(frames: Pages, cr3: int, va: int) -> tuple[int, int, int] | None:
    """Walk from a base pointer to the L1 entry of an address; None where a level is missing.

    Returns the L1's mfn, the slot, and whether the levels above allow writes (0 if not).
    """
    pages = frames.pages
    l4e = pages[cr3][va >> 39 & 511]
    if not l4e & PRESENT:
        return None
    l3e = pages[l4e >> PAGE_SHIFT & MFN_MASK][va >> 30 & 511]
    if not l3e & PRESENT:
        return None
    l2e = pages[l3e >> PAGE_SHIFT & MFN_MASK][va >> 21 & 511]
    if not l2e & PRESENT or l2e & PSE:
        return None
    return l2e >> PAGE_SHIFT & MFN_MASK, va >> PAGE_SHIFT & 511, l4e & l3e & l2e & RW


def find_page(frames: Pages, cr3: int, va: int) -> Translation | None:
    """The page that an address leads to through an L1, and whether all levels allow writes."""
    walk = find_l1_entry(frames, cr3, va)
    if walk is None:
        return None
    table, slot, writable = walk
    entry = frames.pages[table][slot]
    if not entry & PRESENT:
        return None
    return Translation(mfn_of(entry), bool(writable and entry & RW))


def find_leaf(frames: FrameTable, cr3: int, va: int) -> tuple[list[int], int | None, bool]:
    """Walk from a base pointer to the page of an address, by leaves of any size.

    Returns the tables passed, the page's frame (None if the address is not mapped), and whether
    all levels allow writes.
    """
    path = []
    table, writable = cr3, True
    for level in (4, 3, 2, 1):
        path.append(table)
        shift = 9 * (level - 1)
        entry = frames.pages[table][va >> PAGE_SHIFT + shift & ENTRIES - 1]
        if not entry & PRESENT:
            return path, None, False
        writable = writable and entry & RW != 0
        table = mfn_of(entry)
        if level > 1 and entry & PSE:
            return path, table | va >> PAGE_SHIFT & (1 << shift) - 1, writable
    return path, table, writable
