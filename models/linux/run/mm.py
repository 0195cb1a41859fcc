"""Address spaces of processes: their areas, and the tables below their pgd.

A pgd is two pages under Xen: what the kernel runs on, and what user mode runs on, which has the
same lower half. Source: Linux 6.1 include/linux/mm_types.h, arch/x86/xen/mmu_pv.c (xen_pgd_alloc).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from models.linux.spinlock import Lock
from models.linux.workload_kinds import Backing
from models.machine.entries import PRESENT, mfn_of
from models.machine.frames import FrameTable

USER_SLOTS = 256
"""Slots of a pgd that belong to user mode."""
SHIFTS = (0, 12, 21, 30, 39)
"""Bits of an address below the slot of each level's table."""


@dataclass
class Area:
    """A VMA: pages [start, end) of the address space."""

    name: str
    start: int
    end: int
    backing: Backing = "anonymous"
    writable: bool = True
    file: Sequence[int] = ()
    """The page cache's pages (pfns) of a file, from the area's first page on."""
    copied: bool = False
    """It has pages of its own (anon_vma): fork() copies its entries."""

    @property
    def private_copy(self) -> "Area":
        """The child's area."""
        return Area(
            self.name, self.start, self.end, self.backing, self.writable, self.file, self.copied
        )


class Place(NamedTuple):
    """Where the entry of an address is: the table's mfn and the slot."""

    table: int
    slot: int


class Mm:
    """An address space."""

    def __init__(self, name: str, pgd: int, user_pgd: int) -> None:

        self.name = name
        self.pgd = pgd
        """mfn of the L4 that the kernel runs on ..."""
        self.user_pgd = user_pgd
        """... and of user mode's; 0 for the kernel's own address space."""
        self.areas: list[Area] = []
        self.page_table_lock: Lock = Lock(f"page_table_lock of {name}")
        self.cpumask: set[int] = set()
        """CPUs that may hold translations of it."""
        self.users = 1
        self.tlb_gen = 0

    def area_at(self, page: int) -> Area:
        """The area of a page (its number in the address space)."""
        for area in self.areas:
            if area.start <= page < area.end:
                return area
        raise LookupError(f"nothing is mapped at page {page:#x} of {self.name}")

    def area(self, name: str) -> Area:
        """The area with this name."""
        for area in self.areas:
            if area.name == name:
                return area
        raise LookupError(f"{self.name} has no area {name!r}")

    def neighbours(self, area: Area) -> tuple[int, int]:
        """Where the area below ends, and where the one above starts (addresses; 0 for none)."""
        ordered = sorted(self.areas, key=lambda other: other.start)
        number = ordered.index(area)
        floor = ordered[number - 1].end << 12 if number else 0
        ceiling = ordered[number + 1].start << 12 if number + 1 < len(ordered) else 0
        return floor, ceiling


class HasFrames(Protocol):
    """Whoever reads page tables: a kernel, for one."""

    @property
    def frames(self) -> FrameTable:
        """The machine's frames, with what the tables among them hold."""


def entry_at(kernel: HasFrames, table: int, slot: int) -> int:
    """What a table holds, as the kernel reads it."""
    return kernel.frames.words(table)[slot]


def lower_table(kernel: HasFrames, table: int, slot: int) -> int | None:
    """The table (mfn) below an entry; None if the entry is empty."""
    entry = entry_at(kernel, table, slot)
    return mfn_of(entry) if entry & PRESENT else None


def slot_of(va: int, level: int) -> int:
    """The slot of an address in its table of this level."""
    return va >> SHIFTS[level] & 511


def find_place(kernel: HasFrames, mm: Mm, va: int) -> Place | None:
    """Where the leaf of an address is; None if a level is missing."""
    table: int | None = mm.pgd
    for level in (4, 3, 2):
        assert table is not None
        table = lower_table(kernel, table, slot_of(va, level))
        if table is None:
            return None
    assert table is not None
    return Place(table, slot_of(va, 1))


def tables_below(kernel: HasFrames, pgd: int) -> Iterator[tuple[int, int]]:
    """All tables of user mode's half, (level, mfn), each above those below it; the pgd last.

    Source: xen_pgd_walk.
    """
    for l3 in present_tables(kernel, pgd, USER_SLOTS):
        yield 3, l3
        for l2 in present_tables(kernel, l3):
            yield 2, l2
            for l1 in present_tables(kernel, l2):
                yield 1, l1
    yield 4, pgd


def present_tables(kernel: HasFrames, table: int, slots: int = 512) -> list[int]:
    """The tables (mfns) that the present entries of a table above L1 lead to."""
    entries = kernel.frames.array(table)[:slots]
    return [mfn_of(entry) for entry in entries[entries & 1 == 1].tolist()]


@dataclass
class Gather:
    """What an unmapping has to flush and to give back when it is done (struct mmu_gather).

    Source: Linux 6.1 mm/mmu_gather.c, include/asm-generic/tlb.h.
    """

    mm: Mm
    whole: bool = False
    """The address space goes away (fullmm)."""
    start: int | None = None
    end: int = 0
    freed_tables: bool = False
    smallest: int = 5
    """The lowest level of which entries were cleared."""
    pages: list[int] = field(default_factory=list)
    tables: list[int] = field(default_factory=list)

    def touch(self, va: int, size: int, level: int) -> None:
        """An entry of a table of this level was cleared."""
        self.start = va if self.start is None else min(self.start, va)
        self.end = max(self.end, va + size)
        self.smallest = min(self.smallest, level)


GATHER_PAGES = 8 + 19 * 510
"""Pages that fit before they have to be flushed and freed (MAX_GATHER_BATCH_COUNT)."""
