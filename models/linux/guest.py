"""The booting guest kernel: its memory, its stores, and what it does about its page tables.

One vCPU runs. Every store goes to simulated memory through the mapping that the page tables
hold at that moment: to a writable leaf it is an ordinary store, to a read-only one a fault,
which the hypervisor emulates or hands back. Source: Linux 2.6.39 and 6.1, arch/x86/xen/mmu.c
(mmu_pv.c), arch/x86/mm/ioremap.c.
"""

from collections.abc import Container, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.linux.crash import GuestCrash
from models.linux.domain_builder import EARLY_SLOT_BASE, StartState
from models.linux.hazard import HazardClosed, HazardOpened, Hazards
from models.linux.lazy_mmu import MulticallBuffer, Queued, way_to
from models.linux.obstacles import Refused, refusal
from models.linux.p2m import PAGE_KERNEL, TABLE_FLAGS
from models.linux.page_set import PageSet
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
    Paging,
    UpdateVaMapping,
    fault,
    load_fault,
    reached,
    store_each,
    trap,
    update_each,
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
        self.refused: list[Refused] = []
        """What Xen refused inside a multicall, so that the kernel only warned about it."""
        self.access = strategy.access or start.kernel.access
        self.known = PageSet()
        """Pages that the strategy has published as tables."""
        self.unhooked: set[int] = set()
        """Tables (pfns) that no live table leads to yet."""
        self.pinned: set[int] = set()
        """Tables (pfns) that were pinned."""
        self.mapped_before: dict[int, int] = {}
        """Page taken for a table -> the table that had mapped it by then (pfns), if one had."""
        self.lazy: MulticallBuffer | None = None
        """What is put off; None outside lazy MMU mode."""
        self.allocations: dict[str, int] = {}
        self.filled: dict[int, int] = {}
        """region -> pfn of the table that was filled for it."""
        self.early: list[tuple[int, bool] | None] = [None] * _SLOTS
        """Page (pfn) behind each temporary address, and whether it can be written there."""
        self._unmapped: list[int] = []
        """Temporary addresses that will be free when what is put off has been done."""
        self._below: dict[int, list[int]] = {}
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
                raise self._oops(va, 0)

    def store(self, va: int, value: int) -> Activity:
        """One 8-byte store."""
        if self.lazy is not None:
            yield from self._settled(self.lazy, va)
        while (found := self._reached(self.xen, self.vcpu, va)) is None or not found.writable:
            outcome = yield fault(self.xen, self.vcpu, va, value)
            if outcome is Emulation.FIXED:
                return
            if outcome is not Emulation.RETRY:
                raise self._oops(va, value)
        yield STEP
        self.frames.words(found.mfn)[(va & 0xFFF) >> 3] = value
        self.plain_stores += 1
        yield _WRITE_ONE

    def store_run(self, va: int, values: NDArray[np.uint64]) -> Activity:
        """Consecutive 8-byte stores that stay inside a page; the array is given away."""
        if self.lazy is not None:
            yield from self._settled(self.lazy, va)
        if self.xen.paging is Paging.NESTED and values.size:
            # The first store finds a way for the others.
            yield from self.store(va, int(values[0]))
            va, values = va + 8, values[1:]
        if not values.size:
            return
        found = self._reached(self.xen, self.vcpu, va)
        if found is None or not found.writable:
            words = values.tolist()
            yield from store_each(
                *(self.xen, self.vcpu, va, values),
                lambda number: self.store(va + 8 * number, words[number]),
            )
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

    def store_leaves(self, table: Page, slot: int, values: NDArray[np.uint64]) -> Activity:
        """Write consecutive leaves of an L1 (set_pte); the array is given away."""
        if not self.strategy.leaf_updates:
            yield from self.store_run(table.va + 8 * slot, values)
            return
        if self.lazy is not None:
            for number, value in enumerate(values.tolist(), slot):
                yield from self.set_entry(table.mfn, number, value)
            return
        refused = yield from update_each(self.xen, self.vcpu, table.mfn, slot, values)
        # The kernel does not look at the result of such an update.
        for pointer, value, rc in refused:
            self._warn((_update(pointer, value),), rc, ())

    def clear_page(self, va: int) -> Activity:
        """512 stores of zero."""
        yield from self.store_run(va, _ZEROES)

    def _oops(self, va: int, value: int) -> GuestCrash:
        leaf = self.lookup_address(va & ~0xFFF)
        entry = 0 if leaf is None else leaf[0]
        present = bool(entry & PRESENT)
        pfn = self.xen.m2p.pfn(mfn_of(entry)) if present else None
        why = "is mapped read-only and is no L1 table" if present else "is not mapped"
        crash = GuestCrash("oops", f"a store to {va:016x}: the page {why}", pfn=pfn)
        if pfn == self.start.bm_pte:
            # The hypervisor makes such stores, if what is to be stored is allowed.
            target = self.pfn_of(mfn_of(value))
            crash = GuestCrash(
                "oops", f"Xen refused to map pfn {target:x} at a temporary address", pfn=target
            )
            crash.why = (
                f"pfn {target:x} is a live page table, and the entry {value:016x} would make it "
                "writable. Entries of a live table are stored by Xen, which lets nothing pass "
                "through which a table could be written; the guest gets the fault."
            )
        crash.console = [
            f"BUG: unable to handle kernel paging request at {va:016x}",
            f"Oops: {0x3 if present else 0x2:04x} [#1] SMP",
        ]
        return crash

    # -- hypercalls ---------------------------------------------------------------------------

    def single(self, call: MmuUpdate | MmuextOp, what: str, *pages: int) -> Activity:
        """One operation through the multicall buffer: alone in it, outside lazy mode.

        Returns what Xen answers, or 0 for what is put off. ``what`` and ``pages`` (pfns) say what
        it is about. Source: xen_mc_issue; since 3.6 a single entry is made as the bare hypercall.
        """
        if self.lazy is not None:
            yield from self._put_off(self.lazy, call, what, pages)
            return 0
        yield _QUEUE
        if not self.kernel.single_multicalls:
            return (yield trap(self.xen, self.vcpu, call))
        results = yield trap(self.xen, self.vcpu, Multicall((call,)))
        return results[0]

    def update_va_mapping(self, pfn: int, va: int, entry: int, flags: int = 0) -> Activity:
        """Change the leaf of an address; a kernel that is refused stops with BUG()."""
        what = f"update_va_mapping of {va:016x} to {entry:016x}"
        call = UpdateVaMapping(va, entry, flags)
        if self.lazy is not None:
            yield from self._put_off(self.lazy, call, what, (pfn,))
            return
        rc: int = yield trap(self.xen, self.vcpu, call)
        if rc:
            raise GuestCrash("remap", f"{what} gave {rc}", pfn=pfn)

    def flush_tlb(self) -> Activity:
        """A full flush of this CPU (__flush_tlb_all)."""
        yield from self.ops.flush_all(self)

    def set_entry(
        self, table: int, slot: int, value: int, closes: Iterable[int] = (), page: int | None = None
    ) -> Activity:
        """set_pmd, set_pud, set_pgd of boot: always one mmu_update, by machine address.

        ``closes``: tables that nobody can write to any more once Xen has accepted it. ``page``:
        the one that is entered.
        """
        pointer = table << PAGE_SHIFT | slot << 3
        what = _update(pointer, value)
        pages = () if page is None else (page,)
        rc: int = yield from self.single(MmuUpdate(((pointer, value),)), what, *pages)
        if rc:
            # xen_mc_flush only warns: the boot goes on with an entry that was not written.
            self._warn((what,), rc, pages)
        else:
            yield from self._closed_by_last_call(closes)

    # -- lazy MMU mode --------------------------------------------------------------------------

    def enter_lazy_mmu(self) -> None:
        """Updates are put off from here on, if the strategy wants it."""
        if self.strategy.batching is not None:
            self.lazy = MulticallBuffer(self.strategy.batching)

    def leave_lazy_mmu(self) -> Activity:
        """What was put off is done, and nothing is put off any more."""
        yield from self.flush_multicalls()
        self.lazy = None

    def flush_multicalls(self) -> Activity:
        """Do all that was put off, in one multicall; what is refused is only warned about.

        Source: xen_mc_flush.
        """
        if self.lazy is None or not self.lazy.entries:
            return
        entries = self.lazy.take()
        calls = tuple(entry.call for entry in entries)
        if len(calls) == 1 and not self.kernel.single_multicalls:
            results = ((yield trap(self.xen, self.vcpu, calls[0])),)
        else:
            results = yield trap(self.xen, self.vcpu, Multicall(calls))
        for slot in self._unmapped:
            self.early[slot] = None
        self._unmapped.clear()
        for entry, rc in zip(entries, results, strict=True):
            if rc:
                self._warn(entry.what, rc, entry.pages)
            else:
                for pfn in entry.closes:
                    yield from self.window_closed(pfn)

    def _put_off(
        self, buffer: MulticallBuffer, call: Queued, what: str, pages: Iterable[int]
    ) -> Activity:
        """Into the buffer, which is flushed before if it has no room."""
        yield _QUEUE
        if not buffer.fits(call):
            yield from self.flush_multicalls()
        buffer.add(call, what, pages)

    def _closed_by_last_call(self, pfns: Iterable[int]) -> Activity:
        """These tables cannot be written any more, as soon as the last call has been made."""
        if self.lazy is not None and self.lazy.entries:
            self.lazy.entries[-1].closes.extend(pfns)
            return
        for pfn in pfns:
            yield from self.window_closed(pfn)

    def _warn(self, what: Sequence[str], rc: int, pages: Sequence[int]) -> None:
        """The kernel's WARN_ON; what stood in the way is looked at for whoever asks later."""
        self.refused.append(refusal(self, what, rc, pages))

    def _settled(self, buffer: MulticallBuffer, va: int) -> Activity:
        """What was put off for an address is done before a store goes there."""
        if buffer.touches((va & ~0xFFF,)):
            yield from self.flush_multicalls()

    def _settled_leaf(self, va: int) -> Activity:
        """:meth:`lookup_address`, once what was put off on the way there has been done."""
        if self.lazy is not None and self.lazy.touches(way_to(self.frames, self.l4, va)):
            yield from self.flush_multicalls()
        return self.lookup_address(va)

    # -- pv-ops of boot -----------------------------------------------------------------------

    def make_lowmem_page_readonly(self, pfn: int) -> Activity:
        """Take the write permission from a page's leaf; False if the leaf cannot be reached."""
        va = self.va(pfn)
        yield _WALK
        leaf = yield from self._settled_leaf(va)
        if leaf is None:
            # Some level above is missing: the kernel gives up without a word.
            if pfn in self.hazards.open:
                self.hazards.unreachable += 1
            return False
        yield from self.update_va_mapping(pfn, va, leaf[0] & ~RW)
        yield from self._closed_by_last_call((pfn,))
        return True

    def make_leaf_readonly(self, table: int, pfn: int) -> Activity:
        """The same by machine address: the leaf is in the L1 ``table`` (a pfn), hooked or not."""
        pointer = self.mfn(table) << PAGE_SHIFT | (pfn & ENTRIES - 1) << 3
        leaf = self.read_only_leaf(pfn)
        what = _update(pointer, leaf)
        rc: int = yield from self.single(MmuUpdate(((pointer, leaf),)), what)
        if rc:
            raise GuestCrash("remap", f"{what} gave {rc}", pfn=pfn)
        yield from self._closed_by_last_call((pfn,))

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
        self, entries: NDArray[np.uint64], pages: Container[int]
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
        leaf = yield from self._settled_leaf(va)
        if leaf is not None:
            yield from self.update_va_mapping(pfn, va, leaf[0] | RW if leaf[0] else 0)

    def make_lowmem_pages_readwrite(self, pfns: list[int]) -> Activity:
        """The same for several pages, in one multicall."""
        if self.lazy is not None:
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
        call = MmuextOp(((PIN_L1_TABLE, self.mfn(pfn), 0),))
        name = MMUEXT_NAMES[PIN_L1_TABLE]
        if self.lazy is not None:
            yield from self._put_off(self.lazy, call, f"{name} of pfn {pfn:x}", (pfn,))
        else:
            yield from self._pin_pagetable_pfn(PIN_L1_TABLE, pfn)
        self.pinned.add(pfn)
        yield from self._closed_by_last_call((pfn,))

    def pin_l4(self, pfn: int) -> Activity:
        """Pin a page as an L4, and so have all tables below it validated."""
        yield from self._pin_pagetable_pfn(PIN_L4_TABLE, pfn)

    def unpin(self, pfn: int) -> Activity:
        """Give a table's pin up."""
        yield from self._pin_pagetable_pfn(UNPIN_TABLE, pfn)

    def _pin_pagetable_pfn(self, command: int, pfn: int) -> Activity:
        yield from self.flush_multicalls()
        rc: int = yield trap(self.xen, self.vcpu, MmuextOp(((command, self.mfn(pfn), 0),)))
        if rc:
            raise GuestCrash("pin", f"{MMUEXT_NAMES[command]} gave {rc}", pfn=pfn)

    def load_base(self, pfn: int) -> Activity:
        """Make another L4 the kernel's (xen_write_cr3); the pfn of the one before."""
        old, new = self.l4, self.mfn(pfn)
        call = MmuextOp(((NEW_BASEPTR, new, 0),))
        rc: int = yield from self.single(call, MMUEXT_NAMES[NEW_BASEPTR])
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
        if self.strategy.publish == "hook":
            self.known.add(page.pfn)
        above = self.pfn_of(table)
        typed: list[int] = []
        if above in self.unhooked:
            self._below.setdefault(above, []).append(page.pfn)
        else:
            typed = self.tree(page.pfn)
            self.unhooked.difference_update(typed)
        value = page.mfn << PAGE_SHIFT | TABLE_FLAGS
        yield from self.set_entry(table, slot, value, typed, page.pfn)

    def tree(self, root: int) -> list[int]:
        """A table with all that were entered below it before it was live (pfns), itself first."""
        below = self._below.get(root, ())
        return [root, *(pfn for child in below for pfn in self.tree(child))]

    def read_table(self, page: Page) -> Activity:
        """Read all entries of a table that is within reach: uint64[512], a copy."""
        if self.lazy is not None and self.lazy.touches_table(page.mfn):
            yield from self.flush_multicalls()
        yield Spend("table_entry_read", ENTRIES)
        return self.frames.array(page.mfn).copy()

    # -- early mappings -------------------------------------------------------------------------

    def early_memremap(self, pfn: int, *, writable: bool | None = None) -> Activity:
        """Map a page at a temporary address (early_memremap); a :class:`Page`.

        Whether it can be written there is for the strategy's mask to say, if not told.
        """
        mfn = self.mfn(pfn)
        strategy = self.strategy
        if strategy.before_leaf_store is not None:
            yield from strategy.before_leaf_store(self)
        entry = mfn << PAGE_SHIFT | PAGE_KERNEL
        if writable is None:
            writable = strategy.mask is None or not strategy.early(self.buffer, pfn)
        # The store below is made at once: not before an address is free that still waits to be
        # unmapped, nor before a page has become a table that waits to.
        waits = None not in self.early or (
            writable and self.lazy is not None and self.lazy.is_about(pfn)
        )
        if waits:
            yield from self.flush_multicalls()
        slot = self.early.index(None)
        self.early[slot] = pfn, writable
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
        if self.lazy is None:
            self.early[slot] = None
        else:
            self._unmapped.append(slot)

    def early_leaf_va(self, va: int) -> int:
        """Where the leaf of a temporary address is found in the direct map."""
        return self.va(self.start.bm_pte) + 8 * (va - EARLY_SLOT_BASE >> PAGE_SHIFT)

    # -- leaves -----------------------------------------------------------------------------

    def note_buffer(self, buffer: Buffer) -> None:
        """Pages have been reserved for tables."""
        if self.strategy.publish == "reserve":
            for pfn in range(buffer.start, buffer.top):
                self.known.add(pfn)

    def note_table(self, page_pfn: int, level: int) -> Activity:
        """A page has been taken to serve as a table."""
        self.fresh[level] += 1
        self.unhooked.add(page_pfn)
        mapped_by = self.filled.get(page_pfn >> 9)
        if mapped_by is not None:
            self.mapped_before[page_pfn] = mapped_by
        if self.strategy.publish == "alloc":
            self.known.add(page_pfn)
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


def _update(pointer: int, value: int) -> str:
    return f"mmu_update of {pointer:x} to {value:016x}"


_ZEROES = np.zeros(ENTRIES, np.uint64)
