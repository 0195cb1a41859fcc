"""Memory that is added to a running kernel: mapped into the direct map, then free for use.

The frames are there, as a balloon or a toolstack has made them: what that takes is not modelled,
and neither are the descriptors of the new pages. Tables come from the page allocator, so their own
leaves are live; what is left of the boot's hazard is the order. Source: Linux 6.1
arch/x86/mm/init_64.c (arch_add_memory, __kernel_physical_mapping_init, phys_pud_init,
phys_pmd_init, phys_pte_init), arch/x86/xen/mmu_pv.c (xen_set_pte).
"""

import numpy as np
from numpy.typing import NDArray

from models.linux.run.kernel import WRITE_ALL, Cpu
from models.linux.run.mm import lower_table, slot_of
from models.linux.run.pgd_sync import sync_global_pgds
from models.linux.run.pv_mmu import alloc_ptpage, set_p4d, set_upper
from models.linux.run.switching import flush_tlb_all_here
from models.linux.start_state.p2m import PAGE_KERNEL
from models.machine.entries import ENTRIES, PAGE_SHIFT, PAGES_PER_L2, PAGES_PER_L3, PRESENT
from models.xen.accesses import store_page
from models.xen.gate import update_each
from models.xen.hypercalls import MmuUpdate
from sim.effects import STEP, Activity


def add_memory(cpu: Cpu, first: int, end: int) -> Activity:
    """Map the pages [first, end) and give them to the page allocator."""
    kernel = cpu.kernel
    made: list[int] = []
    for base in range(first // PAGES_PER_L3 * PAGES_PER_L3, end, PAGES_PER_L3):
        span = max(first, base), min(end, base + PAGES_PER_L3)
        slot = slot_of(kernel.direct_map_va + (span[0] << PAGE_SHIFT), 4)
        yield STEP
        l3 = lower_table(kernel, kernel.init_l4, slot)
        if l3 is not None:
            yield from _map_l3(cpu, l3, *span)
            continue
        l3 = yield from kernel.alloc_table(cpu)
        yield from _map_l3(cpu, l3, *span)
        yield kernel.init_mm.page_table_lock.to_take
        yield from alloc_ptpage(cpu, kernel.init_mm, l3, 3)
        yield from set_p4d(cpu, kernel.init_mm, slot, kernel.table_entry(l3))
        yield kernel.init_mm.page_table_lock.to_release
        made.append(slot)
    for slot in made:
        yield from sync_global_pgds(cpu, slot)
    for _ in range(kernel.era.flushes_after_walk):
        yield from flush_tlb_all_here(cpu)
    yield STEP
    kernel.online(first, end)


def _map_l3(cpu: Cpu, l3: int, first: int, end: int) -> Activity:
    kernel = cpu.kernel
    for base in range(first // PAGES_PER_L2 * PAGES_PER_L2, end, PAGES_PER_L2):
        span = max(first, base), min(end, base + PAGES_PER_L2)
        slot = base // PAGES_PER_L2 % ENTRIES
        yield STEP
        l2 = lower_table(kernel, l3, slot)
        if l2 is not None:
            yield from _map_l2(cpu, l2, *span)
            if kernel.era.flushes_after_walk:
                yield from flush_tlb_all_here(cpu)
            continue
        l2 = yield from kernel.alloc_table(cpu)
        yield from _map_l2(cpu, l2, *span)
        yield from _enter(cpu, l3, slot, l2, 2)
    if kernel.era.flushes_after_walk:
        yield from flush_tlb_all_here(cpu)


def _map_l2(cpu: Cpu, l2: int, first: int, end: int) -> Activity:
    kernel = cpu.kernel
    for base in range(first // ENTRIES * ENTRIES, end, ENTRIES):
        span = max(first, base), min(end, base + ENTRIES)
        slot = base // ENTRIES % ENTRIES
        yield STEP
        l1 = lower_table(kernel, l2, slot)
        if l1 is not None:
            # Somebody else may be about to change other entries of a table that is live.
            yield kernel.init_mm.page_table_lock.to_take
            yield from _write_leaves(cpu, l1, *span)
            yield kernel.init_mm.page_table_lock.to_release
            continue
        l1 = yield from kernel.alloc_table(cpu)
        yield from _write_leaves(cpu, l1, *span)
        yield from _enter(cpu, l2, slot, l1, 1)


def _enter(cpu: Cpu, table: int, slot: int, fresh: int, level: int) -> Activity:
    """A table that is full goes into the one above (pmd_populate_kernel, pud_populate)."""
    kernel = cpu.kernel
    yield kernel.init_mm.page_table_lock.to_take
    yield from alloc_ptpage(cpu, kernel.init_mm, fresh, level)
    yield from set_upper(cpu, table, slot, kernel.table_entry(fresh))
    yield kernel.init_mm.page_table_lock.to_release


def _write_leaves(cpu: Cpu, l1: int, first: int, end: int) -> Activity:
    """The leaves of [first, end) that are missing: a hypercall each since 3.6, a store before."""
    kernel = cpu.kernel
    leaves = np.array(
        [kernel.mfn(pfn) << PAGE_SHIFT | PAGE_KERNEL for pfn in range(first, end)], np.uint64
    )
    slot = first % ENTRIES
    for low, high in _missing(kernel.frames.array(l1)[slot : slot + leaves.size]):
        if kernel.era.set_pte == "mmu_update":
            kernel.counts["mmu_update_batch_hist", "1"] += high - low
            refused = yield from update_each(kernel.xen, cpu.vcpu, l1, slot + low, leaves[low:high])
            for pointer, value, rc in refused:
                kernel.refuse(MmuUpdate(((pointer, value),)), rc)
        elif high - low == ENTRIES:
            # Nobody knows this table yet.
            stored = yield from store_page(kernel.xen, cpu.vcpu, kernel.va(l1), leaves)
            if not stored:
                raise kernel.oops(kernel.va(l1), l1)
            kernel.plain_stores += ENTRIES
            yield WRITE_ALL
        else:
            for number in range(low, high):
                yield from kernel.store(cpu, l1, slot + number, int(leaves[number]))


def _missing(entries: NDArray[np.uint64]) -> list[tuple[int, int]]:
    """The runs [low, high) of entries that are empty."""
    empty = np.concatenate(([False], (entries & np.uint64(PRESENT)) == 0, [False]))
    borders = np.flatnonzero(np.diff(empty.astype(np.int8)))
    return list(zip(borders[::2].tolist(), borders[1::2].tolist(), strict=True))
