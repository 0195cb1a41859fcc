"""The booting guest kernel: its parts, its memory and its stores, and what it does to a table.

One vCPU runs. Every store goes to simulated memory through the mapping that the page tables
hold at that moment: to a writable leaf it is an ordinary store, to a read-only one a fault,
which the hypervisor emulates or hands back. Source: Linux 2.6.39 and 6.1, arch/x86/xen/mmu.c
(mmu_pv.c).
"""

from collections.abc import Sequence
from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models.linux.boot.calls import Calls, bug
from models.linux.boot.early_mappings import EarlyMappings
from models.linux.boot.hazard import Hazards
from models.linux.boot.obstacles import Refused, refusal
from models.linux.boot.oops import oops
from models.linux.boot.page_set import PageSet
from models.linux.boot.put_off import Queued, way_to
from models.linux.boot.pvops import operations
from models.linux.boot.strategy import Buffer, Strategy
from models.linux.boot.tables import Tables
from models.linux.crash import GuestCrash
from models.linux.start_state.build import StartState
from models.linux.start_state.geometry import Range
from models.linux.start_state.p2m import PAGE_KERNEL, TABLE_FLAGS
from models.linux.start_state.page import Page
from models.machine.entries import ADDRESS_MASK, ENTRIES, PAGE_SHIFT, PRESENT, RW, mfn_of
from models.machine.walk import find_l1_entry
from models.xen.accesses import (
    fault,
    load_fault,
    reached,
    store_each,
)
from models.xen.gate import Vcpu, trap, update_each
from models.xen.hypercalls import (
    Emulation,
    MmuextOp,
    MmuUpdate,
    Multicall,
    UpdateVaMapping,
)
from models.xen.versions.paging import Paging
from models.xen.words import PIN_L1_TABLE, PIN_L4_TABLE, UNPIN_TABLE
from sim.effects import STEP, Activity, Spend

if TYPE_CHECKING:
    from models.linux.boot.crew import Crew

__all__ = ["Guest", "Page"]

_WRITABLE = PRESENT | RW
_READ_ONLY = np.uint64((1 << 64) - 1 & ~RW)
_WRITE_ALL = Spend("pte_write_plain", ENTRIES)
_WRITE_ONE = Spend("pte_write_plain")
_WALK = Spend("table_entry_read", 4)
_READ_ALL = Spend("table_entry_read", ENTRIES)
_QUEUE = Spend("multicall_queue_entry")
_ZEROES = np.zeros(ENTRIES, np.uint64)


