"""Why Xen prints each of its messages, and what to do about it.

By the names of :mod:`models.xen.versions.messages`. Sources: the functions named, in
xen/arch/x86/mm.c (and traps.c, common/multicall.c, common/page_alloc.c, pv/ro-page-fault.c) of the
versions modelled.
"""

from collections.abc import Mapping
from typing import NamedTuple

from experiments.decoding.explanations_of_calls import CALLS


class Explanation(NamedTuple):
    """What is to be said about one message.

    ``says`` is a format of the message's arguments, as they are told to people.
    """

    function: str
    says: str
    cause: str
    remedy: str


_CHECK_MFN = (
    "Compare the frame with the guest's p2m: a pfn used as an mfn, a p2m entry out of date, or a "
    "page given back to Xen are the usual reasons."
)
_LINE_BEFORE = (
    "The reason is in the line before this one; without it, look for a debug build's log."
)

_SINGLE: dict[str, tuple[str, str, str, str]] = {
    "no_page_ref": (
        "get_page_from_pagenr (4.17 and later: get_page_from_mfn)",
        "No reference to page {mfn} could be had.",
        (
            "The frame is free, is not RAM, or belongs to another domain than the one that the "
            "request works on."
        ),
        (
            "The line 'Error pfn' or 'Error mfn' before it names the owners, where the log level "
            f"shows it. {_CHECK_MFN}"
        ),
    ),
    "io_space": (
        "get_page_from_l1e",
        "Domain {domid} may not map frame {mfn}, which is not its RAM but I/O space.",
        (
            "An L1 entry names a frame that is not RAM, and the domain has no right to that I/O "
            "memory. The local APIC, I/O APICs and the like are kept from dom0, too."
        ),
        (
            "For a device's memory, hand the device to the domain (pci=, iomem=). For anything "
            f"else the frame number is wrong. {_CHECK_MFN}"
        ),
    ),
    "io_space_to_other": (
        "get_page_from_l1e",
        (
            "Domain {domid} tried to map I/O frame {mfn} of d{pg_owner} into a table of d{owner}, "
            "which may not map it."
        ),
        "The domain whose table gets the entry needs a right of its own to the I/O memory.",
        "Grant the range to the domain that owns the table, or map it from one that has it.",
    ),
    "read_only_io": (
        "get_page_from_l1e",
        "The writable mapping of I/O frame {mfn} by d{domid} has become a read-only one.",
        (
            "Xen keeps some device memory read-only for guests, such as the tables of MSI-X and "
            "the configuration space it watches. The entry is stored without RW, not refused."
        ),
        "Harmless unless the driver then writes: its store faults. It must use hypercalls there.",
    ),
    "real_owner": (
        "get_page_from_l1e",
        (
            "An entry in a table of d{owner} was to map a page of d{pg_owner}, but the page is "
            "{real_owner}."
        ),
        "The caller named the wrong domain as the page's owner, or the page has changed hands.",
        (
            "For foreign pages, name the owner in the hypercall or use a grant. For the guest's "
            f"own: {_CHECK_MFN}"
        ),
    ),
    "no_writable_type": (
        "get_page_from_l1e",
        "An entry with RW was refused: its page cannot be had as a writable page.",
        "The page is a page table or holds descriptors, so that nobody may map it writable.",
        (
            "'Bad type' before it shows the page's word. Map the page read-only, or unpin the "
            "table and drop all uses of it first."
        ),
    ),
    "xen_heap_caching": (
        "get_page_from_l1e",
        "A mapping of one of Xen's own pages asks for another caching than the page has.",
        (
            "Pages that Xen shares with guests (shared info, grant tables, trace buffers) are "
            "write-back, and an entry asked for PAT, PCD or PWT."
        ),
        "Map these pages with ordinary protection bits, not with those of device memory.",
    ),
    "getting_mfn": (
        "get_page_from_l1e",
        "L1 entry {entry} was refused: page {mfn} (pfn {pfn}) cannot be mapped so.",
        (
            "The page is not the named owner's (pg_owner), or the entry has RW and the page is in "
            "use as a page table or for descriptors."
        ),
        (
            "After 'Bad type' the page is a table: make the entry read-only. Alone, it is a matter "
            f"of ownership. {_CHECK_MFN}"
        ),
    ),
    "superpage": (
        "get_page_from_l2e",
        "An L2 entry has PSE, and this hypervisor does not offer 2 MiB pages to PV guests.",
        "Superpages for PV exist only with the boot option allowsuperpage.",
        "Map with 4 KiB entries: a PV kernel must not find the PSE feature in its CPUID.",
    ),
    "global_kernel": (
        "adjust_guest_l1e",
        "A kernel mapping of page {mfn} has the GLOBAL flag, which Xen wants on user pages alone.",
        (
            "Xen runs kernel and user space of a 64-bit guest in one ring. It marks the kernel's "
            "entries with bit 52, sets GLOBAL on the user's, and a guest wrote an entry with both."
        ),
        (
            "A warning: the entry is stored. Leave _PAGE_GLOBAL out of kernel mappings, and do not "
            "write entries back as they were read."
        ),
    ),
    "private_area_l4": (
        "mod_l4_entry",
        "An L4 entry in slot {slot} was to be changed; slots 256 to 271 belong to Xen.",
        "Xen keeps its own mappings in these slots of every L4 of a 64-bit guest.",
        (
            "Leave them out when copying or clearing an L4. Code that was written for bare metal "
            "often copies the whole upper half."
        ),
    ),
    "wrong_owner": (
        "get_page",
        (
            "Page {mfn} was asked for as a page of {wanted}, but belongs to {owner}. "
            "Its count_info: {count_info}; its type_info: {type_info}."
        ),
        (
            "The caller works on pages of the first domain; the frame is another's, is free, or is "
            "Xen's own. A reference to it is refused."
        ),
        f"It is printed at INFO, and so not by release builds by default. {_CHECK_MFN}",
    ),
    "while_validating": (
        "alloc_page_type (4.17 and later: validate_page)",
        (
            "Page {mfn} (pfn {pfn}) was to become {want}, and one of its entries was refused; its "
            "type_info then: {type_info}."
        ),
        (
            "Every entry of a page that becomes a page table is checked; the first that is refused "
            "makes the whole page unfit, and its type goes back to none."
        ),
        f"{_LINE_BEFORE} 'Failure in' names the slot: look at that entry of the table.",
    ),
    "count_overflow": (
        "__get_page_type (since 4.13: _get_page_type)",
        "Page {mfn} is used so often that its type count is full.",
        "55 bits do not fill up by mapping: the word is damaged, or a use is not given back.",
        "Decode the page's type_info if another line shows it, and report it: a bug, as a rule.",
    ),
    "bad_type": (
        "__get_page_type (since 4.13: _get_page_type)",
        "Page {mfn} (pfn {pfn}) was to be used as {want}, but was found so: {saw}.",
        (
            "A page has one type at a time, and can only change it while nothing uses it as the "
            "old one."
        ),
        "Find what still uses the page in the old way, and end that use before the new one.",
    ),
    "ptwr_bad_access": (
        "ptwr_emulated_update",
        "A store of {size} to page-table address {va} was not emulated: misaligned or too wide.",
        (
            "The guest stored to a read-only page table. Xen emulates such stores if they are "
            "aligned, of at most 8 bytes and inside one entry."
        ),
        "Write entries whole, with one aligned 8-byte store, or through mmu_update.",
    ),
    "ptwr_refused": (
        "ptwr_emulated_update",
        "A store to a read-only L1 table was not emulated: the new entry was refused.",
        "The guest wrote an L1 entry that it may not have. The store becomes a page fault in it.",
        (
            "The line before tells what is wrong with the entry: flags, ownership, or RW to a page "
            "table ('Bad type')."
        ),
    ),
    "ptwr_bad_size": (
        "ptwr_emulated_write",
        "A store of {size} to page-table address {va} was not emulated: not 1, 2, 4 or 8 bytes.",
        "The instruction writes a size that no page-table entry has, as memcpy with SSE does.",
        "Do not use string or vector instructions on page tables once they are read-only.",
    ),
    "ptwr_bad_cmpxchg": (
        "ptwr_emulated_cmpxchg",
        "A cmpxchg of {size} on page-table address {va} was not emulated: not 1, 2, 4 or 8 bytes.",
        "The instruction compares a size that no page-table entry has, as cmpxchg16b does.",
        "Exchange entries one by one, with 8 bytes.",
    ),
    "unhandled_fault": (
        "propagate_page_fault (4.17 and later: pv_inject_event)",
        "The guest faulted with error code {error} and has no handler for page faults: it dies.",
        (
            "The fault came before the kernel had set its trap table, or the table lacks it. "
            "Early in a boot it is mostly a store to a page that Xen keeps read-only."
        ),
        (
            "Decode the lines before it; then look up the faulting address and RIP of the dump in "
            "the kernel's symbols. The start-up tables and what they map are read-only."
        ),
    ),
}


