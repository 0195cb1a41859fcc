"""The historical fixes of run-time races, each a switch: off is the kernel from before the fix.

A field is asked at exactly the place where the code before and after the fix differs; all are on
unless somebody wants to see the race. models/races tells the story of each.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Fixes:
    """Which fixes a running kernel has."""

    pin_takes_pte_locks: bool = True
    """Pinning holds an L1's lock until the batch that pins it is done (74260714c56d)."""
    unpin_takes_pte_locks: bool = True
    """The same of unpinning (74260714c56d)."""
    sync_takes_page_table_lock: bool = True
    """Who changes a listed pgd takes its mm's page_table_lock (617d34d9e5d8)."""
    sync_leaves_irqs_on: bool = True
    """pgd_lock is taken with interrupts on (a79e53d85683)."""
    exit_asks_current_cr3: bool = True
    """exit goes by the base that the hypervisor was told, not the one asked for (9f79991d4186)."""
    leave_mm_asks_again: bool = True
    """The interrupt that drops an mm looks whether it is still borrowed (7899891c7d16)."""
    vunmap_clears_at_once: bool = True
    """Entries of vmap space are emptied when they are given back (64141da58724)."""
    high_tables_flush_kmaps: bool = True
    """Stale kmaps are flushed before a high page becomes a table (kmap_flush_unused)."""
    init_mm_updates_hold_cpu: bool = True
    """A leaf of the kernel's own tables is written with preemption off (2bd50036b5df)."""
    mask_left_after_cr3: bool = True
    """A CPU leaves an mm's mask when it has loaded another base (831d52bc1539)."""
    suspend_walks_listed_pgd: bool = True
    """Pinning before a suspend walks the pgd on the list, not the kernel's (86bbc2c235e5)."""
    switch_leaves_lazy_mmu: bool = True
    """A context switch flushes lazy MMU mode and goes back to it later (b407fc57b815)."""
    vmalloc_fault_flushes: bool = True
    """A pgd entry copied by a fault is flushed out of lazy MMU mode (1160c2779b82)."""
    tables_freed_by_rcu: bool = True
    """A freed table is given back when no lockless walk can be under way (9e52fc2b50de)."""
    exit_tests_pinned: bool = True
    """An mm that was never pinned is not unpinned (df912ea4ae72)."""
    flush_tests_mask_first: bool = True
    """No entry is queued before it is known that somebody is to be flushed (694aa960608d)."""
    late_pages_marked_pinned: bool = True
    """PG_pinned is set when the page's descriptor has been initialised (after 4267739cabb8)."""
    split_pmd_locks: bool = True
    """Entries of an L2 have a lock of their own (since 3.13), which pinning does not take."""


ALL = Fixes()
