"""A kernel that runs: what its CPUs share, and what each has of its own."""

from collections import Counter
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from models.linux.crash import GuestCrash
from models.linux.multicall_buffer import MulticallBuffer
from models.linux.run.fixes import ALL, Fixes
from models.linux.run.mm import Mm
from models.linux.runtime_era import RuntimeEra
from models.linux.spinlock import Lock
from models.linux.start_state.p2m import TABLE_FLAGS
from models.machine.entries import ENTRIES, PAGE_SHIFT
from models.xen.accesses import store as cpu_store
from models.xen.accesses import store_page, translate
from models.xen.gate import Vcpu, Xen, hypercall
from models.xen.hypercalls import (
    MmuextOp,
    MmuUpdate,
    Unknown,
    UpdateVaMapping,
)
from sim.effects import STEP, Activity, Spend

if TYPE_CHECKING:
    from models.linux.boot.guest import Guest

WRITE_ONE = Spend("pte_write_plain")
WRITE_ALL = Spend("pte_write_plain", ENTRIES)
_ZEROES = np.zeros(ENTRIES, np.uint64)


class OutOfMemory(Exception):
    """No page is left."""


class Lazy(Enum):
    """What a CPU puts off (paravirt_lazy_mode)."""

    NONE = 0
    MMU = 1
    CPU = 2


@dataclass
class AnonPage:
    """A page of user memory: how many entries map it, and whether only one process can."""

    mapped: int = 0
    exclusive: bool = True
    file: bool = False
    """A page of the page cache: it is never given back."""


class Cpu:
    """One CPU's own state: its multicall buffer, its modes, the address space it has loaded."""

    def __init__(self, kernel: "RunningKernel", vcpu: Vcpu) -> None:
        self.kernel = kernel
        self.vcpu = vcpu
        self.number = vcpu.number
        self.buffer = MulticallBuffer()
        self.lazy = Lazy.NONE
        self.saved_irqs: list[bool] = []
        """Whether interrupts were off at each xen_mc_batch() whose issue is still to come."""
        self.irqs_off = False
        self.loaded_mm: Mm = kernel.init_mm
        self.tlb_is_lazy = True
        """A kernel thread borrows the loaded address space (cpu_tlbstate_shared.is_lazy)."""
        self.tlb_gen = 0
        """The generation of the loaded address space's flushes that this CPU has seen."""
        self.cr3 = kernel.init_l4
        """The base that was asked for last (xen_cr3)."""
        self.current_cr3 = kernel.init_l4
        """The base that the hypervisor was really told (xen_current_cr3)."""


