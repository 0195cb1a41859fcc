"""The versions of Xen that are modelled: their bits, messages and where their behaviour differs.

A version is data. Where two behave differently, the difference is one named field here and
one place that reads it.
"""

from dataclasses import dataclass, replace
from functools import cached_property

from models.xen.versions.errno import EACCES, EAGAIN, EINVAL, ERESTART, ESRCH
from models.xen.versions.messages import (
    MESSAGES_4_1,
    MESSAGES_4_2DEV,
    MESSAGES_4_17,
    MESSAGES_MASTER,
    Text,
)
from models.xen.words import (
    ALLOCATED,
)


@dataclass(frozen=True)
class Abi:
    """One version of Xen's PV MMU interface."""

    name: str
    table_types: tuple[int, int, int, int, int]
    """Type field of an untyped page and of L1 to L4 tables."""
    type_mask: int
    seg_desc: int
    writable: int
    shared: int
    locked: int
    non_coherent: int
    """Set in the word of a page that has been mapped writable and not write-back."""
    general_count: int
    """The reference count's bits in ``count_info``."""
    cache_attributes: int
    """Where ``count_info`` remembers how a page is cached; 0 in versions that do not."""
    free_page: int
    """``count_info`` of a page that nobody owns any more."""
    text: Text
    source_file: str
    names_vcpu: bool
    """Console lines tell the vCPU beside the domain."""
    silent_release: bool
    """A release build prints none of the messages of the MMU."""
    flush_before_publishing: bool
    """A type change flushes old translations before the new type is set (XSA-401), not after."""
    defers_teardown: bool
    """Tables are torn down preemptibly: one that fails half-way, is replaced or is given up
    becomes the vCPU's old_guest_table, which a continuation finishes (XSA-45)."""
    keeps_partial_references: bool
    """An entry whose child is half validated goes on holding the child's reference (XSA-299)."""
    checks_preemption_first: bool
    """Batches look for a reason to stop also before their first entry."""
    progress_before_preemption: bool
    """A resumed validation makes one entry's progress before it may be interrupted again."""
    preempts_l3: bool
    """Validation of L3 tables, too, looks for a reason to stop; so does every teardown."""
    tells_refused_pages: bool
    """A page named in a call that is refused gets the message of get_page_from_pagenr."""
    tells_base_errors: bool
    """A refused base pointer returns the reason, not EINVAL."""
    knows_same_base: bool
    """The base pointer that is loaded already takes no further references."""
    has_no_translate: bool
    """mmu_update knows PT_UPDATE_NO_TRANSLATE."""
    emulates_for_dom0: bool
    """The hardware domain's page-table stores are emulated without the assist."""
    checks_address: bool
    """update_va_mapping refuses addresses that are not the guest's."""
    flushes_after_failure: bool
    """update_va_mapping flushes also when the update failed, and a bitmap's result hides that."""
    collapses_l1_errors: bool
    """An L2 entry whose L1 is refused is EINVAL, whatever the reason was."""
    sets_l4_accessed: bool
    """Stored L4 entries are marked accessed."""
    flushes_upper_updates: bool
    """mmu_update flushes the TLB once for changes of L2 to L4 tables (XSA-286)."""
    ignores_failed_raw_update: bool
    """mmu_update of a page that can be nothing but data returns 0 (a bug of its time)."""
    ad_fast_path: bool
    """Updates of flags alone skip the reference counts, with the wider list of flags."""
    linear_counts: bool
    """Chains of linear tables are refused through counts in both tables."""
    waits_for_lock: bool
    """Of a locked page nobody drops the last use but one, for which the lock stands (XSA-242)."""
    collapses_entry_errors: bool
    """An L1 entry that is refused is EINVAL, whatever the reason was."""
    printing_preempts: bool
    """A console line raises a softirq, for which preemptible work stops."""
    read_only_io_spares_dom0: bool
    """I/O memory that must stay read-only is that for other domains only."""
    mmio_forces_uncached: bool
    """Entries of frames that are not RAM are stored with caching off."""
    update_retries: int
    """How often mmu_update looks again at a page whose type is in flux. No version does; it was
    tried for two days in 2010 (fda843e7c0ba, reverted by 4c4d34b390e7)."""
    pages_of_others: bool
    """CLEAR_PAGE and COPY_PAGE work on the pages of the domain that a call names."""
    flush_cache_errno: int
    """A domain without I/O memory asks for FLUSH_CACHE; and for FLUSH_CACHE_GLOBAL:"""
    flush_cache_global_errno: int
    unknown_pt_owner_errno: int
    """mmu_update names tables of a domain that does not exist."""
    restart_errno: int
    """What stands for "interrupted half-way" inside the hypervisor."""
    unset_m2p: int
    """What the machine-to-physical table holds for a frame never given a pfn."""

    @cached_property
    def l1(self) -> int:
        """The type of an L1 table."""
        return self.table_types[1]

    @cached_property
    def l4(self) -> int:
        """The type of an L4 table."""
        return self.table_types[4]

    @cached_property
    def _levels(self) -> dict[int, int]:
        return {kind: level for level, kind in enumerate(self.table_types)}

    def level(self, type_info: int) -> int:
        """The level of table that a type word says, 0 for none."""
        return self._levels.get(type_info & self.type_mask, 0)

    def type_name(self, type_info: int) -> str:
        """The type of a page in a word."""
        kind = type_info & self.type_mask
        if kind == self.writable:
            return "writable_page"
        if kind == self.seg_desc:
            return "segdesc"
        if kind == self.shared:
            return "shared"
        level = self.level(type_info)
        return f"L{level}" if level else "untyped"


