"""The CPU's walk of four levels of page tables, from a base pointer to an L1 entry.

Source: AMD64 Architecture Programmer's Manual, volume 2, section 5.3.
"""

from models.machine.entries import MFN_MASK, PAGE_SHIFT, PRESENT, PSE, RW
from models.machine.frames import FrameTable


def find_l1_entry(frames: FrameTable, cr3: int, va: int) -> tuple[int, int, int] | None:
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
