"""Why Xen prints what it says about whole hypercalls, and what to do about it.

Function, what the line says, cause and remedy, by the names of :mod:`models.xen.versions.messages`:
see :class:`experiments.decoding.explanations.Explanation`.
"""

_OWN_ID = (
    "A call that names a foreign domain does so by its number; for itself the caller writes "
    "DOMID_SELF."
)
_SUPERPAGES = "Superpages for PV guests exist only with the boot option allowsuperpage."
_LINE_BEFORE = "The line before tells why; it is 'Bad type' or a failed validation as a rule."
_NO_RIGHT = (
    "The caller is not privileged, and so may not work on the pages of another domain, nor on "
    "those of Xen."
)

_BASE_POINTER = (
    "A base pointer must be an L4 table of the guest's own: pinned already, or one whose entries "
    "are all accepted now."
)
_COPIES = (
    "MMUEXT_CLEAR_PAGE and MMUEXT_COPY_PAGE write to the page as if it were mapped writable, and "
    "need it as such for that moment."
)

CALLS: dict[str, tuple[str, str, str, str]] = {
    "installing_baseptr": (
        "new_guest_cr3",
        "Page {mfn} was refused as the kernel's base pointer (CR3).",
        _BASE_POINTER,
        f"{_LINE_BEFORE} Pin the L4 before it is loaded, and look at what the pin returns.",
    ),
    "installing_user_baseptr": (
        "do_mmuext_op, MMUEXT_NEW_USER_BASEPTR",
        "Page {mfn} was refused as the base pointer (CR3) of user space.",
        _BASE_POINTER,
        (
            f"{_LINE_BEFORE} A 64-bit kernel has two L4 tables for each process: both must be "
            "read-only and pinned."
        ),
    ),
    "self_as_foreign": (
        "get_pg_owner",
        "The caller named its own domain as a foreign one.",
        _OWN_ID,
        "Pass DOMID_SELF (7ff0), or leave the foreign domain out.",
    ),
    "foreign_xen": (
        "get_pg_owner",
        "The caller named DOMID_XEN and has no right to.",
        _NO_RIGHT,
        "Only dom0 maps Xen's own pages, such as trace buffers. Check the domain id of the call.",
    ),
    "foreign_unprivileged": (
        "get_pg_owner",
        "The caller named another domain and has no right to work on its pages.",
        _NO_RIGHT,
        "Use grants between guests. For a device model, give its domain the right to the target.",
    ),
    "unknown_domain": (
        "get_pg_owner",
        "The caller named domain {other}, and there is none.",
        "The domain is gone already, or never existed.",
        "A toolstack that outlives its guest shows this: check that the domain is still there.",
    ),
    "while_pinning": (
        "do_mmuext_op, MMUEXT_PIN_Lx_TABLE",
        "Page {mfn} could not be pinned as a page table.",
        (
            "To pin is to use the page as a table once more: the page must be the guest's, mapped "
            "writable nowhere, and all its entries must be accepted."
        ),
        (
            f"{_LINE_BEFORE} Linux takes a failed pin for a bug and stops, so that this is the "
            "last line but for its own crash."
        ),
    ),
    "already_pinned": (
        "do_mmuext_op, MMUEXT_PIN_Lx_TABLE",
        "Page {mfn} is pinned already.",
        "A table is pinned once; a second pin of the same level is refused.",
        (
            "Two paths pin the same table, or a table was freed without an unpin and its page "
            "became a table again. Look for the missing MMUEXT_UNPIN_TABLE."
        ),
    ),
    "unpin_bad_page": (
        "do_mmuext_op, MMUEXT_UNPIN_TABLE",
        "Page {mfn} cannot be unpinned: it is not the guest's.",
        "The frame is free, is not RAM, or belongs to another domain.",
        (
            "Compare the frame with the guest's p2m. After a page was exchanged or given back, its "
            "old frame number is nobody's."
        ),
    ),
    "not_pinned": (
        "do_mmuext_op, MMUEXT_UNPIN_TABLE",
        "Page {mfn} was to be unpinned and is not pinned.",
        "The pin failed earlier, or the table is unpinned twice.",
        "Look for a failed pin of the same frame before. Otherwise two paths free the table.",
    ),
    "flush_cache": (
        "do_mmuext_op, MMUEXT_FLUSH_CACHE",
        "The domain may not flush the CPU's cache.",
        "Only a domain that has I/O memory may flush caches.",
        "A driver for a device that is not the domain's, as a rule: hand it the device.",
    ),
    "flush_cache_global": (
        "do_mmuext_op, MMUEXT_FLUSH_CACHE_GLOBAL",
        "The domain may not flush the caches of all CPUs.",
        "Only a domain that has I/O memory may flush caches.",
        "A driver for a device that is not the domain's, as a rule: hand it the device.",
    ),
    "clearing": (
        "do_mmuext_op, MMUEXT_CLEAR_PAGE",
        "Page {mfn} was not cleared.",
        _COPIES,
        "The page is a page table, or not the domain's: 'Bad type' before it tells the first.",
    ),
    "copying_from": (
        "do_mmuext_op, MMUEXT_COPY_PAGE",
        "Page {mfn} was not copied: it cannot be had as the source.",
        "The source must be a page of the domain; its type does not matter.",
        "The frame number is wrong or out of date: compare it with the guest's p2m.",
    ),
    "copying_to": (
        "do_mmuext_op, MMUEXT_COPY_PAGE",
        "Page {mfn} was not copied to.",
        _COPIES,
        "The page is a page table, or not the domain's: 'Bad type' before it tells the first.",
    ),
    "mark_unaligned": (
        "do_mmuext_op, MMUEXT_MARK_SUPER",
        "Page {mfn} does not begin a superpage.",
        "The frame number of a 2 MiB page is a multiple of 512.",
        "Give the first frame of the superpage.",
    ),
    "mark_disallowed": (
        "do_mmuext_op, MMUEXT_MARK_SUPER",
        "A superpage was to be marked, and there are none.",
        _SUPERPAGES,
        "Boot Xen with allowsuperpage, or map with 4 KiB entries.",
    ),
    "unmark_unaligned": (
        "do_mmuext_op, MMUEXT_UNMARK_SUPER",
        "Page {mfn} does not begin a superpage.",
        "The frame number of a 2 MiB page is a multiple of 512.",
        "Give the first frame of the superpage.",
    ),
    "unmark_disallowed": (
        "do_mmuext_op, MMUEXT_UNMARK_SUPER",
        "A superpage was to be unmarked, and there are none.",
        _SUPERPAGES,
        "Boot Xen with allowsuperpage, or map with 4 KiB entries.",
    ),
    "bad_mmuext": (
        "do_mmuext_op",
        "There is no extended page-table command {command}.",
        "The guest uses a command that this version does not know, or the request is garbage.",
        "Check the cmd field of the request; a newer kernel must cope with -ENOSYS.",
    ),
    "normal_update": (
        "do_mmu_update",
        "The page that holds the entry to be changed cannot be had.",
        "A request of mmu_update names the entry by machine address, in a page of another owner.",
        (
            "Compute the address from the table's mfn, not from its pfn. On later versions "
            "'Error mfn' before it, printed at INFO, names the page."
        ),
    ),
    "machphys_update": (
        "do_mmu_update",
        "The frame whose machine-to-physical entry was to be set cannot be had.",
        "MMU_MACHPHYS_UPDATE works on frames of the domain alone.",
        "Set the entry after the frame is the domain's: after the exchange or the hypercall.",
    ),
    "bad_update": (
        "do_mmu_update",
        "There is no command {command} of mmu_update.",
        (
            "The three low bits of a request's address are its command; this version knows 0 "
            "(normal), 1 (machine-to-physical) and 2 (normal, keeping accessed and dirty)."
        ),
        "Align the entry's address to 8 bytes before the command is added.",
    ),
    "multicall_reentry": (
        "do_multicall",
        "A multicall held another multicall.",
        "The calls of a multicall are made one by one, and none may be a multicall itself.",
        "Flatten the list. The result of that one entry is -EINVAL, the others are made.",
    ),
}