_4_2DEV = Abi(
    name="4.2dev",
    table_types=(0, 1 << 60, 2 << 60, 3 << 60, 4 << 60),
    type_mask=0xF << 60,
    seg_desc=5 << 60,
    writable=7 << 60,
    shared=8 << 60,
    locked=1 << 55,
    non_coherent=0,
    general_count=(1 << 55) - 1,
    cache_attributes=7 << 58,
    free_page=3 << 55,
    text=MESSAGES_4_2DEV,
    source_file="mm.c",
    names_vcpu=False,
    silent_release=False,
    flush_before_publishing=True,
    defers_teardown=False,
    keeps_partial_references=False,
    checks_preemption_first=True,
    progress_before_preemption=False,
    preempts_l3=False,
    tells_refused_pages=True,
    tells_base_errors=False,
    knows_same_base=False,
    has_no_translate=False,
    emulates_for_dom0=False,
    checks_address=False,
    flushes_after_failure=True,
    collapses_l1_errors=True,
    sets_l4_accessed=False,
    flushes_upper_updates=False,
    ignores_failed_raw_update=True,
    ad_fast_path=False,
    linear_counts=False,
    waits_for_lock=False,
    collapses_entry_errors=False,
    printing_preempts=False,
    read_only_io_spares_dom0=False,
    mmio_forces_uncached=False,
    update_retries=0,
    pages_of_others=False,
    flush_cache_errno=EINVAL,
    flush_cache_global_errno=EINVAL,
    unknown_pt_owner_errno=EINVAL,
    restart_errno=EAGAIN,
    unset_m2p=0x5555555555555555,
)

_4_17 = Abi(
    name="4.17",
    table_types=(0, 1 << 61, 2 << 61, 3 << 61, 4 << 61),
    type_mask=0x7 << 61,
    seg_desc=5 << 61,
    writable=7 << 61,
    shared=6 << 61,
    locked=1 << 60,
    non_coherent=1 << 55,
    general_count=(1 << 57) - 1,
    cache_attributes=0,
    free_page=ALLOCATED | 3 << 58,
    text=MESSAGES_4_17,
    source_file="arch/x86/mm.c",
    names_vcpu=True,
    silent_release=True,
    flush_before_publishing=False,
    defers_teardown=True,
    keeps_partial_references=True,
    checks_preemption_first=False,
    progress_before_preemption=True,
    preempts_l3=True,
    tells_refused_pages=False,
    tells_base_errors=True,
    knows_same_base=True,
    has_no_translate=True,
    emulates_for_dom0=True,
    checks_address=True,
    flushes_after_failure=False,
    collapses_l1_errors=False,
    sets_l4_accessed=True,
    flushes_upper_updates=True,
    ignores_failed_raw_update=False,
    ad_fast_path=True,
    linear_counts=True,
    waits_for_lock=True,
    collapses_entry_errors=False,
    printing_preempts=True,
    read_only_io_spares_dom0=False,
    mmio_forces_uncached=True,
    update_retries=0,
    pages_of_others=True,
    flush_cache_errno=EACCES,
    flush_cache_global_errno=EINVAL,
    unknown_pt_owner_errno=ESRCH,
    restart_errno=ERESTART,
    unset_m2p=0xFFFFFFFFFFFFFFFF,
)

_PROFILES = {
    abi.name: abi
    for abi in (
        replace(
            _4_2DEV,
            name="4.1",
            text=MESSAGES_4_1,
            ignores_failed_raw_update=False,
            collapses_entry_errors=True,
            read_only_io_spares_dom0=True,
        ),
        _4_2DEV,
        _4_17,
        replace(
            _4_17,
            name="master",
            text=MESSAGES_MASTER,
            general_count=(1 << 56) - 1,
            free_page=7 << 57,
            flush_cache_global_errno=EACCES,
        ),
    )
}


def profile_names() -> list[str]:
    """The versions there are, the oldest first."""
    return list(_PROFILES)


def find_abi(name: str) -> Abi:
    """The version with this name.

    Raises:
        KeyError: there is none.
    """
    return _PROFILES[name]