def _of_level(level: int) -> dict[str, tuple[str, str, str, str]]:
    """What each level of table has its own function for."""
    below = f"L{level - 1}"
    upper_flags = (
        "In L2, L3 and L4 entries a PV guest may set neither GLOBAL nor the bits for caching (PCD, "
        "PWT) nor, but for superpages of old versions, PSE."
    )
    leaf_flags = (
        "A domain without I/O memory may not set PAT, PCD or PWT. Debug builds also keep bit 62 "
        "(GRANT), with which they mark mappings of grants."
    )
    clear_them = (
        "Build upper entries from present, RW, user, accessed and dirty alone. A page of L1 "
        "entries that is pinned or hooked as a higher table shows here, too."
    )
    ask_less = (
        "Mask these bits where entries are made. PAT is the bit that means PSE one level up: it is "
        "left over when a large mapping is split. For caching, the domain needs a device."
    )
    cause, remedy = (leaf_flags, ask_less) if level == 1 else (upper_flags, clear_them)
    calls = "update_va_mapping or mmu_update" if level == 1 else "mmu_update"
    texts = {
        f"bad_flags_l{level}": (
            f"get_page_from_l{level}e",
            f"An L{level} entry has flags that the guest may not set: {{flags}}.",
            cause,
            remedy,
        ),
        f"update_bad_flags_l{level}": (
            f"mod_l{level}_entry",
            f"By {calls} an L{level} entry was to get flags that it may not have: {{flags}}.",
            cause,
            remedy,
        ),
        f"failure_in_promote_l{level}": (
            f"alloc_l{level}_table (4.17 and later: promote_l{level}_table)",
            f"The entry in slot {{slot}} keeps a page from becoming an L{level} table.",
            (
                "Entries are checked from slot 0 upwards; this is the first that was refused. The "
                "references of those below it are given back."
            ),
            (
                "The line before tells why. "
                + (
                    "Slot n of the table maps the n-th page of its 2 MiB."
                    if level == 1
                    else f"Slot n leads to an {below} table, which was refused itself or is in "
                    "another use."
                )
            ),
        ),
    }
    if level > 1:
        texts[f"linear_l{level}"] = (
            f"get_l{level}_linear_pagetable",
            (
                f"An L{level} entry with RW points to a page that is not an {below} table, so that "
                "it could only be a linear mapping, which must be read-only."
            ),
            (
                "When the page that such an entry points to is refused as a table of the level "
                "below, Xen asks whether it is a linear page table: one of the entry's own level."
            ),
            (
                "Seldom about linear tables: find out why the page was refused, which is in the "
                "lines before. For a linear table, leave RW out of the entry."
            ),
        )
    return texts


