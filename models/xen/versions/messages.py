"""What Xen prints, by version: the line of the call that printed it, and the text.

Lines are those the compilers of the time stored: the closing parenthesis of a multi-line
call for the GCC of 2011, its first line for GCC 9 and later. Source: xen/arch/x86/mm.c of
RELEASE-4.1.0 (``4.1``), xen-unstable 87e0dc6ea0 (``4.2dev``), RELEASE-4.17.0 (``4.17``) and
c447b7308b (``master``), and the other files named in the tables. The lines of multicall.c, of
"Cannot specify itself" in page_alloc.c and of the bad sizes in ro-page-fault.c were counted
from a line of the same function that is known.
"""

from collections.abc import Mapping
from typing import NamedTuple


class Message(NamedTuple):
    """A console line: where it is printed from, and a format of its arguments."""

    line: int
    """0 where the line names the guest alone (gprintk), -1 where it names nothing (printk)."""
    text: str
    file: str = ""
    """Other than the version's usual file."""
    info: bool = False
    """Printed at INFO level; the others are warnings (and one an error)."""
    always: bool = False
    """Compiled into release builds of versions that are silent otherwise (gprintk)."""


Text = Mapping[str, Message]

_LINEAR = "Attempt to create linear p.t. with write perms"
_MULTICALL = "Multicall reentry is disallowed."
_SELF_AS_FOREIGN = "Cannot specify itself as foreign domain"


def _levels(text: str, *lines: tuple[int, int], first: int = 1) -> list[tuple[str, int, int]]:
    """The same message of every level's function: its text, and its line in two versions."""
    return [
        (text.replace("LEVEL", str(level)), older, newer)
        for level, (older, newer) in enumerate(lines, start=first)
    ]


def _by_level(
    name: str, rows: list[tuple[str, int, int]], first: int = 1
) -> dict[str, tuple[str, int, int]]:
    return {f"{name}_l{level}": row for level, row in enumerate(rows, start=first)}


# name: (text, line in 4.1, line in 4.2dev). All of them are MEM_LOG()s of mm.c unless named below.
_OLD: dict[str, tuple[str, int, int]] = {
    "no_page_ref": ("Could not get page ref for pfn {mfn:x}", 658, 685),
    **_by_level("linear", _levels(_LINEAR, (915, 947), (957, 989), (982, 1014), first=2), first=2),
    **_by_level(
        "bad_flags",
        _levels("Bad LLEVEL flags {flags:x}", (806, 833), (928, 960), (969, 1001), (994, 1026)),
    ),
    **_by_level(
        "update_bad_flags",
        _levels(
            "Bad LLEVEL flags {flags:x}", (1784, 1820), (1852, 1891), (1918, 1958), (1989, 2029)
        ),
    ),
    "io_space": ("Non-privileged ({domid}) attempt to map I/O space {mfn:08x}", 825, 853),
    "xen_heap_caching": ("Attempt to change cache attributes of Xen heap page", 872, 903),
    "getting_mfn": (
        (
            "Error getting mfn {mfn:x} (pfn {pfn:x}) from L1 entry {entry:016x} "
            "for l1e_owner={owner}, pg_owner={pg_owner}"
        ),
        907,
        939,
    ),
    "superpage": ("Attempt to map superpage without allowsuperpage flag in hypervisor", 943, 975),
    "global_kernel": ("Global bit is set to kernel page {mfn:x}", 1019, 1051),
    **_by_level(
        "failure_in_promote",
        _levels(
            "Failure in alloc_lLEVEL_table: entry {slot}",
            (1222, 1257),
            (1366, 1401),
            (1476, 1511),
            (1523, 1558),
        ),
    ),
    "private_area_l4": (
        "Illegal L4 update attempt in Xen-private area {entry_va:016x}",
        1977,
        2017,
    ),
    "wrong_owner": (
        (
            "Error pfn {mfn:x}: rd={domain_va:016x}, od={owner_text}, caf={count_info:08x}, "
            "taf={type_info:016x}"
        ),
        2097,
        2137,
    ),
    "while_validating": (
        (
            "Error while validating mfn {mfn:x} (pfn {pfn:x}) for type {want:016x}: "
            "caf={count_info:08x} taf={type_info:016x}"
        ),
        2177,
        2217,
    ),
    "count_overflow": ("Type count overflow on pfn {mfn:x}", 2360, 2400),
    "bad_type": (
        "Bad type (saw {saw:016x} != exp {want:016x}) for mfn {mfn:x} (pfn {pfn:x})",
        2424,
        2466,
    ),
    "installing_baseptr": ("Error while installing new baseptr {mfn:x}", 2752, 2794),
    "self_as_foreign": (_SELF_AS_FOREIGN, 2788, 2830),
    "foreign_xen": ("Cannot set foreign dom", 2806, 2848),
    "unknown_domain": ("Unknown domain '{other}'", 2814, 2856),
    "foreign_unprivileged": ("Cannot set foreign dom", 2819, 2861),
    "while_pinning": ("Error while pinning mfn {mfn:x}", 2985, 3027),
    "already_pinned": ("Mfn {mfn:x} already pinned", 3001, 3043),
    "unpin_bad_page": ("Mfn {mfn:x} bad domain", 3036, 3078),
    "not_pinned": ("Mfn {mfn:x} not pinned", 3046, 3088),
    "installing_user_baseptr": ("Error while installing new mfn {mfn:x}", 3077, 3119),
    "flush_cache": ("Non-physdev domain tried to FLUSH_CACHE.", 3135, 3177),
    "flush_cache_global": ("Non-physdev domain tried to FLUSH_CACHE_GLOBAL", 3160, 3202),
    "clearing": ("Error while clearing mfn {mfn:x}", 3205, 3247),
    "copying_from": ("Error while copying from mfn {mfn:x}", 3230, 3272),
    "copying_to": ("Error while copying to mfn {mfn:x}", 3240, 3282),
    "mark_unaligned": ("Unaligned superpage reference mfn {mfn:x}", 3267, 3309),
    "mark_disallowed": ("Superpages disallowed", 3274, 3316),
    "unmark_unaligned": ("Unaligned superpage reference mfn {mfn:x}", 3293, 3335),
    "unmark_disallowed": ("Superpages disallowed", 3300, 3342),
    "bad_mmuext": ("Invalid extended pt command 0x{command:x}", 3313, 3355),
    "normal_update": ("Could not get page for normal update", 3459, 3498),
    "machphys_update": ("Could not get page for mach->phys update", 3641, 3678),
    "bad_update": ("Invalid page update command {command:x}", 3660, 3702),
    "ptwr_bad_access": (
        "ptwr_emulate: bad access (cr2={va:x}, addr={va:x}, bytes={size})",
        4907,
        4988,
    ),
    "ptwr_refused": ("ptwr_emulate: could not get_page_from_l1e()", 4967, 5048),
    "ptwr_bad_size": ("ptwr_emulate: bad write size (addr={va:x}, bytes={size})", 5027, 5110),
    "ptwr_bad_cmpxchg": ("ptwr_emulate: bad cmpxchg size (addr={va:x}, bytes={size})", 5051, 5134),
    "multicall_reentry": (_MULTICALL, 32, 32),
    "unhandled_fault": ("d{domid}:v{number}: unhandled page fault (ec={error:04X})", -1, -1),
    "read_only_io": ("d{domid}: Forcing read-only access to MFN {mfn:x}", -1, -1),
}

