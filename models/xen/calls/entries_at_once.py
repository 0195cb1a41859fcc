"""Single entries of tables changed at once: the bodies beneath :mod:`models.xen.calls.at_once`.

Each does what an activity defines step by step, where nothing is to be refused, printed, decided,
waited for or done by another CPU; it answers False, having touched nothing, everywhere else.

Source: xen/arch/x86/mm.c, mod_l1_entry, get_page_from_l1e, put_page_from_l1e, mod_l2_entry ..
mod_l4_entry.
"""

from models.machine.entries import (
    ADDRESS_MASK,
    GLOBAL,
    GUEST_KERNEL,
    PRESENT,
    PSE,
    RW,
    mfn_of,
)
from models.machine.frames import DOMID_IO, NOT_RAM, Words
from models.xen.calls.mmu_update import HARMLESS
from models.xen.pages.l1_entries import CACHE_BITS, adjust_l1e, uncached
from models.xen.pages.upper_tables import adjust_upper
from models.xen.state import Xen
from models.xen.words import (
    COUNT,
    PARTIAL,
    RESERVED_L4_SLOTS,
    VALIDATED,
)

_GLOBAL_KERNEL = GLOBAL | GUEST_KERNEL


def change_l1e(xen: Xen, words: Words, slot: int, entry: int) -> bool:
    """As mod_l1_entry: flags that count nothing just change."""
    old = words[slot]
    if entry & PRESENT and not entry & xen.bad_flags[1] | _is_global_kernel(entry):
        stored = adjust_l1e(entry)
        if (
            not (old ^ stored) & ~HARMLESS
            if xen.abi.ad_fast_path
            else not (old ^ entry) & (ADDRESS_MASK | RW | PRESENT)
        ):
            words[slot] = stored
            return True
    return exchange_l1e(xen, words, slot, entry)


def _is_global_kernel(entry: int) -> bool:
    """Would Xen warn of these flags?"""
    return entry & _GLOBAL_KERNEL == _GLOBAL_KERNEL


def exchange_l1e(xen: Xen, words: Words, slot: int, entry: int) -> bool:
    """Take the references of the new entry, store it, and give back those of the old one.

    Frames that are not RAM have none; to map them takes a right.
    """
    abi, frames = xen.abi, xen.frames
    counts, types = frames.count_info, frames.type_info
    old = words[slot]
    former = index = NOT_RAM
    if old & PRESENT:
        former = frames.index(mfn_of(old))
        if former != NOT_RAM and frames.owner[former] == DOMID_IO:
            former = NOT_RAM
        if former != NOT_RAM:
            if counts[former] & abi.general_count < 2:
                return False
            word = types[former]
            if old & RW and not (word & COUNT and _plainly_writable(xen, word)):
                return False
    if entry & PRESENT:
        if entry & xen.bad_flags[1] or _is_global_kernel(entry):
            return False
        index = frames.index(mfn_of(entry))
        if index == NOT_RAM or frames.owner[index] == DOMID_IO:
            if not xen.domain.may_map_all_io((mfn_of(entry),)):
                return False
            entry = uncached(entry) if abi.mmio_forces_uncached else entry
        elif not _take_references(xen, index, entry):
            return False
        entry = adjust_l1e(entry)
    words[slot] = entry
    if former != NOT_RAM:
        if old & RW:
            word = types[former]
            if word & COUNT == 1:
                frames.tlb_stamp[former] = xen.clock.now
            types[former] = word - 1
        counts[former] -= 1
    return True


def _take_references(xen: Xen, index: int, entry: int) -> bool:
    """Take what an entry holds of a frame of the domain's; False, and nothing is done, or else."""
    abi, frames = xen.abi, xen.frames
    held = frames.count_info[index]
    if frames.owner[index] != xen.domid or entry & CACHE_BITS:
        return False
    if held + 2 & abi.general_count <= 2 or held & abi.cache_attributes:
        return False
    if entry & RW:
        word = writable_word(xen, index)
        if word is None or word & COUNT == COUNT:
            return False
        if not _plainly_writable(xen, frames.type_info[index]):
            xen.count_type_change(frames.type_info[index], abi.writable)
        frames.type_info[index] = word + 1
    frames.count_info[index] = held + 1
    return True


def writable_word(xen: Xen, index: int) -> int | None:
    """The type word of a frame as it is for writable mappings, or will be; None if not plainly."""
    abi = xen.abi
    word = xen.frames.type_info[index]
    if _plainly_writable(xen, word):
        return word
    kind = word & abi.type_mask
    if word & COUNT or kind == abi.writable or xen.needs_flush(index):
        return None
    return word & ~(abi.type_mask | VALIDATED) | abi.writable | VALIDATED


def _plainly_writable(xen: Xen, word: int) -> bool:
    """Is a page with this type word for writable mappings, nothing else being done with it?"""
    decisive = xen.abi.type_mask | VALIDATED | PARTIAL | xen.abi.locked
    return word & decisive == xen.abi.writable | VALIDATED


def change_upper(xen: Xen, level: int, words: Words, slot: int, entry: int) -> bool:
    """Fill or clear an empty slot; a table that is entered is typed already."""
    abi, frames = xen.abi, xen.frames
    if words[slot] & PRESENT or (level == 4 and slot in RESERVED_L4_SLOTS):
        return False
    if entry & PRESENT:
        if entry & (xen.bad_flags[level] | PSE):
            return False
        child = frames.index(mfn_of(entry))
        if child == NOT_RAM or frames.owner[child] != xen.domid:
            return False
        word, held = frames.type_info[child], frames.count_info[child]
        decisive = abi.type_mask | VALIDATED
        if word & decisive != abi.table_types[level - 1] | VALIDATED or word & COUNT == COUNT:
            return False
        if held + 2 & abi.general_count <= 2:
            return False
        frames.type_info[child] = word + 1
        frames.count_info[child] = held + 1
        entry = adjust_upper(xen, level, entry)
    words[slot] = entry
    return True
