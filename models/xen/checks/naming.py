"""The words that a step touches, as a person would name them."""

from collections.abc import Hashable, Sequence

from models.machine.entries import (
    ACCESSED,
    ADDRESS_MASK,
    DIRTY,
    ENTRIES,
    PAGE_SHIFT,
    PRESENT,
    RW,
)
from models.machine.frames import NOT_RAM
from models.xen.state import Xen
from models.xen.words import COUNT, PINNED, VALIDATED
from sim.footprint import Access, Kind

_PAGE = "mfn "
_GATES = frozenset({"hypercall", "_run", "_do_multicall"})
"""Routines that every call goes through."""
_FRAME_WORDS = ("type_info", "count_info", "tlb_stamp", "owner")


def named(xen: Xen, word: Hashable) -> str:
    """A word of the recorded state: whose it is, and what."""
    if not (isinstance(word, tuple) and len(word) == 2):
        return str(word)
    column, place = word
    if column in _FRAME_WORDS:
        return f"{column} of mfn {xen.frames.mfn_at(place):x}"
    if is_entry(word):
        return f"entry {place} of {_page(xen, word)}"
    if column == "linear count":
        return f"{column} of mfn {xen.frames.mfn_at(place):x}"
    if place == "all":
        return f"all {column}"
    if str(column).startswith("translations"):
        return f"{column}, page {place << PAGE_SHIFT & (1 << 64) - 1:x}"
    if column == "m2p":
        return f"pfn of mfn {place:x}"
    if column == "flush clock":
        return f"{column}"
    if column == "flushed at":
        return f"last flush of CPU {place}"
    return f"{column} {place}"


def told(xen: Xen, access: Access) -> str:
    """What a step did to a word: its name, its value before, and after if it was changed."""
    before = _value(xen, access.word, access.before)
    if access.kind is Kind.SCAN:
        return f"entries {access.before} to {access.after} of {_page(xen, access.word)}"
    if access.kind is Kind.READ:
        return f"{named(xen, access.word)}: {before}"
    after = _value(xen, access.word, access.after)
    frame, _, flags = after.rpartition(" R")
    if is_entry(access.word) and frame and before.startswith(f"{frame} "):
        after = f"R{flags}"  # of the same page
    return f"{named(xen, access.word)}: {before} -> {after}"


def operation(routines: Sequence[str]) -> str:
    """What a CPU does in the hypervisor, by the routines that it is in, the outermost first."""
    inside = [name for name in routines if name not in _GATES]
    if not inside:
        return "hypercall"
    if inside[0] == "do_mmuext_op" and len(inside) > 1:
        return " > ".join(inside[:2]).removeprefix("do_")
    return inside[0].removeprefix("do_")


def is_entry(word: Hashable) -> bool:
    """Is it an entry of a page table, or a word of another page?"""
    return isinstance(word, tuple) and str(word[0]).startswith(_PAGE)


def says_what_a_page_is(word: Hashable) -> bool:
    """Is it a type word or a word of a page, and no count, stamp or loaded translation?"""
    return is_entry(word) or (isinstance(word, tuple) and word[0] == "type_info")


def _page(xen: Xen, word: Hashable) -> str:
    """The page that a word is in, and as what it is typed."""
    page = str(word[0]) if isinstance(word, tuple) else str(word)
    level = xen.abi.level(_quietly(xen, int(page.removeprefix(_PAGE), 16)))
    return f"the L{level} {page}" if level else page


def _quietly(xen: Xen, mfn: int) -> int:
    """A frame's type word, read without leaving a trace in a footprint; 0 if it has none."""
    index = xen.frames.index(mfn)
    return 0 if index == NOT_RAM else int(xen.frames.type_array[index])


def _value(xen: Xen, word: Hashable, value: int) -> str:
    column = word[0] if isinstance(word, tuple) else ""
    if column == "type_info":
        return _type_word(xen, value)
    if column == "count_info":
        return f"{value & xen.abi.general_count}"
    if is_entry(word):
        return _entry(value)
    if str(column).startswith("translations"):
        return "none" if value < 0 else f"mfn {value >> 1:x} {'RW' if value & 1 else 'RO'}"
    return f"{value}" if abs(value) < ENTRIES else f"{value:#x}"


def _type_word(xen: Xen, value: int) -> str:
    if not value:
        return "0"
    name = xen.abi.type_name(value).removesuffix("_page")
    flags = [
        said
        for flag, said in (
            (PINNED, "pinned"), (VALIDATED, "validated"), (xen.abi.locked, "locked")
        )
        if value & flag and not (name == "writable" and flag == VALIDATED)
    ]  # fmt: skip
    return "|".join([name, *flags, f"{value & COUNT}"])


def _entry(value: int) -> str:
    if not value:
        return "empty"
    if not value & PRESENT:
        return f"{value:#x}"
    flags = [
        said for flag, said in ((ACCESSED, "A"), (DIRTY, "D")) if value & flag
    ]  # fmt: skip
    access = "RW" if value & RW else "RO"
    return " ".join([f"mfn {(value & ADDRESS_MASK) >> PAGE_SHIFT:x}", access, *flags])
