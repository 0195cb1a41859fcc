"""What Xen prints, by version: the line of the call that printed it, and the text.

Lines are those the compilers of the time stored: the closing parenthesis of a multi-line
call for the GCC of 2011, its first line for GCC 9 and later. Source: xen/arch/x86/mm.c of
xen-unstable 87e0dc6ea0 (``4.2dev``) and RELEASE-4.17.0 (``4.17``).
"""

from collections.abc import Mapping
from typing import NamedTuple

Text = Mapping[str, "Message"]


class Message(NamedTuple):
    """A console line: where it is printed from, and a format of its arguments."""

    line: int
    text: str
    file: str = ""
    """Other than the version's usual file."""


def _levels(name: str, lines: tuple[int, ...], text: str) -> dict[str, Message]:
    """The same message of every level's function, from L1 on."""
    return {
        f"{name}_l{level}": Message(line, text.replace("LEVEL", str(level)))
        for level, line in enumerate(lines, start=1)
    }


MESSAGES_4_2DEV: Text = {
    "no_page_ref": Message(685, "Could not get page ref for pfn {mfn:x}"),
    "linear_with_write_perms": Message(0, "Attempt to create linear p.t. with write perms"),
    "linear_l2": Message(947, ""),
    "linear_l3": Message(989, ""),
    "linear_l4": Message(1014, ""),
    **_levels("bad_flags", (833, 960, 1001, 1026), "Bad LLEVEL flags {flags:x}"),
    **_levels("update_bad_flags", (1820, 1891, 1958, 2029), "Bad LLEVEL flags {flags:x}"),
    "io_space": Message(853, "Non-privileged ({domid}) attempt to map I/O space {mfn:08x}"),
    "getting_mfn": Message(
        939,
        "Error getting mfn {mfn:x} (pfn {pfn:x}) from L1 entry {entry:016x} "
        "for l1e_owner={owner}, pg_owner={owner}",
    ),
    "superpage": Message(975, "Attempt to map superpage without allowsuperpage flag in hypervisor"),
    "global_kernel": Message(1051, "Global bit is set to kernel page {mfn:x}"),
    **_levels(
        "failure_in_promote",
        (1257, 1401, 1511, 1558),
        "Failure in alloc_lLEVEL_table: entry {slot}",
    ),
    "private_area_l4": Message(
        2017, "Illegal L4 update attempt in Xen-private area {entry_va:016x}"
    ),
    "wrong_owner": Message(
        2137,
        "Error pfn {mfn:x}: rd={domain_va:016x}, od={owner_text}, caf={count_info:08x}, "
        "taf={type_info:016x}",
    ),
    "while_validating": Message(
        2217,
        "Error while validating mfn {mfn:x} (pfn {pfn:x}) for type {want:016x}: "
        "caf={count_info:08x} taf={type_info:016x}",
    ),
    "count_overflow": Message(2400, "Type count overflow on pfn {mfn:x}"),
    "bad_type": Message(
        2466, "Bad type (saw {saw:016x} != exp {want:016x}) for mfn {mfn:x} (pfn {pfn:x})"
    ),
    "installing_baseptr": Message(2794, "Error while installing new baseptr {mfn:x}"),
    "installing_user_baseptr": Message(3119, "Error while installing new mfn {mfn:x}"),
    "while_pinning": Message(3027, "Error while pinning mfn {mfn:x}"),
    "already_pinned": Message(3043, "Mfn {mfn:x} already pinned"),
    "unpin_bad_page": Message(3078, "Mfn {mfn:x} bad domain"),
    "not_pinned": Message(3088, "Mfn {mfn:x} not pinned"),
    "flush_cache": Message(3177, "Non-physdev domain tried to FLUSH_CACHE."),
    "clearing": Message(3247, "Error while clearing mfn {mfn:x}"),
    "copying_from": Message(3272, "Error while copying from mfn {mfn:x}"),
    "copying_to": Message(3282, "Error while copying to mfn {mfn:x}"),
    "superpages_disallowed": Message(3316, "Superpages disallowed"),
    "bad_mmuext": Message(3355, "Invalid extended pt command 0x{command:x}"),
    "normal_update": Message(3498, "Could not get page for normal update"),
    "machphys_update": Message(3678, "Could not get page for mach->phys update"),
    "bad_update": Message(3702, "Invalid page update command {command:x}"),
    "ptwr_bad_access": Message(
        4988, "ptwr_emulate: bad access (cr2={va:x}, addr={va:x}, bytes={size})"
    ),
    "ptwr_refused": Message(5048, "ptwr_emulate: could not get_page_from_l1e()"),
}

