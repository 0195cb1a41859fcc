"""What a domain's page tables are to the hypervisor, and to the CPU.

Source: include/asm-x86/paging.h (paging_mode_refcounts, paging_mode_translate).
"""

from enum import Enum


class Paging(Enum):
    """How the guest's page tables are used."""

    DIRECT = "direct"
    """By the CPU as they are: each must have been checked, and nobody may write to one."""
    SHADOW = "shadow"
    """Not at all: Xen keeps tables of its own after them (:mod:`models.xen.paging.shadow`)."""
    NESTED = "nested"
    """As the guest likes; a second table maps what it takes for memory
    (:mod:`models.xen.paging.nested`)."""