class RunningKernel:
    """A booted kernel, its memory and its page tables.

    :func:`models.linux.run.start.start` makes it.
    """

    COUNTED = ("plain_stores", "drop_interrupts")
    """Attributes that are only ever counted up while it runs."""

    def __init__(self, guest: "Guest", era: RuntimeEra) -> None:
        self.xen = guest.xen
        self.frames = guest.frames
        self.p2m = guest.p2m
        self.era = era
        self.fixes: Fixes = ALL
        self.direct_map_va = guest.direct_map_va
        self.init_l4 = guest.l4
        self.vsyscall_l3 = 0
        """mfn of the L3 that every user pgd has in its last slot (level3_user_vsyscall)."""
        self.pinned: set[int] = set()
        """Tables (mfns) with PG_pinned."""
        self.pgd_lock = Lock("pgd_lock")
        self.pgd_list: list[Mm] = []
        self.rmap_lock = Lock("anon_vma lock")
        """Held while the reverse mapping is followed, and while an area is taken out of it."""
        self._ptls: dict[int, Lock] = {}
        self.pages: dict[int, AnonPage] = {}
        """User pages by pfn."""
        self.page_cache: dict[str, list[int]] = {}
        """The pages of files (pfns), by a name."""
        self.init_mm = Mm("init_mm", guest.l4, 0)
        self.cpus = [Cpu(self, vcpu) for vcpu in guest.xen.vcpus]
        self.walked: Counter[int] = Counter()
        """Tables (mfns) that somebody reads without a lock, and how many do."""
        self._given_back_while_walked: set[int] = set()
        self.counts: Counter[tuple[str, str]] = Counter()
        """What the kernel's own side of an interface shows: sizes of batches, kinds of stores."""
        self.plain_stores = 0
        self.refused: list[str] = []
        """What Xen refused inside a multicall: the kernel only warns."""
        self.refused_calls: list[tuple[MmuUpdate | MmuextOp | UpdateVaMapping | Unknown, int]] = []
        """The same calls, each with its negative errno."""
        self.drop_interrupts = 0
        """Interrupts sent to get CPUs off an address space that ends."""
        self._free = _free_pages(guest)
        self._returned: list[int] = []

    # -- memory ---------------------------------------------------------------------------------

    def alloc_page(self) -> int:
        """A free page (pfn): the one that was given back last, as the per-CPU lists do."""
        if self._returned:
            return self._returned.pop()
        while self._free:
            first, last = self._free[-1]
            if first < last:
                self._free[-1] = first, last - 1
                return last - 1
            self._free.pop()
        raise OutOfMemory("the workload needs more RAM than the guest has")

    def free_page(self, pfn: int) -> None:
        """Give a page back."""
        self._returned.append(pfn)

    def online(self, first: int, end: int) -> None:
        """Pages [first, end) have been added, and are in the direct map."""
        self._free.append((first, end))

    def free_table(self, mfn: int) -> None:
        """Give a table's page back; somebody who walks it will find out."""
        if self.walked[mfn]:
            self._given_back_while_walked.add(mfn)
        self.free_page(self.pfn(mfn))

    def must_still_be_there(self, mfn: int) -> None:
        """A walker without a lock goes on: the table may not have been given back under it."""
        if mfn in self._given_back_while_walked:
            raise GuestCrash(
                "bug", f"mfn {mfn:x} was freed while it was walked as a table", pfn=self.pfn(mfn)
            )

    def mfn(self, pfn: int) -> int:
        """The frame behind a page."""
        mfn = self.p2m.mfn(pfn)
        assert mfn is not None
        return mfn

    def pfn(self, mfn: int) -> int:
        """The page of a frame."""
        return self.xen.m2p.pfn(mfn)

    def va(self, mfn: int) -> int:
        """The direct map's address of a frame."""
        return self.direct_map_va + (self.xen.m2p.pfn(mfn) << PAGE_SHIFT)

    def alloc_table(self, cpu: Cpu) -> Activity:
        """A page of zeroes to become a table: its mfn."""
        yield STEP
        mfn = self.mfn(self.alloc_page())
        yield from self.clear_page(cpu, mfn)
        return mfn

    def clear_page(self, cpu: Cpu, mfn: int) -> Activity:
        """512 stores of zero through the direct map."""
        if not (yield from store_page(self.xen, cpu.vcpu, self.va(mfn), _ZEROES)):
            raise self.oops(self.va(mfn), mfn)
        self.plain_stores += ENTRIES
        yield WRITE_ALL

    def clear_words(self, cpu: Cpu, mfn: int, stores: int) -> Activity:
        """Empty a table that is none for the hypervisor any more, which takes so many stores."""
        if not (yield from store_page(self.xen, cpu.vcpu, self.va(mfn), _ZEROES)):
            raise self.oops(self.va(mfn), mfn)
        self.plain_stores += stores
        yield Spend("pte_write_plain", stores)

    def ptl(self, mfn: int) -> Lock:
        """The split lock of a table."""
        lock = self._ptls.get(mfn)
        if lock is None:
            lock = self._ptls[mfn] = Lock(f"ptl of mfn {mfn:x}")
        return lock

    # -- stores to tables -----------------------------------------------------------------------

    def store(self, cpu: Cpu, table: int, slot: int, value: int) -> Activity:
        """One 8-byte store to a table, which the hypervisor may have to make."""
        yield from self._store(cpu, table, slot, value, exchange=False)

    def exchange(self, cpu: Cpu, table: int, slot: int, value: int) -> Activity:
        """The same by an instruction that reads and writes in one: the entry before it."""
        old = self.frames.words(table)[slot]
        emulated = yield from self._store(cpu, table, slot, value, exchange=True)
        if emulated and old != value:
            self.counts["misc", "ptwr_emulations_that_were_xchg_or_cmpxchg"] += 1
        return old

    def _store(self, cpu: Cpu, table: int, slot: int, value: int, *, exchange: bool) -> Activity:
        """Was the store made by the hypervisor?"""
        va = self.va(table) + 8 * slot
        read_only = not _may_be_written(self.xen, cpu.vcpu, va)
        while not (yield from cpu_store(self.xen, cpu.vcpu, va, value, exchange=exchange)):
            # Somebody may have made it writable meanwhile (spurious_kernel_fault).
            if not _may_be_written(self.xen, cpu.vcpu, va):
                raise self.oops(va, table)
        if not read_only:
            self.plain_stores += 1
            yield WRITE_ONE
        return read_only

    def oops(self, va: int, mfn: int) -> GuestCrash:
        """The kernel's end: a store to a page that is read-only, and no live L1."""
        crash = GuestCrash("oops", f"a store to {va:016x} faults", pfn=self.pfn(mfn))
        crash.console = [f"BUG: unable to handle kernel paging request at {va:016x}"]
        return crash

    def table_entry(self, mfn: int) -> int:
        """An entry for a lower table."""
        return mfn << PAGE_SHIFT | TABLE_FLAGS

    def refuse(self, call: MmuUpdate | MmuextOp | UpdateVaMapping | Unknown, rc: int) -> None:
        """The hypervisor refused a call, and the kernel goes on with a warning."""
        self.refused.append(f"{call} gave {rc}")
        self.refused_calls.append((call, rc))

    def direct(self, cpu: Cpu, call: MmuUpdate | MmuextOp | UpdateVaMapping) -> Activity:
        """A hypercall of its own."""
        if isinstance(call, MmuUpdate):
            self.count_batch(call)
        return (yield from hypercall(self.xen, cpu.vcpu, call))

    def count_batch(self, call: MmuUpdate) -> None:
        """One more mmu_update of this size."""
        self.counts["mmu_update_batch_hist", size_class(len(call.requests))] += 1


def _may_be_written(xen: Xen, vcpu: Vcpu, va: int) -> bool:
    found = translate(xen, vcpu, va)
    return found is not None and found.writable


def size_class(size: int) -> str:
    """The heading of a histogram that a size belongs to: 1, 2, 3-4, 5-8, ..."""
    if size <= 2:
        return str(size)
    top = 1 << (size - 1).bit_length()
    return f"{top // 2 + 1}-{top}"


def _free_pages(guest: "Guest") -> list[tuple[int, int]]:
    """RAM with a frame that nobody has reserved, in pages."""
    free: list[tuple[int, int]] = []
    for first, last in guest.memblock.memory:
        position = first
        for start, end in (*guest.memblock.reserved, (last, last)):
            if start > position:
                free.append((position, min(start, last)))
            position = max(position, min(end, last))
    return [(low, high) for low, high in free if low < high]