_RO_PAGE_FAULT = "arch/x86/pv/ro-page-fault.c"

MESSAGES_4_17: Text = {
    "no_page_ref": Message(
        414, "Could not get page ref for mfn {mfn:05x}", "./arch/x86/include/asm/mm.h"
    ),
    "linear_with_write_perms": Message(697, "Attempt to create linear p.t. with write perms"),
    "linear_l2": Message(1124, ""),
    "linear_l3": Message(1148, ""),
    "linear_l4": Message(1172, ""),
    **_levels("bad_flags", (877, 1134, 1157, 1181), "Bad LLEVEL flags {flags:x}"),
    **_levels("update_bad_flags", (2158, 2274, 2336, 2398), "Bad LLEVEL flags {flags:x}"),
    "io_space": Message(901, "d{domid} non-privileged attempt to map MMIO space {mfn:05x}"),
    "real_owner": Message(
        988, "pg_owner d{domid} l1e_owner d{domid}, but real_pg_owner d{real_owner}"
    ),
    "no_writable_type": Message(1014, "Could not get page type PGT_writable_page"),
    "getting_mfn": Message(
        1040,
        "Error getting mfn {mfn:05x} (pfn {pfn:05x}) from L1 entry {entry:016x} "
        "for l1e_owner d{owner}, pg_owner d{owner}",
    ),
    "global_kernel": Message(98, "Global bit is set in kernel page {mfn:x}", "arch/x86/pv/mm.h"),
    **_levels(
        "failure_in_promote",
        (1366, 1474, 1593, 1784),
        "Failure {rc} in promote_lLEVEL_table: slot {hex_slot}",
    ),
    "private_area_l4": Message(2387, "L4 update in Xen-private area, slot {hex_slot}"),
    "wrong_owner": Message(
        0,
        "Error mfn {mfn:05x}: rd=d{domid} od={owner_text} caf={count_info:08x} "
        "taf={type_info:016x}",
    ),
    "while_validating": Message(
        2647,
        "Error while validating mfn {mfn:05x} (pfn {pfn:05x}) for type {want:016x}: "
        "caf={count_info:08x} taf={type_info:016x}",
    ),
    "count_overflow": Message(2897, "Type count overflow on mfn {mfn:05x}"),
    "bad_type": Message(
        2938,
        "Bad type (saw {saw:016x} != exp {want:016x}) for mfn {mfn:05x} (pfn {pfn:05x})",
    ),
    "installing_baseptr": Message(3343, "Error while installing new baseptr {mfn:05x}"),
    "installing_user_baseptr": Message(3692, "Error {rc} installing new mfn {mfn:05x}"),
    "while_pinning": Message(3560, "Error {rc} while pinning mfn {mfn:05x}"),
    "already_pinned": Message(3572, "mfn {mfn:05x} already pinned"),
    "unpin_bad_page": Message(3616, "mfn {mfn:05x} bad, or bad owner d{domid}"),
    "not_pinned": Message(3626, "mfn {mfn:05x} not pinned"),
    "clearing": Message(3849, "Error clearing mfn {mfn:05x}"),
    "copying_from": Message(3876, "Error copying from mfn {mfn:05x}"),
    "copying_to": Message(3897, "Error copying to mfn {mfn:05x}"),
    "normal_update": Message(4098, "Could not get page for normal update"),
    "machphys_update": Message(4222, "Could not get page for mach->phys update"),
    "ptwr_bad_access": Message(
        100, "bad access (cr2={va:x}, addr={va:x}, bytes={size})", _RO_PAGE_FAULT
    ),
    "ptwr_refused": Message(163, "could not get_page_from_l1e()", _RO_PAGE_FAULT),
}