class Guest:
    """A guest kernel during the construction of its direct map."""

    COUNTED = ("plain_stores", "mask_lookups")
    """Attributes that are only ever counted up while it runs."""

    def __init__(self, start: StartState, strategy: Strategy) -> None:
        self.start = start
        self.geometry = start.geometry
        self.kernel = start.kernel
        self.e820 = start.e820
        self.memblock = start.memblock
        self.p2m = start.p2m
        self.xen = start.xen
        self.vcpu = start.xen.vcpus[0]
        self.frames = start.frames
        self.direct_map_va = self.kernel.page_offset_slot << 39 | 0xFFFF << 48
        self.strategy = strategy
        self.strategy_state: Any = strategy.state()
        self.access = strategy.access or start.kernel.access

        self.hazards = Hazards(start.frames)
        for region, pfn in enumerate(start.builder_l1s):
            self.hazards.leaf_tables[region] = self.mfn(pfn)
        self.tables = Tables(strategy.publish, self.hazards)
        self.calls = Calls(start.xen, start.kernel, self.hazards, strategy.batching, self.warn)
        self.early = EarlyMappings(self.va(start.bm_pte))
        self.ops = operations(start.xen)
        self._reached = reached(start.xen)

        self.l4 = start.init_l4
        """mfn of the L4 that the kernel takes for its own (init_mm.pgd)."""
        self.retired: set[int] = set()
        """Pages (pfns) of the start state that were tables, and are none any more."""
        self.max_pfn_mapped = start.layout.image_end
        self.allocations: dict[str, int] = {}
        """What was allocated after the direct map: name -> first page (pfn)."""
        self.refused: list[Refused] = []
        """What Xen refused inside a multicall, so that the kernel only warned about it."""
        self.plain_stores = 0
        self.mask_lookups = 0
        self.crew: Crew | None = None
        """The vCPUs that build the map together, if there are several."""

    def on(self, vcpu: Vcpu) -> "Guest":
        """The same guest as another of its vCPUs has it.

        It has its own temporary addresses, multicall buffer and counts of stores; all else is
        shared.
        """
        other = copy(self)
        other.vcpu = vcpu
        other.plain_stores = other.mask_lookups = 0
        other.early = self.early.for_vcpu(vcpu.number)
        other.calls = Calls(
            self.xen, self.kernel, self.hazards, self.strategy.batching, other.warn, vcpu.number
        )
        return other

    @property
    def table_pages(self) -> Buffer:
        """What this vCPU takes pages for tables from."""
        return self.tables.buffer if self.crew is None else self.crew.pages_of(self)

    # -- addresses and entries --------------------------------------------------------------

    def va(self, pfn: int) -> int:
        """The direct map's address of a page (``__va``)."""
        return self.direct_map_va + (pfn << PAGE_SHIFT)

    def mfn(self, pfn: int) -> int:
        """The frame behind a page that must have one."""
        mfn = self.p2m.mfn(pfn)
        if mfn is None:
            raise GuestCrash(
                "bug", f"pfn {pfn:x} has no machine frame", pfn=pfn, vcpu=self.vcpu.number
            )
        return mfn

    def pfn_of(self, mfn: int) -> int:
        """The page of a frame."""
        return self.xen.m2p.pfn(mfn)

    def page(self, pfn: int) -> Page:
        """A page at its address in the direct map."""
        return Page(pfn, self.mfn(pfn), self.va(pfn))

    def page_at(self, mfn: int) -> Page:
        """The same, by its frame."""
        pfn = self.pfn_of(mfn)
        return Page(pfn, mfn, self.va(pfn))

    def lookup_address(self, va: int) -> tuple[int, bool] | None:
        """Walk the live tables to an address's leaf; None where a level is missing.

        Returns the entry, and whether it and all levels above allow writes.
        """
        walk = find_l1_entry(self.frames, self.l4, va)
        if walk is None:
            return None
        table, slot, writable = walk
        entry = self.frames.pages[table][slot]
        return entry, bool(writable) and entry & _WRITABLE == _WRITABLE

    def tables_in(self, entries: NDArray[np.uint64]) -> list[int]:
        """The pages that the present entries of a table above L1 point to."""
        present = entries[(entries & np.uint64(PRESENT)) != 0]
        return [self.pfn_of(mfn_of(entry)) for entry in present.tolist()]

    def writable_leaves(self, entries: NDArray[np.uint64], pages: PageSet) -> list[tuple[int, int]]:
        """(slot, page) of those leaves of an L1 that map one of ``pages`` writable."""
        slots = np.flatnonzero((entries & np.uint64(_WRITABLE)) == _WRITABLE)
        pfns = self.xen.m2p.pfns(
            (entries[slots] & np.uint64(ADDRESS_MASK)) >> np.uint64(PAGE_SHIFT)
        )
        found = pages.among(pfns)
        return list(zip(slots[found].tolist(), pfns[found].tolist(), strict=True))

    def read_only_leaf(self, pfn: int) -> int:
        """The leaf of a page that must not be written."""
        return self.mfn(pfn) << PAGE_SHIFT | PAGE_KERNEL & ~RW

    def masked(self, first: int, leaves: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Leaves of the pages from ``first`` on, as the strategy's mask lets them be written."""
        end = first + leaves.size
        if self.strategy.mask is not None:
            self.mask_lookups += leaves.size
        for low, high in self.read_only_pages(first, end):
            if low < end and first < high:
                leaves[max(low - first, 0) : high - first] &= _READ_ONLY
        return leaves

    def read_only_pages(self, first: int, end: int) -> Sequence[Range]:
        """The pages in [first, end), and others, whose leaves would be written read-only now."""
        read_only = self.start.layout.p2m_pages if self.kernel.p2m_read_only else ()
        mask = self.strategy.mask
        return read_only if mask is None else (*mask.leaves(self, first, end), *read_only)

    # -- loads and stores -------------------------------------------------------------------

    def touch(self, va: int) -> Activity:
        """One load, for the sake of the translation that it needs."""
        if self._reached(self.xen, self.vcpu, va) is None:
            outcome = yield load_fault(self.xen, self.vcpu, va)
            if outcome is not Emulation.RETRY:
                raise oops(self, va)

    def read_table(self, page: Page) -> Activity:
        """Read all entries of a table that is within reach: uint64[512], a copy."""
        lazy = self.calls.lazy
        if lazy is not None and lazy.touches_table(page.mfn):
            yield from self.calls.flush()
        yield _READ_ALL
        return self.frames.array(page.mfn).copy()

    def store(self, va: int, value: int) -> Activity:
        """One 8-byte store."""
        if self.calls.lazy is not None:
            yield from self.calls.settle((va & ~0xFFF,))
        while (found := self._reached(self.xen, self.vcpu, va)) is None or not found.writable:
            outcome = yield fault(self.xen, self.vcpu, va, value)
            if outcome is Emulation.FIXED:
                return
            if outcome is not Emulation.RETRY:
                raise oops(self, va, value)
        yield STEP
        self.frames.words(found.mfn)[(va & 0xFFF) >> 3] = value
        self.plain_stores += 1
        yield _WRITE_ONE

    def store_run(self, va: int, values: NDArray[np.uint64]) -> Activity:
        """Consecutive 8-byte stores that stay inside a page; the array is given away."""
        if self.calls.lazy is not None:
            yield from self.calls.settle((va & ~0xFFF,))
        if self.xen.paging is Paging.NESTED and values.size:
            # The first store finds a way for the others.
            yield from self.store(va, int(values[0]))
            va, values = va + 8, values[1:]
        count = values.size
        if not count:
            return
        found = self._reached(self.xen, self.vcpu, va)
        if found is None or not found.writable:
            words = values.tolist()
            yield from store_each(
                *(self.xen, self.vcpu, va, values),
                lambda number: self.store(va + 8 * number, words[number]),
            )
            return
        mfn = found.mfn
        yield STEP
        arrays = self.frames.arrays
        if count < ENTRIES or mfn in arrays:
            first = (va & 0xFFF) >> 3
            arrays[mfn][first : first + count] = values
        elif values is not _ZEROES:
            arrays[mfn] = values  # the first words of this page: they become its memory
        self.plain_stores += count
        yield _WRITE_ALL if count == ENTRIES else Spend("pte_write_plain", count)

    def store_leaves(self, table: Page, slot: int, values: NDArray[np.uint64]) -> Activity:
        """Write consecutive leaves of an L1 (set_pte); the array is given away."""
        if self.strategy.leaf_updates:
            return self._update_leaves(table, slot, values)
        return self.store_run(table.va + 8 * slot, values)

    def clear_page(self, va: int) -> Activity:
        """512 stores of zero."""
        return self.store_run(va, _ZEROES)

    def _update_leaves(self, table: Page, slot: int, values: NDArray[np.uint64]) -> Activity:
        """A hypercall for each leaf."""
        if self.calls.lazy is not None:
            for number, value in enumerate(values.tolist(), slot):
                yield from self.calls.set_entry(table.mfn, number, value)
            return
        refused = yield from update_each(self.xen, self.vcpu, table.mfn, slot, values)
        # The kernel does not look at the result of such an update.
        for pointer, value, rc in refused:
            self.warn(MmuUpdate(((pointer, value),)), rc, ())

    # -- pv-ops of boot: what is done to a table --------------------------------------------

    def make_lowmem_page_readonly(self, pfn: int) -> Activity:
        """Take the write permission from a page's leaf; False if the leaf cannot be reached."""
        va = self.va(pfn)
        yield _WALK
        if self.calls.lazy is not None:
            yield from self.calls.settle(way_to(self.frames, self.l4, va))
        yield STEP
        leaf = self.lookup_address(va)
        if leaf is None:
            # Some level above is missing: the kernel gives up without a word.
            if pfn in self.hazards.open:
                self.hazards.unreachable += 1
            return False
        yield from self.calls.update_va_mapping(pfn, va, leaf[0] & ~RW)
        yield from self.calls.closed_by_last((pfn,))
        return True

    def make_leaf_readonly(self, table: int, pfn: int) -> Activity:
        """The same by machine address: the leaf is in the L1 ``table`` (a pfn), hooked or not."""
        pointer = self.mfn(table) << PAGE_SHIFT | (pfn & ENTRIES - 1) << 3
        call = MmuUpdate(((pointer, self.read_only_leaf(pfn)),))
        rc: int = yield from self.calls.single(call)
        if rc:
            raise bug(call, rc, "remap", pfn, self.vcpu.number)
        yield from self.calls.closed_by_last((pfn,))

    def make_lowmem_page_readwrite(self, pfn: int) -> Activity:
        """Give the write permission back."""
        va = self.va(pfn)
        yield _WALK
        if self.calls.lazy is not None:
            yield from self.calls.settle(way_to(self.frames, self.l4, va))
        leaf = self.lookup_address(va)
        if leaf is not None:
            yield from self.calls.update_va_mapping(pfn, va, leaf[0] | RW if leaf[0] else 0)

    def make_lowmem_pages_readwrite(self, pfns: list[int]) -> Activity:
        """The same for several pages, in one multicall."""
        if self.calls.lazy is not None:
            for pfn in pfns:
                yield from self.make_lowmem_page_readwrite(pfn)
            return
        calls = []
        for pfn in pfns:
            yield _WALK
            leaf = self.lookup_address(self.va(pfn))
            if leaf is not None:
                yield _QUEUE
                calls.append(UpdateVaMapping(self.va(pfn), leaf[0] | RW if leaf[0] else 0))
        if calls:
            results = yield trap(self.xen, self.vcpu, Multicall(tuple(calls)))
            if any(results):
                raise GuestCrash("remap", f"a multicall of update_va_mapping gave {results}")

    def pin_l1(self, pfn: int) -> Activity:
        """Pin a page as an L1 (pin_pagetable_pfn); a refusal is a BUG()."""
        yield from self.calls.direct(_operation(PIN_L1_TABLE, self.mfn(pfn)), "pin", pfn)
        self.tables.pinned.add(pfn)
        yield from self.calls.closed_by_last((pfn,))

    def pin_l4(self, pfn: int) -> Activity:
        """Pin a page as an L4, and so have all tables below it validated."""
        yield from self.calls.at_once(_operation(PIN_L4_TABLE, self.mfn(pfn)), "pin", pfn)

    def unpin(self, pfn: int) -> Activity:
        """Give a table's pin up."""
        yield from self.calls.at_once(_operation(UNPIN_TABLE, self.mfn(pfn)), "pin", pfn)

    def enter(self, table: int, slot: int, page: Page) -> Activity:
        """set_pmd, set_pud or set_pgd: a table goes into a slot of the one above (mfn)."""
        live = self.tables.note_entered(page.pfn, self.pfn_of(table))
        value = page.mfn << PAGE_SHIFT | TABLE_FLAGS
        yield from self.calls.set_entry(table, slot, value, live, page.pfn)

    def flush_tlb(self) -> Activity:
        """A full flush of this CPU (__flush_tlb_all)."""
        return self.ops.flush_all(self)

    def warn(self, call: Queued, rc: int, pages: Sequence[int]) -> None:
        """The kernel's WARN_ON; what stood in the way is looked at for whoever asks later."""
        self.refused.append(refusal(self, call, rc, pages))


def _operation(command: int, mfn: int) -> MmuextOp:
    return MmuextOp(((command, mfn, 0),))
