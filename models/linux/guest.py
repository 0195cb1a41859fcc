"""The booting guest kernel: its memory, its stores, and what it does about its page tables.

One vCPU runs. Every store goes to simulated memory through the mapping that the page tables
hold at that moment: to a writable leaf it is an ordinary store, to a read-only one a fault,
which the hypervisor emulates or hands back. Source: Linux 2.6.39 and 6.1, arch/x86/xen/mmu.c
(mmu_pv.c), arch/x86/mm/ioremap.c.
"""

from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.linux.crash import GuestCrash
from models.linux.domain_builder import EARLY_SLOT_BASE, StartState
from models.linux.hazard import HazardClosed, HazardOpened, Hazards
from models.linux.p2m import PAGE_KERNEL, TABLE_FLAGS
from models.linux.pvops import operations
from models.linux.strategy import Buffer, Strategy
from models.machine.entries import ENTRIES, PAGE_SHIFT, PRESENT, RW, mfn_of
from models.machine.walk import find_l1_entry
from models.xen.abi import (
    MMUEXT_NAMES,
    NEW_BASEPTR,
    PIN_L1_TABLE,
    PIN_L4_TABLE,
    UNPIN_TABLE,
)
from models.xen.hypervisor import (
    Emulation,
    MmuextOp,
    MmuUpdate,
    Multicall,
    UpdateVaMapping,
    fault,
    load_fault,
    reached,
    trap,
)
from sim.effects import STEP, Activity, Note, Spend

_WRITABLE = PRESENT | RW
_WRITE_ALL = Spend("pte_write_plain", ENTRIES)
_WRITE_ONE = Spend("pte_write_plain")
_WALK = Spend("table_entry_read", 4)
_QUEUE = Spend("multicall_queue_entry")

_SLOTS = 8
"""Early mappings that may exist at the same time."""


class Page(NamedTuple):
    """A page table page within reach: through the direct map or a temporary mapping."""

    pfn: int
    mfn: int
    va: int


class TableFilled(NamedTuple):
    """The leaves of a region, which holds pages of the table buffer, were written into a page."""

    region: int
    pfn: int


