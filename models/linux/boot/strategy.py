"""The seam at which a fix for the read-only problem meets the kernel's mapping code.

A strategy says where table pages come from, which leaves are written read-only, and what
becomes of pages that were set aside and not used. It sees the guest through methods of its own and
of its parts (``guest.tables``, ``guest.calls``, ``guest.hazards``), and through the functions of
:mod:`models.linux.boot.early_mappings`; it never touches a page table or the hypervisor's state.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, runtime_checkable

from models.linux.release import Access, Kernel
from models.linux.start_state.geometry import Range
from models.xen.versions.paging import Paging
from sim.effects import Activity

if TYPE_CHECKING:
    from models.linux.boot.guest import Guest, Page


Publish: TypeAlias = Literal["none", "reserve", "alloc", "hook"]
"""When a page enters the set of known tables (``guest.tables.known``): never, with the whole
buffer that is reserved, as soon as it is taken for a table, or when it is hooked."""


@dataclass
class Buffer:
    """The run of pages that a call reserved for its tables (pfns)."""

    start: int
    used_end: int
    """One past the last page taken: it moves while the tables are built."""
    top: int

    @property
    def left_over(self) -> range:
        """The pages reserved and not used."""
        return range(self.used_end, self.top)


class Placement(Protocol):
    """Where a buffer for tables is looked for."""

    def __call__(self, guest: "Guest", end: int) -> Range:
        """The pages among which the highest free run is taken; ``end`` is what will be mapped."""


class Mask(Protocol):
    """Which leaves are written read-only."""

    def leaves(self, guest: "Guest", first: int, end: int) -> Iterable[Range]:
        """The pages in [first, end) whose leaves are read-only, as the rule stands now."""


class EarlySlots(Protocol):
    """Which temporary mappings of tables are read-only."""

    def __call__(self, buffer: Buffer, pfn: int) -> bool:
        """Is one of this page?"""


class Hook(Protocol):
    """What is done to a table, and to others, when it is entered into the table above."""

    def l1(self, guest: "Guest", table: int, slot: int, page: "Page") -> Activity:
        """alloc_pte and set_pmd: a filled L1 goes into slot ``slot`` of the L2 ``table`` (mfn)."""

    def upper(self, guest: "Guest", table: int, slot: int, page: "Page") -> Activity:
        """alloc_pmd or alloc_pud, then set_pud or set_pgd: the same of a filled L2 or L3."""


@runtime_checkable
class Foreseen(Protocol):
    """A part that can tell beforehand that it treats a run of regions alike.

    Regions of which all parts say so are mapped at once
    (:mod:`models.linux.boot.walks.repetition`); a part that is none of these is asked region by
    region. Each class has to say it of itself: one that is derived from another may do otherwise.
    """

    def alike(self, guest: "Guest", first: int, end: int) -> bool:
        """Will it treat all regions of the pages [first, end) as it treats the first of them?

        Their frames are alike, and so are the pages that become their tables, which lie in none of
        these regions. It must not change its mind in the course of the run.
        """


class PinAndHook:
    """The kernel's own way: read-only if the leaf can be found, an L1 pinned, then entered."""

    def l1(self, guest: "Guest", table: int, slot: int, page: "Page") -> Activity:
        """An L1 is pinned before it is entered."""
        yield from self.make_read_only(guest, page)
        yield from guest.pin_l1(page.pfn)
        yield from guest.enter(table, slot, page)

    def upper(self, guest: "Guest", table: int, slot: int, page: "Page") -> Activity:
        """The tables above are not pinned."""
        yield from self.make_read_only(guest, page)
        yield from guest.enter(table, slot, page)

    def alike(self, guest: "Guest", first: int, end: int) -> bool:  # noqa: ARG002
        """Yes: what is done depends on what maps the table's page."""
        return True

    def make_read_only(self, guest: "Guest", page: "Page") -> Activity:
        """Take the write permission from the table's leaf; where there is no path, so be it."""
        return guest.make_lowmem_page_readonly(page.pfn)


def nothing(guest: "Guest") -> Activity:  # noqa: ARG001
    """No work here."""
    yield from ()


def keep_all(guest: "Guest", buffer: Buffer) -> Activity:  # noqa: ARG001
    """Nothing is done about the pages left over."""
    yield from ()


class AllButLastPage:
    """Only the page taken last, which is being filled, is writable through a temporary mapping."""

    def __call__(self, buffer: Buffer, pfn: int) -> bool:
        """Is it another?"""
        return pfn != buffer.used_end - 1

    def alike(self, guest: "Guest", first: int, end: int) -> bool:  # noqa: ARG002
        """Yes: in each region the page taken last is the one that is filled."""
        return True


all_but_last_page = AllButLastPage()
PIN_AND_HOOK = PinAndHook()


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """One way of publishing the tables of the direct map to the hypervisor."""

    name: str
    summary: str
    history: str
    """Where it comes from: commit and release, or mail."""
    kernel: Kernel
    paging: Paging = Paging.DIRECT
    """What the domain is made for: how its page tables are used."""
    direct_map: Callable[["Guest"], Activity]
    """The shape of the walk, as in :mod:`models.linux.boot.walks.buffered`."""
    placement: Placement | None = None
    mask: Mask | None = None
    early: EarlySlots = all_but_last_page
    """Asked where there is a mask; without one, temporary mappings are writable."""
    publish: Publish = "none"
    access: Access | None = None
    """How tables are reached; None: as the kernel does it."""
    batching: int | None = None
    """Entries of the multicall buffer, if updates are put off into it; 32 in Linux."""
    before_leaf_store: Callable[["Guest"], Activity] | None = None
    """Done at every store of a leaf of a page other than 0, in bulk work once or until it rests."""
    leaf_updates: bool = False
    """A leaf is written by an mmu_update of its own, not by a store."""
    leaf_cost: str | None = None
    """Named cost of what each leaf store consults."""
    hook: Hook = PIN_AND_HOOK
    hook_first: bool = False
    """A fresh L1 is hooked while it is empty, and its leaves are stored into the live table."""
    release: Callable[["Guest", Buffer], Activity] = keep_all
    """The end of a call."""
    finish: Callable[["Guest"], Activity] = nothing
    """Once, after the boot allocators have been set up."""
    own_ways: frozenset[str] = frozenset()
    """Parts (:mod:`models.strategies.recombine`) of which the walk has a way of its own."""
    state: Callable[[], Any] = object
    """Makes what the strategy remembers during one boot (``guest.strategy_state``)."""
