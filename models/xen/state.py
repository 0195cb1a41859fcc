"""What the hypervisor holds: the domain, its vCPUs, and the tables that all of them share."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.machine.entries import GLOBAL, GRANT, INVALID_MFN, PAT, PCD, PSE, PWT
from models.machine.frames import FrameTable
from models.machine.tlb import FlushClock
from models.xen.console import Console
from models.xen.versions.abi import Abi
from models.xen.versions.paging import Paging
from models.xen.words import (
    COUNT,
    PARTIAL,
    PINNED,
    VALIDATED,
)
from sim.effects import Activity, Spend
from sim.fields import Condition, Field
from sim.footprint import RecordedMap, Recorder
from sim.locks import SpinLock

CONSOLE_LINE = Spend("console_line")

NO_TABLE = -1
"""No frame's number: a vCPU owes no table's teardown."""

Trace = Callable[..., None]
"""Called with a record's letter and fields, when somebody traces."""


@dataclass(frozen=True)
class Domain:
    """The guest, as far as its rights go."""

    domid: int
    io_capabilities: bool
    """It may map I/O memory, and choose how its mappings are cached."""
    io_limit_mfn: int = INVALID_MFN
    """I/O memory from here on may not be mapped."""
    io_denied: frozenset[int] = frozenset()
    io_read_only: frozenset[int] = frozenset()
    """I/O memory that is mapped read-only whatever is asked for (mmio_ro_ranges)."""
    paging: Paging = Paging.DIRECT

    def may_map_io(self, mfn: int) -> bool:
        """May it map this frame, which is not RAM?"""
        return self.io_capabilities and mfn < self.io_limit_mfn and mfn not in self.io_denied

    def may_map_all_io(self, mfns: Sequence[int]) -> bool:
        """May it map all these frames, of which none is RAM, and just as it likes?"""
        return (
            self.io_capabilities
            and max(mfns) < self.io_limit_mfn
            and self.io_denied.isdisjoint(mfns)
            and self.io_read_only.isdisjoint(mfns)
        )


@dataclass
class Vcpu:
    """A vCPU as the hypervisor knows it."""

    NOTED: ClassVar = ("cr3", "user_cr3")
    """What others may look at; all else is the vCPU's own business."""
    number: int
    pcpu: int
    cr3: int = INVALID_MFN
    """The L4 that is the kernel's base."""
    user_cr3: int = 0
    old_guest_table: int = NO_TABLE
    """A table whose teardown the next continuation has to go on with."""
    old_table_partial: bool = False
    old_table_parent: int = -1
    """The index of the table that held the entry for it; -1 if there was none."""
    first_line: int = 0
    """Where on the console the present hypercall's lines begin."""
    done: int = 0
    """Requests completed by the last batch, as written to the guest's counter."""
    handles_faults: bool = True
    """The guest has named a handler of page faults."""
    softirq: bool = False
    """Something else waits for this CPU: the next look for a reason to stop finds one."""
    holds: list[int] = field(default_factory=list)
    """References that the operation in progress has taken and not yet given back or handed over
    to an entry, a pin or a base pointer: see :mod:`models.xen.pages.references`."""


@dataclass
class Progress:
    """How far the validation or teardown of a table has come.

    The entries below ``next_slot`` hold references.
    """

    next_slot: int = 0
    partial: bool = False
    """The entry at ``next_slot`` is half done itself. In versions that keep partial references
    it holds a general one."""


