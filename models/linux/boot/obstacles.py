"""What stood in the way when Xen refused a table: looked at for the explanation, decides nothing.

A table is refused when it, or one that is entered with it, can still be written: through a leaf
of its own tree, through one elsewhere in the direct map, or through a temporary mapping.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from models.linux.boot.calls import described
from models.linux.boot.page_set import PageSet
from models.linux.boot.put_off import Queued
from models.machine.entries import ENTRIES, PRESENT, RW

if TYPE_CHECKING:
    from models.linux.boot.guest import Guest

Place: TypeAlias = Literal["own leaf", "other leaf", "temporary mapping"]

_WRITABLE = PRESENT | RW


class Obstacle(NamedTuple):
    """A table that could be written."""

    table: int
    """Its page (pfn)."""
    place: Place
    """Where: in the tree that was to be entered, in another table, at a temporary address."""
    mapped_by: int | None
    """The L1 (pfn) with the leaf."""
    reachable: bool
    """Whether a walk of the live tables finds that leaf."""


class Refused(NamedTuple):
    """Something that Xen refused and the kernel only warned about."""

    what: str
    page: int | None
    """The table (pfn) in question, if what stood in its way was found."""
    obstacle: Obstacle | None
    unmapped: tuple[int, ...]
    """The regions of 512 pages that stay without a map."""


def find_obstacle(guest: "Guest", root: int) -> Obstacle | None:
    """What allows a write to the tables of a tree, or to others through it; pfns."""
    tree = guest.tables.tree(root)
    for slot in guest.early.slots:
        if slot is not None and slot[1] and slot[0] in tree:
            return Obstacle(slot[0], "temporary mapping", None, reachable=True)
    return _own_leaf(guest, tree) or _other_leaf(guest, tree)


def _own_leaf(guest: "Guest", tree: list[int]) -> Obstacle | None:
    """A leaf of the tree that maps one of its tables, or one that is typed already, writable."""
    filled = set(guest.tables.filled.values())
    waiting = guest.tables.unhooked - guest.tables.pinned
    tables = set(tree) | guest.hazards.tables - waiting
    tables.update(guest.start.static_pfns, guest.start.builder_l1s)
    known = PageSet(tables)
    for pfn in tree:
        if pfn in filled:
            leaves = guest.writable_leaves(guest.frames.array(guest.mfn(pfn)), known)
            if leaves:
                return Obstacle(leaves[0][1], "own leaf", pfn, reachable=False)
    return None


def _other_leaf(guest: "Guest", tree: list[int]) -> Obstacle | None:
    """A leaf of another table that maps one of the tree's writable."""
    for pfn in tree:
        table = guest.hazards.leaf_tables.get(pfn >> 9)
        if table is None:
            continue
        if guest.frames.words(table)[pfn & ENTRIES - 1] & _WRITABLE == _WRITABLE:
            reachable = guest.lookup_address(guest.va(pfn)) is not None
            return Obstacle(pfn, "other leaf", guest.pfn_of(table), reachable)
    return None


def refusal(guest: "Guest", call: Queued, rc: int, pages: Sequence[int]) -> Refused:
    """What Xen has refused, of what the kernel meant to do with these tables (pfns)."""
    found = [(page, find_obstacle(guest, page)) for page in pages]
    page, obstacle = max(found, key=lambda pair: pair[1] is not None, default=(None, None))
    unmapped = {region for table in pages for region in _mapped_below(guest, table)}
    return Refused(f"{described(call, pages)} gave {rc}", page, obstacle, tuple(sorted(unmapped)))


def _mapped_below(guest: "Guest", root: int) -> list[int]:
    """The regions whose leaves a tree holds."""
    tree = set(guest.tables.tree(root))
    return [region for region, pfn in guest.tables.filled.items() if pfn in tree]
