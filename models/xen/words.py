"""The words of Xen's PV MMU interface that all versions share: bits, commands and flags."""

# Fields of a type word that all versions share (include/asm-x86/mm.h).
PINNED = 1 << 59
VALIDATED = 1 << 58
PAE_XEN_L2 = 1 << 57
"""The L2 of a 32-bit guest that also holds Xen's own slots."""
PARTIAL = 1 << 56
COUNT = (1 << 55) - 1

ALLOCATED = 1 << 63
XEN_HEAP = 1 << 62
FRESH_COUNT_INFO = ALLOCATED | 1
"""``count_info`` of a page just given to a domain: allocated, one reference."""

# mmuext_op commands (include/public/xen.h).
PIN_L1_TABLE, PIN_L2_TABLE, PIN_L3_TABLE, PIN_L4_TABLE, UNPIN_TABLE = range(5)
NEW_BASEPTR, TLB_FLUSH_LOCAL, INVLPG_LOCAL = 5, 6, 7
TLB_FLUSH_MULTI, INVLPG_MULTI, TLB_FLUSH_ALL, INVLPG_ALL = 8, 9, 10, 11
FLUSH_CACHE, SET_LDT, NEW_USER_BASEPTR = 12, 13, 15
CLEAR_PAGE, COPY_PAGE, FLUSH_CACHE_GLOBAL, MARK_SUPER, UNMARK_SUPER = 16, 17, 18, 19, 20

MMUEXT_NAMES = {
    PIN_L1_TABLE: "PIN_L1_TABLE",
    PIN_L2_TABLE: "PIN_L2_TABLE",
    PIN_L3_TABLE: "PIN_L3_TABLE",
    PIN_L4_TABLE: "PIN_L4_TABLE",
    UNPIN_TABLE: "UNPIN_TABLE",
    NEW_BASEPTR: "NEW_BASEPTR",
    TLB_FLUSH_LOCAL: "TLB_FLUSH_LOCAL",
    INVLPG_LOCAL: "INVLPG_LOCAL",
    TLB_FLUSH_MULTI: "TLB_FLUSH_MULTI",
    INVLPG_MULTI: "INVLPG_MULTI",
    TLB_FLUSH_ALL: "TLB_FLUSH_ALL",
    INVLPG_ALL: "INVLPG_ALL",
    FLUSH_CACHE: "FLUSH_CACHE",
    SET_LDT: "SET_LDT",
    NEW_USER_BASEPTR: "NEW_USER_BASEPTR",
    CLEAR_PAGE: "CLEAR_PAGE",
    COPY_PAGE: "COPY_PAGE",
    FLUSH_CACHE_GLOBAL: "FLUSH_CACHE_GLOBAL",
    MARK_SUPER: "MARK_SUPER",
    UNMARK_SUPER: "UNMARK_SUPER",
}

# mmu_update commands: the low bits of a request's pointer.
NORMAL_PT_UPDATE, MACHPHYS_UPDATE, PT_UPDATE_PRESERVE_AD, PT_UPDATE_NO_TRANSLATE = range(4)

DOMID_SELF = 0x7FF0
"""Stands for the caller where a call names a domain (include/public/xen.h)."""

# update_va_mapping flags.
UVMF_NONE, UVMF_TLB_FLUSH, UVMF_INVLPG = 0, 1, 2
UVMF_FLUSH_TYPE = 3
UVMF_LOCAL, UVMF_ALL = 0, 4

RESERVED_L4_SLOTS = range(256, 272)
"""Slots of an L4 that belong to Xen in 64-bit guests."""