@dataclass
class MachineToPhys:
    """The machine-to-physical table: a pfn for each frame of the guest."""

    extents: list[tuple[int, int, int]]
    """(first mfn, pages, first pfn), sorted by mfn."""
    unset: int
    updates: MutableMapping[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._firsts = [first for first, _, _ in self.extents]

    def pfn(self, mfn: int) -> int:
        """The pfn of a frame, or the value of a table entry never set."""
        updated = self.updates.get(mfn)
        if updated is not None:
            return updated
        number = bisect_right(self._firsts, mfn) - 1
        if number >= 0:
            first, pages, pfn = self.extents[number]
            if mfn < first + pages:
                return pfn + mfn - first
        return self.unset

    def pfns(self, mfns: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """The same of many frames."""
        if self.updates:
            return np.array([self.pfn(mfn) for mfn in mfns.tolist()], np.uint64)
        pfns = np.full(mfns.size, self.unset, np.uint64)
        for first, pages, pfn in self.extents:
            inside = (mfns >= np.uint64(first)) & (mfns < np.uint64(first + pages))
            pfns[inside] = mfns[inside] - np.uint64(first) + np.uint64(pfn)
        return pfns


LOCKABLE = Condition("lockable", VALIDATED, COUNT, (0, COUNT))
"""A type word whose page may be locked. Source: mm.c:page_lock."""


class TableBodies(NamedTuple):
    """What a page goes through that becomes a table, and that is one no more.

    Both are called by :mod:`models.xen.pages.page_type`, and call it for the entries of the table.
    """

    promote: Callable[..., Activity]
    demote: Callable[..., Activity]


class Xen:
    """One hypervisor with one PV domain."""

    def __init__(  # noqa: PLR0913 - what a hypervisor is made of, by name
        self,
        abi: Abi,
        frames: FrameTable,
        domain: Domain,
        m2p: Iterable[tuple[int, int, int]],
        tables: TableBodies,
        *,
        debug: bool = True,
        pcpus: int = 1,
        vcpus: int = 1,
        others: Iterable[Domain] = (),
    ) -> None:
        self.abi = abi
        self.debug = debug
        self.frames = frames
        self.domain = domain
        """The guest that makes the calls."""
        self.domid = domain.domid
        self.paging = domain.paging
        self.shadows: dict[int, int] = {}
        """The guest's tables (mfn) that Xen has made shadows of, and at which level."""
        self.second_table: set[int] = set()
        """Pieces of 512 guest frames that nested paging has mapped."""
        self.domains = {domain.domid: domain, **{other.domid: other for other in others}}
        """All domains there are, by their ids; the others only own frames."""
        self.m2p = MachineToPhys(sorted(m2p), abi.unset_m2p)
        self.console = Console(abi, domain.domid, debug=debug)
        self.clock = FlushClock(pcpus)
        self.vcpus = [Vcpu(number, number % pcpus) for number in range(vcpus)]
        self.dirty_pcpus = {vcpu.pcpu for vcpu in self.vcpus}
        """pCPUs whose loaded state is one of the domain's vCPUs."""
        self.vcpu_bitmaps: dict[int, int] = {}
        """Bitmaps of vCPUs in the guest's memory, by address; any other address is unreadable."""
        self.progress: dict[int, Progress] = {}
        """Of tables in between: being validated or taken apart, or left half done."""
        self.linear_counts: MutableMapping[int, int] = {}
        """Same-level entries that a table holds (> 0), or tables that hold it so (< 0)."""
        self.counters: Counter[tuple[str, str]] = Counter()
        self.flush_lock = SpinLock("flush_lock")
        """Of the whole machine: one CPU at a time interrupts others to make them flush."""
        self.page_locks: dict[int, Any] = {}
        """The lock of each page that was ever locked
        (:func:`models.xen.pages.page_type.page_lock`)."""
        self._type_changes: dict[tuple[int, int], tuple[str, str]] = {}
        self.trace: Trace | None = None
        self.tells_calls = False
        """Somebody wants a note of every hypercall."""
        # Types and tables validate each other: the two halves of one recursion meet here.
        self.promote, self.demote = tables.promote, tables.demote
        # Flags that an entry of each level may not have (mm.c: L1_DISALLOW_MASK ...).
        upper = PSE | PWT | PCD | GLOBAL
        l2 = upper & ~PSE if "superpage" in abi.text else upper
        self.bad_flags = (0, self.bad_l1_flags(self.domid), l2, upper, upper)

    def record(self, recorder: Recorder) -> None:
        """From here on note every word that a step touches.

        Two things need no note. How far a table's validation has come is only looked at by who
        has put its type word between two states, and what a vCPU owes or holds is its own.
        """
        self.frames.record(recorder, self._type_fields(), self._count_fields(), [LOCKABLE])
        recorder.regimes |= {
            "type_info": self._regime_of_type,
            "count_info": lambda word: not word & self.abi.general_count,
            "linear count": lambda count: (count > 0) - (count < 0),
        }
        self.clock.record(recorder)
        self.m2p.updates = RecordedMap(self.m2p.updates, "m2p", recorder, _or(-1))
        self.linear_counts = RecordedMap(self.linear_counts, "linear count", recorder, _or(0))

    def _type_fields(self) -> list[Field]:
        abi = self.abi
        return [
            Field("count", COUNT, counts=True),
            Field("page lock", abi.locked),
            Field("pin", PINNED),
            Field("validation", VALIDATED),
            Field("partial", PARTIAL),
            Field("caching", abi.non_coherent),
            Field("type", abi.type_mask),
        ]

    def _count_fields(self) -> list[Field]:
        abi = self.abi
        return [
            Field("count", abi.general_count, counts=True),
            Field("caching", abi.cache_attributes),
        ]

    def _regime_of_type(self, word: int) -> int:
        """What whoever takes or drops a typed reference could notice of the word.

        None is left; or it is the last but that of who holds the page lock.
        """
        return not word & COUNT or (word & (self.abi.locked | COUNT) == self.abi.locked | 2) * 2

    def bad_l1_flags(self, domid: int) -> int:
        """The flags that no L1 entry of this domain may have (mm.c: l1_disallow_mask)."""
        cache_bits = 0 if self.domains[domid].io_capabilities else PWT | PCD | PAT
        return cache_bits | (GRANT if self.debug else 0)

    @property
    def privileged(self) -> bool:
        """May the guest work on other domains' pages? That is the control domain's right."""
        return self.domid == 0

    def warn(self, vcpu: Vcpu, name: str, **arguments: object) -> Activity:
        """Print a message; a line that really goes out takes its time."""
        if self.console.say(vcpu.number, name, **arguments):
            yield CONSOLE_LINE

    def needs_flush(self, index: int) -> bool:
        """May some CPU hold a translation of a frame from before its last type reference went?

        Source: include/asm-x86/flushtlb.h:NEED_FLUSH.
        """
        stamp = self.frames.tlb_stamp[index]
        return any(self.clock.needs_flush(pcpu, stamp) for pcpu in self.dirty_pcpus)

    def count_type_change(self, before: int, want: int, frames: int = 1) -> None:
        """Count frames that take another type."""
        change = before & self.abi.type_mask, want
        key = self._type_changes.get(change)
        if key is None:
            old = self.abi.type_name(before)
            old = "untyped_or_unref" if old == "untyped" else old
            key = "page_type_changes", f"{old}->{self.abi.type_name(want)}"
            self._type_changes[change] = key
        self.counters[key] += frames


def _or(absent: int) -> Callable[[int | None], int]:
    """The number of a value, or of an absent one."""
    return lambda value: absent if value is None else value
