"""Page-table entries: 64-bit words with a frame number and flags.

Source: AMD64 Architecture Programmer's Manual, volume 2, section 5.3; the software bits as
Xen uses them (include/asm-x86/x86_64/page.h).
"""

PRESENT = 0x001
RW = 0x002
USER = 0x004
PWT = 0x008
PCD = 0x010
ACCESSED = 0x020
DIRTY = 0x040
PAT = 0x080  # in an L1 entry; the same bit is PSE in an L2 or L3 entry
PSE = 0x080
GLOBAL = 0x100
AVAIL = 0xE00
GUEST_KERNEL = 1 << 52  # set by Xen in an entry that the guest made without USER
AVAIL_HIGH = 0x7FF << 52
GRANT = 1 << 62  # marks a mapping made from a grant, in debug builds
NX = 1 << 63

ENTRIES = 512
PAGES_PER_L2 = ENTRIES * ENTRIES
PAGES_PER_L3 = ENTRIES * PAGES_PER_L2
PAGE_SHIFT = 12
L2_SHIFT = 21
"""Bits of an address below the slot of its L2."""
PAGE_SIZE = 1 << PAGE_SHIFT
MFN_MASK = (1 << 40) - 1
INVALID_MFN = MFN_MASK
ADDRESS_MASK = MFN_MASK << PAGE_SHIFT
FLAGS_MASK = ~ADDRESS_MASK & ((1 << 64) - 1)


def mfn_of(entry: int) -> int:
    """The frame that an entry points to."""
    return (entry >> PAGE_SHIFT) & MFN_MASK


def flags24(entry: int) -> int:
    """The flags as Xen prints them: bits 63-52 above bits 11-0."""
    return (entry >> 40) & 0xFFF000 | entry & 0xFFF


def transition(old: int, new: int) -> str:
    """What an update changes, in a word: ``np_to_p_rw``, ``p_rw_to_ro``, ``p_other_mfn`` ..."""
    if not old & PRESENT:
        if not new & PRESENT:
            return "np_to_np"
        return "np_to_p_rw" if new & RW else "np_to_p_ro"
    if not new & PRESENT:
        return "p_to_np"
    if (old ^ new) & ADDRESS_MASK:
        return "p_other_mfn"
    if (old ^ new) & RW:
        return "p_ro_to_rw" if new & RW else "p_rw_to_ro"
    return "p_same_rwbit"