class Guest:
    """A guest kernel during the construction of its direct map."""

    def __init__(self, start: StartState, strategy: Strategy) -> None:
        self.geometry = start.geometry
        self.kernel = start.kernel
        self.strategy = strategy
        self.strategy_state: Any = strategy.state()
        self.start = start
        self.e820 = start.e820
        self.memblock = start.memblock
        self.p2m = start.p2m
        self.xen = start.xen
        self.vcpu = start.xen.vcpus[0]
        self.frames = start.frames
        self.ops = operations(start.xen)
        self._reached = reached(start.xen)
        self.l4 = start.init_l4
        """mfn of the L4 that the kernel takes for its own (init_mm.pgd)."""
        self.retired: set[int] = set()
        """Pages (pfns) of the start state that were tables, and are none any more."""
        self.direct_map_va = self.kernel.page_offset_slot << 39 | 0xFFFF << 48
        self.plain_stores = 0
        self.mask_lookups = 0
        self.fresh = [0] * 5
        """Tables made, by level."""
        self.buffer = Buffer(0, 0, 0)
        """The buffer of the call in progress, or of the last one."""
        self.buffers: list[Buffer] = []
        self.max_pfn_mapped = start.layout.image_end
        self.hazards = Hazards(start.frames)
        self.refused_hooks: list[str] = []
        """Updates inside a multicall that Xen refused and the kernel only warned about."""
        self.allocations: dict[str, int] = {}
        self.filled: dict[int, int] = {}
        """region -> pfn of the table that was filled for it."""
        self._early_slots = [False] * _SLOTS
        for region, pfn in enumerate(start.builder_l1s):
            self.hazards.add_leaf_table(region, self.mfn(pfn))

    # -- addresses --------------------------------------------------------------------------

    def va(self, pfn: int) -> int:
        """The direct map's address of a page (``__va``)."""
        return self.direct_map_va + (pfn << PAGE_SHIFT)

    def mfn(self, pfn: int) -> int:
        """The frame behind a page that must have one."""
        mfn = self.p2m.mfn(pfn)
        if mfn is None:
            raise GuestCrash("bug", f"pfn {pfn:x} has no machine frame", pfn=pfn)
        return mfn

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

    # -- stores -----------------------------------------------------------------------------

    def touch(self, va: int) -> Activity:
        """One load, for the sake of the translation that it needs."""
        if self._reached(self.xen, self.vcpu, va) is None:
            outcome = yield load_fault(self.xen, self.vcpu, va)
            if outcome is not Emulation.RETRY:
                raise self._oops(va)

    def store(self, va: int, value: int) -> Activity:
        """One 8-byte store."""
        while (found := self._reached(self.xen, self.vcpu, va)) is None or not found.writable:
            outcome = yield fault(self.xen, self.vcpu, va, value)
            if outcome is Emulation.FIXED:
                return
            if outcome is not Emulation.RETRY:
                raise self._oops(va)
        yield STEP
        self.frames.words(found.mfn)[(va & 0xFFF) >> 3] = value
        self.plain_stores += 1
        yield _WRITE_ONE

    def store_run(self, va: int, values: NDArray[np.uint64]) -> Activity:
        """Consecutive 8-byte stores that stay inside a page; the array is given away."""
        while values.size:
            found = self._reached(self.xen, self.vcpu, va)
            if found is not None and found.writable:
                break
            # One store, and a look whether the others get through now.
            yield from self.store(va, int(values[0]))
            va, values = va + 8, values[1:]
        else:
            return
        first = (va & 0xFFF) >> 3
        mfn = found.mfn
        yield STEP
        arrays = self.frames.arrays
        if len(values) < ENTRIES or mfn in arrays:
            arrays[mfn][first : first + len(values)] = values
        elif values is not _ZEROES:
            arrays[mfn] = values  # the first words of this page: they become its memory
        self.plain_stores += len(values)
        yield _WRITE_ALL if len(values) == ENTRIES else Spend("pte_write_plain", len(values))

    def clear_page(self, va: int) -> Activity:
        """512 stores of zero."""
        yield from self.store_run(va, _ZEROES)

    def _oops(self, va: int) -> GuestCrash:
        leaf = self.lookup_address(va & ~0xFFF)
        entry = 0 if leaf is None else leaf[0]
        present = bool(entry & PRESENT)
        why = "is mapped read-only and is no L1 table" if present else "is not mapped"
        pfn = self.xen.m2p.pfn(mfn_of(entry)) if present else None
        crash = GuestCrash("oops", f"a store to {va:016x}: the page {why}", pfn=pfn)
        crash.console = [
            f"BUG: unable to handle kernel paging request at {va:016x}",
            f"Oops: {0x3 if present else 0x2:04x} [#1] SMP",
        ]
        return crash

    # -- hypercalls ---------------------------------------------------------------------------

    def single(self, call: MmuUpdate | MmuextOp) -> Activity:
        """One operation through the multicall buffer: alone in it, outside lazy mode.

        Source: xen_mc_issue; since 3.6 a single entry is made as the bare hypercall.
        """
        yield _QUEUE
        if not self.kernel.single_multicalls:
            return (yield trap(self.xen, self.vcpu, call))
        results = yield trap(self.xen, self.vcpu, Multicall((call,)))
        return results[0]

    def update_va_mapping(self, pfn: int, va: int, entry: int, flags: int = 0) -> Activity:
        """Change the leaf of an address; a kernel that is refused stops with BUG()."""
        rc: int = yield trap(self.xen, self.vcpu, UpdateVaMapping(va, entry, flags))
        if rc:
            raise GuestCrash(
                "remap", f"update_va_mapping of {va:016x} to {entry:016x} gave {rc}", pfn=pfn
            )

    def flush_tlb(self) -> Activity:
        """A full flush of this CPU (__flush_tlb_all)."""
        yield from self.ops.flush_all(self)

    def set_entry(self, table: int, slot: int, value: int) -> Activity:
        """set_pmd, set_pud, set_pgd of boot: always one mmu_update, by machine address."""
        pointer = table << PAGE_SHIFT | slot << 3
        rc: int = yield from self.single(MmuUpdate(((pointer, value),)))
        if rc:
            # xen_mc_flush only warns: the boot goes on with an entry that was not written.
            self.refused_hooks.append(
                f"mmu_update of {pointer:x} to {value:016x} gave {rc}; the entry stays as it was"
            )

    # -- pv-ops of boot -----------------------------------------------------------------------

    def make_lowmem_page_readonly(self, pfn: int) -> Activity:
        """Take the write permission from a page's leaf; False if the leaf cannot be reached."""
        va = self.va(pfn)
        yield _WALK
        leaf = self.lookup_address(va)
        if leaf is None:
            # Some level above is missing: the kernel gives up without a word.
            if pfn in self.hazards.open:
                self.hazards.unreachable += 1
            return False
        yield from self.update_va_mapping(pfn, va, leaf[0] & ~RW)
        yield from self.window_closed(pfn)
        return True

    def make_leaf_readonly(self, table: int, pfn: int) -> Activity:
        """The same by machine address: the leaf is in the L1 ``table`` (a pfn), hooked or not."""
        pointer = self.mfn(table) << PAGE_SHIFT | (pfn & ENTRIES - 1) << 3
        leaf = self.read_only_leaf(pfn)
        rc: int = yield from self.single(MmuUpdate(((pointer, leaf),)))
        if rc:
            raise GuestCrash(
                "remap", f"mmu_update of {pointer:x} to {leaf:016x} gave {rc}", pfn=pfn
            )
        yield from self.window_closed(pfn)

    # -- what a table holds, to a strategy that reads one -----------------------------------

    def pfn_of(self, mfn: int) -> int:
        """The page of a frame."""
        return self.xen.m2p.pfn(mfn)

    def page_at(self, mfn: int) -> Page:
        """The page of a frame, at its address in the direct map."""
        pfn = self.pfn_of(mfn)
        return Page(pfn, mfn, self.va(pfn))

    def tables_in(self, entries: NDArray[np.uint64]) -> list[int]:
        """The pages that the present entries of a table above L1 point to."""
        present = entries[(entries & np.uint64(PRESENT)) != 0]
        return [self.pfn_of(mfn_of(entry)) for entry in present.tolist()]

    def writable_leaves(
        self, entries: NDArray[np.uint64], pages: AbstractSet[int]
    ) -> list[tuple[int, int]]:
        """(slot, page) of those leaves of an L1 that map one of ``pages`` writable."""
        writable = np.flatnonzero((entries & np.uint64(_WRITABLE)) == _WRITABLE)
        leaves = ((int(slot), self.pfn_of(mfn_of(int(entries[slot])))) for slot in writable)
        return [(slot, pfn) for slot, pfn in leaves if pfn in pages]

    def read_only_leaf(self, pfn: int) -> int:
        """The leaf of a page that must not be written."""
        return self.mfn(pfn) << PAGE_SHIFT | PAGE_KERNEL & ~RW

    def window_closed(self, pfn: int) -> Activity:
        """A table has no writable leaf any more, or has become one to the hypervisor."""
        if self.hazards.closes(pfn):
            yield Note(HazardClosed(pfn))

    def make_lowmem_page_readwrite(self, pfn: int) -> Activity:
        """Give the write permission back."""
        va = self.va(pfn)
        yield _WALK
        leaf = self.lookup_address(va)
        if leaf is not None:
            yield from self.update_va_mapping(pfn, va, leaf[0] | RW if leaf[0] else 0)

    def make_lowmem_pages_readwrite(self, pfns: list[int]) -> Activity:
        """The same for several pages, in one multicall."""
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
        yield from self._pin_pagetable_pfn(PIN_L1_TABLE, pfn)
        yield from self.window_closed(pfn)

    def pin_l4(self, pfn: int) -> Activity:
        """Pin a page as an L4, and so have all tables below it validated."""
        yield from self._pin_pagetable_pfn(PIN_L4_TABLE, pfn)

    def unpin(self, pfn: int) -> Activity:
        """Give a table's pin up."""
        yield from self._pin_pagetable_pfn(UNPIN_TABLE, pfn)

    def _pin_pagetable_pfn(self, command: int, pfn: int) -> Activity:
        rc: int = yield trap(self.xen, self.vcpu, MmuextOp(((command, self.mfn(pfn), 0),)))
        if rc:
            raise GuestCrash("pin", f"{MMUEXT_NAMES[command]} gave {rc}", pfn=pfn)

    def load_base(self, pfn: int) -> Activity:
        """Make another L4 the kernel's (xen_write_cr3); the pfn of the one before."""
        old, new = self.l4, self.mfn(pfn)
        rc: int = yield from self.single(MmuextOp(((NEW_BASEPTR, new, 0),)))
        if rc:
            raise GuestCrash("pin", f"{MMUEXT_NAMES[NEW_BASEPTR]} gave {rc}", pfn=pfn)
        self.l4 = new
        self.retired |= self._tables_below(old) - self._tables_below(new)
        return self.pfn_of(old)

    def _tables_below(self, l4: int) -> set[int]:
        """The pages of a tree's tables, its root among them."""
        level = {self.pfn_of(l4)}
        tables = set(level)
        for _ in range(3):
            level = {
                child
                for pfn in level
                for child in self.tables_in(self.frames.array(self.mfn(pfn)))
                if child not in tables
            }
            tables |= level
        return tables

    def enter(self, table: int, slot: int, page: Page) -> Activity:
        """set_pmd, set_pud or set_pgd: a table goes into a slot of the one above (mfn)."""
        yield from self.set_entry(table, slot, page.mfn << PAGE_SHIFT | TABLE_FLAGS)

    def read_table(self, page: Page) -> Activity:
        """Read all entries of a table that is within reach: uint64[512], a copy."""
        yield Spend("table_entry_read", ENTRIES)
        return self.frames.array(page.mfn).copy()

    # -- early mappings -------------------------------------------------------------------------

    def early_memremap(self, pfn: int, *, writable: bool | None = None) -> Activity:
        """Map a page at a temporary address (early_memremap); a :class:`Page`.

        Whether it can be written there is for the strategy's mask to say, if not told.
        """
        mfn = self.mfn(pfn)
        slot = self._early_slots.index(False)
        self._early_slots[slot] = True
        strategy = self.strategy
        if strategy.before_leaf_store is not None:
            yield from strategy.before_leaf_store(self)
        entry = mfn << PAGE_SHIFT | PAGE_KERNEL
        if writable is None:
            writable = strategy.mask is None or not strategy.mask.early_slot(self.buffer, pfn)
        if not writable:
            entry &= ~RW
        va = EARLY_SLOT_BASE + (slot << PAGE_SHIFT)
        yield from self.store(self.early_leaf_va(va), entry)
        yield from self.ops.flush_page(self, va)
        return Page(pfn, mfn, va)

    def early_iounmap(self, page: Page) -> Activity:
        """Give a temporary address back."""
        slot = (page.va - EARLY_SLOT_BASE) >> PAGE_SHIFT
        yield from self.ops.clear_early_slot(self, page)
        yield from self.ops.flush_page(self, page.va)
        self._early_slots[slot] = False

    def early_leaf_va(self, va: int) -> int:
        """Where the leaf of a temporary address is found in the direct map."""
        return self.va(self.start.bm_pte) + 8 * (va - EARLY_SLOT_BASE >> PAGE_SHIFT)

    # -- leaves -----------------------------------------------------------------------------

    def note_table(self, page_pfn: int, level: int) -> Activity:
        """A page has been taken to serve as a table."""
        self.fresh[level] += 1
        if self.strategy.table_allocated is not None:
            self.strategy.table_allocated(self, page_pfn)
        if self.hazards.table_allocated(page_pfn):
            yield Note(HazardOpened(page_pfn))

    def note_filled(self, region: int, page: Page) -> Activity:
        """The leaves of a region have been written."""
        self.filled[region] = page.pfn
        self.hazards.add_leaf_table(region, page.mfn)
        if region << 9 < self.buffer.top and self.buffer.start < region + 1 << 9:
            yield Note(TableFilled(region, page.pfn))
        for pfn in self.hazards.leaves_written(region):
            yield Note(HazardOpened(pfn))

    def masked(self, first: int, leaves: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Leaves of the pages from ``first`` on, as the strategy's mask lets them be written."""
        mask = self.strategy.mask
        if mask is not None:
            self.mask_lookups += len(leaves)
            for low, high in mask.leaves(self, first, first + len(leaves)):
                self._clear_rw(first, leaves, low, high)
        if self.kernel.p2m_read_only:
            for low, high in self.start.layout.p2m_pages:
                self._clear_rw(first, leaves, low, high)
        return leaves

    @staticmethod
    def _clear_rw(first: int, leaves: NDArray[np.uint64], low: int, high: int) -> None:
        low, high = max(low - first, 0), min(high - first, len(leaves))
        if low < high:
            leaves[low:high] &= np.uint64((1 << 64) - 1 & ~RW)

    def live_table_mapped_by(self, pfn: int) -> int | None:
        """The first table, if any, that the leaves in a page map writable."""
        if pfn not in self.filled.values():
            return None
        leaves = self.writable_leaves(self.frames.array(self.mfn(pfn)), self.hazards.tables)
        return leaves[0][1] if leaves else None

    # -- the end ------------------------------------------------------------------------------

    def left_read_only(self) -> int:
        """Pages that are no table, no p2m page, and cannot be written at the end."""
        tables = self.hazards.tables | set(self.start.builder_l1s) | set(self.start.static_pfns)
        tables -= self.retired
        p2m_pages = self.start.layout.p2m_pages if self.kernel.p2m_read_only else ()
        count = 0
        regions = dict.fromkeys((*range(len(self.start.builder_l1s)), *self.filled))
        for region in regions:
            table = self.hazards.leaf_table(region)
            assert table is not None
            flags = self.frames.array(table).tobytes()[::8]  # the low byte of each leaf
            if flags[0] & RW and flags.count(flags[0]) == ENTRIES:
                continue
            low_bytes = np.frombuffer(flags, np.uint8)
            read_only = np.flatnonzero(low_bytes & _WRITABLE == PRESENT)
            if read_only.size:
                pfns = [(region << 9) + int(slot) for slot in read_only]
                count += sum(
                    pfn not in tables and not any(first <= pfn < last for first, last in p2m_pages)
                    for pfn in pfns
                )
        return count


_ZEROES = np.zeros(ENTRIES, np.uint64)