# name: (text, line in 4.17, line in master).
_NEW: dict[str, tuple[str, int, int]] = {
    "no_page_ref": ("Could not get page ref for mfn {mfn:05x}", 414, 417),
    **_by_level(
        "linear", _levels(_LINEAR, (1124, 1115), (1148, 1139), (1172, 1163), first=2), first=2
    ),
    "bad_flags_l1": ("Bad L1 flags {flags:x}", 877, 865),
    **_by_level(
        "bad_flags",
        _levels("Bad LLEVEL flags {flags:x}", (1134, 1125), (1157, 1148), (1181, 1172), first=2),
        first=2,
    ),
    "update_bad_flags_l1": ("Bad L1 flags {flags:x}", 2158, 2169),
    **_by_level(
        "update_bad_flags",
        _levels("Bad LLEVEL flags {flags:x}", (2274, 2285), (2336, 2347), (2398, 2409), first=2),
        first=2,
    ),
    "io_space": ("d{domid} non-privileged attempt to map MMIO space {mfn:05x}", 901, 888),
    "io_space_to_other": (
        "d{domid} attempted to map MMIO space {mfn:05x} in d{pg_owner} to d{owner}",
        914,
        901,
    ),
    "real_owner": (
        "pg_owner d{pg_owner} l1e_owner d{owner}, but real_pg_owner d{real_owner}",
        988,
        979,
    ),
    "no_writable_type": ("Could not get page type PGT_writable_page", 1014, 1005),
    "xen_heap_caching": ("Attempt to change cache attributes of Xen heap page", 1023, 1014),
    "getting_mfn": (
        (
            "Error getting mfn {mfn:05x} (pfn {pfn:05x}) from L1 entry {entry:016x} "
            "for l1e_owner d{owner}, pg_owner d{pg_owner}"
        ),
        1040,
        1031,
    ),
    "global_kernel": ("Global bit is set in kernel page {mfn:x}", 98, 119),
    **_by_level(
        "failure_in_promote",
        _levels(
            "Failure {rc} in promote_lLEVEL_table: slot {hex_slot}",
            (1366, 1357),
            (1474, 1465),
            (1593, 1601),
            (1784, 1792),
        ),
    ),
    "private_area_l4": ("L4 update in Xen-private area, slot {hex_slot}", 2387, 2398),
    "wrong_owner": (
        (
            "Error mfn {mfn:05x}: rd={wanted_text} od={owner_text} caf={count_info:08x} "
            "taf={type_info:016x}"
        ),
        0,
        0,
    ),
    "while_validating": (
        (
            "Error while validating mfn {mfn:05x} (pfn {pfn:05x}) for type {want:016x}: "
            "caf={count_info:08x} taf={type_info:016x}"
        ),
        2647,
        2658,
    ),
    "count_overflow": ("Type count overflow on mfn {mfn:05x}", 2897, 2910),
    "bad_type": (
        "Bad type (saw {saw:016x} != exp {want:016x}) for mfn {mfn:05x} (pfn {pfn:05x})",
        2938,
        2951,
    ),
    "installing_baseptr": ("Error while installing new baseptr {mfn:05x}", 3343, 3357),
    "self_as_foreign": (_SELF_AS_FOREIGN, 2671, 2936),
    "unknown_domain": ("Unknown domain d{other}", 2687, 2952),
    "while_pinning": ("Error {rc} while pinning mfn {mfn:05x}", 3560, 3585),
    "already_pinned": ("mfn {mfn:05x} already pinned", 3572, 3597),
    "unpin_bad_page": ("mfn {mfn:05x} bad, or bad owner d{domid}", 3616, 3641),
    "not_pinned": ("mfn {mfn:05x} not pinned", 3626, 3651),
    "installing_user_baseptr": ("Error {rc} installing new mfn {mfn:05x}", 3692, 3717),
    "clearing": ("Error clearing mfn {mfn:05x}", 3849, 3871),
    "copying_from": ("Error copying from mfn {mfn:05x}", 3876, 3898),
    "copying_to": ("Error copying to mfn {mfn:05x}", 3897, 3919),
    "normal_update": ("Could not get page for normal update", 4098, 4120),
    "machphys_update": ("Could not get page for mach->phys update", 4222, 4244),
    "ptwr_bad_access": ("bad access (cr2={va:x}, addr={va:x}, bytes={size})", 100, 89),
    "ptwr_refused": ("could not get_page_from_l1e()", 163, 152),
    "ptwr_bad_size": ("bad write size (addr={va:x}, bytes={size})", 236, 225),
    "ptwr_bad_cmpxchg": ("bad cmpxchg size (addr={va:x}, bytes={size})", 255, 244),
    "multicall_reentry": (_MULTICALL, 46, 46),
    "unhandled_fault": ("Unhandled: vec 14, #PF[{error:04x}]", 0, 0),
    "read_only_io": ("d{domid}: Forcing read-only access to MFN {mfn:x}", -1, -1),
}

