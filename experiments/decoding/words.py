"""The two words that Xen keeps for every page, and page-table entries, taken to pieces.

Every bit of a word belongs to exactly one field, so that the fields put together give the word
again. Where the bits lie is told by the :class:`~models.xen.versions.abi.Abi`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from experiments.decoding.word_states import OWNERSHIP, STATES, USERS, State
from models.machine import entries
from models.xen.versions.abi import Abi
from models.xen.words import (
    ALLOCATED,
    COUNT,
    PAE_XEN_L2,
    PARTIAL,
    PINNED,
    VALIDATED,
    XEN_HEAP,
)

_PAGE_STATES = ("in use", "offlining", "offlined", "free")

# Flags of count_info about which the simulated hypervisor never asks
# (include/asm-x86/mm.h, PGC_*).
_RARE_COUNT_FLAGS = {
    "4.1": {"page_table": 61, "broken": 57},
    "4.2dev": {"page_table": 61, "broken": 57},
    "4.17": {"page_table": 61, "broken": 60, "extra": 57},
    "master": {"extra": 61, "broken": 60, "need_scrub": 57, "shadowed_pt": 56},
}

_ENTRY_FLAGS = {
    "PRESENT": entries.PRESENT,
    "RW": entries.RW,
    "USER": entries.USER,
    "PWT": entries.PWT,
    "PCD": entries.PCD,
    "ACCESSED": entries.ACCESSED,
    "DIRTY": entries.DIRTY,
    "PAT": entries.PAT,
    "GLOBAL": entries.GLOBAL,
    "AVAIL0": 0x200,
    "AVAIL1": 0x400,
    "AVAIL2": 0x800,
    "GUEST_KERNEL": entries.GUEST_KERNEL,
    **{f"bit {bit}": 1 << bit for bit in range(53, 62)},
    "GRANT": entries.GRANT,
    "NX": entries.NX,
}


@dataclass(frozen=True)
class Reading:
    """What a word says in some versions of Xen."""

    xen: tuple[str, ...]
    fields: tuple[tuple[str, int | str], ...]
    """Name and value of what is not a flag: the type or the state, counts, caching."""
    flags: tuple[str, ...]
    state: str
    meaning: str
    trouble: str
    doubts: tuple[str, ...]
    """Why Xen would hardly hold such a word."""


def type_flags(abi: Abi) -> dict[str, int]:
    """The flags of a type word, the highest first."""
    flags = {
        "locked": abi.locked,
        "pinned": PINNED,
        "validated": VALIDATED,
        "pae_xen_l2": PAE_XEN_L2,
        "partial": PARTIAL,
        "non_coherent": abi.non_coherent,
    }
    return dict(sorted(((n, m) for n, m in flags.items() if m), key=lambda f: -f[1]))


def count_flags(abi: Abi) -> dict[str, int]:
    """The flags of ``count_info``, the highest first."""
    rare = {name: 1 << bit for name, bit in _RARE_COUNT_FLAGS[abi.name].items()}
    return {"allocated": ALLOCATED, "xen_heap": XEN_HEAP, **rare}


def page_state_mask(abi: Abi) -> int:
    """The two bits of ``count_info`` that tell whether a page is in use."""
    # A free page has both of them set, above all else that it has but ALLOCATED.
    return 3 << (abi.free_page & ~ALLOCATED).bit_length() - 2


def type_name(abi: Abi, word: int) -> str:
    """The type of a page, "unknown" where this version has no such type."""
    known = {*abi.table_types, abi.writable, abi.seg_desc, abi.shared}
    return abi.type_name(word) if word & abi.type_mask in known else "unknown"


def type_phrase(abi: Abi, word: int) -> str:
    """The type of a page in a sentence."""
    name = type_name(abi, word)
    if level := abi.level(word):
        return f"an L{level} page table"
    return {
        "writable_page": "a writable page",
        "segdesc": "a page of segment descriptors",
        "shared": "a shared page",
        "untyped": "an untyped page",
    }.get(name, "a page of an unknown type")


def read_type_info(abi: Abi, word: int) -> Reading:
    """A ``type_info`` word in one version."""
    flags = _names(type_flags(abi), word)
    state = _type_state(abi, word)
    count = word & COUNT
    level = abi.level(word)
    uses = count - (level > 0 and "pinned" in flags) - ("locked" in flags)
    blanks = {"level": level, "times": _times(uses), "user": USERS.get(level, "")}
    title = STATES[state].title.format(**blanks)
    return Reading(
        xen=(abi.name,),
        fields=(
            ("type", type_name(abi, word)),
            ("kind", word & abi.type_mask),
            ("count", count),
        ),
        flags=flags,
        state=f"{title}, locked for a change" if "locked" in flags else title,
        meaning=STATES[state].meaning.format(**blanks),
        trouble=STATES[state].trouble.format(**blanks),
        doubts=tuple(_type_doubts(abi, word)),
    )


def read_wanted_type(abi: Abi, word: int) -> Reading:
    """A word that names a type and nothing else."""
    rest = word & ~abi.type_mask & ~PAE_XEN_L2
    doubts = ["it has more in it than a type"] if rest else []
    if type_name(abi, word) in {"unknown", "untyped"}:
        doubts.append("nobody asks for such a type")
    return Reading(
        xen=(abi.name,),
        fields=(("type", type_name(abi, word)), ("kind", word & abi.type_mask)),
        flags=_names({"pae_xen_l2": PAE_XEN_L2}, word),
        state=type_phrase(abi, word),
        meaning="",
        trouble="",
        doubts=tuple(doubts),
    )


def read_count_info(abi: Abi, word: int) -> Reading:
    """A ``count_info`` word in one version."""
    mask = page_state_mask(abi)
    state = _PAGE_STATES[(word & mask) // (mask & -mask)]
    count = word & abi.general_count
    told: State = OWNERSHIP[state if state != "in use" or word else "none"]
    fields: list[tuple[str, int | str]] = [("page_state", state), ("count", count)]
    if caching := word & abi.cache_attributes:
        fields.append(
            ("cache_attributes", caching // (abi.cache_attributes & -abi.cache_attributes))
        )
    doubts = []
    if state == "free" and count:
        doubts.append("a free page has no references")
    if state == "in use" and count and not word & ALLOCATED:
        doubts.append("it has references and is not allocated")
    if state == "in use" and word & ALLOCATED and not count:
        doubts.append("it is allocated and has no reference")
    return Reading(
        xen=(abi.name,),
        fields=tuple(fields),
        flags=_names(count_flags(abi), word),
        state=told.title.format(count=f"{count:,}", s="" if count == 1 else "s"),
        meaning=told.meaning,
        trouble=told.trouble,
        doubts=tuple(doubts),
    )


def readings(read: Callable[[Abi, int], Reading], abis: Iterable[Abi], word: int) -> list[Reading]:
    """What a word says in each version; versions in which it says the same are one reading."""
    merged: dict[Reading, list[str]] = {}
    for abi in abis:
        reading = read(abi, word)
        merged.setdefault(_unnamed(reading), []).extend(reading.xen)
    return [_named(reading, names) for reading, names in merged.items()]


def entry_flags(entry: int, level: int = 1) -> list[str]:
    """The flags of a page-table entry by name; bit 7 is PAT at level 1, PSE above."""
    names = _names(_ENTRY_FLAGS, entry)
    return ["PSE" if name == "PAT" and level > 1 else name for name in names]


def unpacked_flags(flags: int) -> int:
    """The entry that has the flags which Xen prints as 24 bits."""
    return (flags & 0xFFF000) << 40 | flags & 0xFFF


def _names(flags: dict[str, int], word: int) -> tuple[str, ...]:
    return tuple(name for name, mask in flags.items() if word & mask)


def _times(uses: int) -> str:
    return {1: "once", 2: "twice"}.get(uses, f"{uses:,} times")


def _type_state(abi: Abi, word: int) -> str:
    """Which of the STATES a type word tells."""
    count = word & COUNT
    if abi.level(word):
        if not count:
            return "was_table"
        if word & PARTIAL:
            return "partial"
        if not word & VALIDATED:
            return "validating"
        if not word & PINNED:
            return "hooked"
        return "pinned" if count - bool(word & abi.locked) > 1 else "pinned_idle"
    match type_name(abi, word):
        case "writable_page":
            if not count:
                return "was_writable"
            return "writable" if word & VALIDATED else "becoming_writable"
        case "segdesc":
            return "descriptors" if count else "was_descriptors"
        case "untyped":
            return "untyped" if word else "unused"
        case name:
            return name


def _type_doubts(abi: Abi, word: int) -> Iterable[str]:
    """What no page's word is found to say, since Xen never leaves one so."""
    count, is_table = word & COUNT, bool(abi.level(word))
    name = type_name(abi, word)
    if name == "unknown":
        yield "it has no such type"
    if name == "untyped" and word:
        yield "a page without a type has neither flags nor a count"
    if word & abi.locked and not (word & VALIDATED and count > 1):
        yield "a locked page is validated and has a count of two or more"
    if word & PINNED and not (is_table and count and word & (VALIDATED | PARTIAL)):
        yield "only a table that is validated is pinned"
    if is_table and word & VALIDATED and (not count or word & PARTIAL):
        yield "a validated table is in use, and is not partial"
    if word & PARTIAL and not (abi.level(word) > 1 and count == 1):
        yield "only an L2, L3 or L4 table with a count of one is partial"
    if name == "writable_page" and not word & VALIDATED and abi.flush_before_publishing:
        yield "a writable page is validated at once"
    if word & PAE_XEN_L2 and abi.level(word) != 2:
        yield "only an L2 table has the flag pae_xen_l2"
    if word & abi.non_coherent and name != "writable_page":
        yield "only a writable page is non_coherent"


def _unnamed(reading: Reading) -> Reading:
    return _named(reading, ())


def _named(reading: Reading, names: Sequence[str]) -> Reading:
    return replace(reading, xen=tuple(names))