EXPLANATIONS: Mapping[str, Explanation] = {
    name: Explanation(*texts)
    for name, texts in (
        *_SINGLE.items(),
        *(item for level in (1, 2, 3, 4) for item in _of_level(level).items()),
        *CALLS.items(),
    )
}

_UNMAP_FIRST = (
    "A page-table page is still mapped writable, most often in the direct map, when it is pinned "
    "or hooked."
)

BAD_TYPES: Mapping[tuple[str, str], tuple[str, str]] = {
    ("writable_page", "table"): (
        _UNMAP_FIRST,
        (
            "Make every mapping of the page read-only before it becomes a table. Count also "
            "mappings in tables that are pinned but not yet hooked: a walk of the kernel's own "
            "tables does not find these. An aliased or ballooned page has more than one mapping."
        ),
    ),
    ("writable_page", "segdesc"): (
        "A page is still mapped writable when a GDT or LDT in it is to be loaded.",
        "Make the page read-only in the direct map first, then load the descriptors.",
    ),
    ("table", "writable_page"): (
        "A page table was to be mapped, or written, as an ordinary page.",
        (
            "Map tables read-only. A page that has been freed must be unpinned and unhooked before "
            "it is mapped writable again, and while another CPU validates it one has to wait."
        ),
    ),
    ("table", "table"): (
        "A table of one level was to be used as one of another level.",
        (
            "Compare the level of the pin, or of the entry that points to the page, with the "
            "word. A page that was a table of another level must be unpinned and unhooked first."
        ),
    ),
    ("segdesc", "writable_page"): (
        "A page with a loaded GDT or LDT was to be mapped writable.",
        "Unload the descriptors first, or keep the mapping read-only.",
    ),
}
"""Cause and remedy of "Bad type", by what the page was and what it was to become."""