_RO_PAGE_FAULT = "arch/x86/pv/ro-page-fault.c"
_OLD_FILES = {"multicall_reentry": "multicall.c"}
_NEW_FILES = {
    "no_page_ref": "./arch/x86/include/asm/mm.h",
    "global_kernel": "arch/x86/pv/mm.h",
    "self_as_foreign": "common/page_alloc.c",
    "unknown_domain": "common/page_alloc.c",
    "multicall_reentry": "common/multicall.c",
    "ptwr_bad_access": _RO_PAGE_FAULT,
    "ptwr_refused": _RO_PAGE_FAULT,
    "ptwr_bad_size": _RO_PAGE_FAULT,
    "ptwr_bad_cmpxchg": _RO_PAGE_FAULT,
}
_INFO = {"wrong_owner", "multicall_reentry"}
_ALWAYS = {"wrong_owner", "unhandled_fault"}


def _of_version(
    table: dict[str, tuple[str, int, int]], files: Mapping[str, str], *, newer: bool
) -> dict[str, Message]:
    return {
        name: Message(
            lines[newer], text, files.get(name, ""), info=name in _INFO, always=name in _ALWAYS
        )
        for name, (text, *lines) in table.items()
    }


MESSAGES_4_1: Text = _of_version(_OLD, _OLD_FILES, newer=False)
MESSAGES_4_2DEV: Text = _of_version(_OLD, _OLD_FILES, newer=True)
MESSAGES_4_17: Text = _of_version(_NEW, _NEW_FILES, newer=False)
_MASTER = _of_version(_NEW, _NEW_FILES, newer=True)
MESSAGES_MASTER: Text = _MASTER | {
    name: _MASTER[name]._replace(text="Bad L1 flags {flags:#x}")
    for name in ("bad_flags_l1", "update_bad_flags_l1")
}
