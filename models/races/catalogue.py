"""All races there are, by their names: R are the kernel's, X the hypervisor's."""

from models.races import (
    r01_pin_vs_rmap,
    r02_unpin_vs_rmap,
    r03_sync_vs_pin,
    r04_pgd_lock_deadlock,
    r05_stale_cr3,
    r06_leave_mm_bug,
    r07_early_mask_clear,
    r08_stale_vmap_alias,
    r09_stale_kmap,
    r10_suspend_pins_all,
    r11_lazy_preempted,
    r12_lazy_vmalloc_fault,
    r13_gup_fast,
    r14_exec_error_path,
    r15_lockless_init_mm,
    r16_empty_flush_mask,
    r17_deferred_page_flags,
    r18_populate_vs_pin,
    r19_drop_mm_ref_storm,
    x01_flush_before_publish,
    x02_retry_unvalidated,
    x03_lock_is_last_use,
    x04_retry_pin_loses,
    x05_resumed_by_another,
)
from models.races.race import Race

RACES: dict[str, Race] = {
    module.RACE.id: module.RACE
    for module in (
        r01_pin_vs_rmap,
        r02_unpin_vs_rmap,
        r03_sync_vs_pin,
        r04_pgd_lock_deadlock,
        r05_stale_cr3,
        r06_leave_mm_bug,
        r07_early_mask_clear,
        r08_stale_vmap_alias,
        r09_stale_kmap,
        r10_suspend_pins_all,
        r11_lazy_preempted,
        r12_lazy_vmalloc_fault,
        r13_gup_fast,
        r14_exec_error_path,
        r15_lockless_init_mm,
        r16_empty_flush_mask,
        r17_deferred_page_flags,
        r18_populate_vs_pin,
        r19_drop_mm_ref_storm,
        x01_flush_before_publish,
        x02_retry_unvalidated,
        x03_lock_is_last_use,
        x04_retry_pin_loses,
        x05_resumed_by_another,
    )
}


def find_race(name: str) -> Race | None:
    """A race by its id, in either case; None if there is none."""
    return RACES.get(name.upper())
