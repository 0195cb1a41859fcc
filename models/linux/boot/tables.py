"""What the kernel knows of the tables of its direct map.

Its bookkeeping, kept as the walk goes on: no page table is read for it and no work is charged.
Parts of a strategy ask it instead of remembering things of their own.
"""

from collections.abc import Iterable
from typing import NamedTuple

from models.linux.boot.hazard import Hazards
from models.linux.boot.page_set import PageSet
from models.linux.boot.strategy import Buffer, Publish
from models.linux.start_state.page import Page
from sim.effects import Note


class TableFilled(NamedTuple):
    """The leaves of a region, which holds pages of the table buffer, were written into a page."""

    region: int
    pfn: int


class Tables:
    """The tables made so far, by page (pfn).

    Methods that begin with ``note_`` are told what happens; some return what the observers are to
    hear of it, which the caller yields (``yield from``).
    """

    def __init__(self, publish: Publish, hazards: Hazards) -> None:
        self.buffer = Buffer(0, 0, 0)
        """The buffer of the call in progress, or of the last one."""
        self.buffers: list[Buffer] = []
        """All of them, in order."""
        self.fresh = [0] * 5
        """How many tables were made, by level."""
        self.known = PageSet()
        """Pages that the strategy has published as tables."""
        self.unhooked: set[int] = set()
        """Tables that no live table leads to yet."""
        self.pinned: set[int] = set()
        """Tables that were pinned."""
        self.mapped_before: dict[int, int] = {}
        """Page taken for a table -> the table that had mapped it by then, if one had."""
        self.filled: dict[int, int] = {}
        """Region of 512 pages -> the table that was filled for it."""
        self._below: dict[int, list[int]] = {}
        self._publish = publish
        self._hazards = hazards

    def note_buffer(self, buffer: Buffer) -> None:
        """Pages have been reserved for tables."""
        self.buffer = buffer
        self.buffers.append(buffer)
        if self._publish == "reserve":
            for pfn in range(buffer.start, buffer.top):
                self.known.add(pfn)

    def note_table(self, pfn: int, level: int) -> Iterable[Note]:
        """A page has been taken to serve as a table."""
        self.fresh[level] += 1
        self.unhooked.add(pfn)
        region = pfn >> 9
        if region in self.filled:
            self.mapped_before[pfn] = self.filled[region]
        if self._publish == "alloc":
            self.known.add(pfn)
        return self._hazards.table_allocated(pfn)

    def note_filled(self, region: int, page: Page) -> Iterable[Note]:
        """The leaves of a region have been written."""
        self.filled[region] = page.pfn
        opened = self._hazards.leaves_written(region, page.mfn)
        if self.is_set_aside(region):
            return [Note(TableFilled(region, page.pfn)), *opened]
        return opened

    def is_set_aside(self, region: int) -> bool:
        """Does a region hold pages of the buffer, used or not?"""
        return region << 9 < self.buffer.top and self.buffer.start < region + 1 << 9

    def note_entered(self, pfn: int, above: int) -> list[int]:
        """A table goes into one above; the tables that are live once Xen has accepted that."""
        if self._publish == "hook":
            self.known.add(pfn)
        if above in self.unhooked:
            self._below.setdefault(above, []).append(pfn)
            return []
        tree = self.tree(pfn)
        self.unhooked.difference_update(tree)
        return tree

    def note_alike(self, like: int, above: int, regions: range, pfns: range) -> None:
        """For each of these regions a table was made, just as ``like`` was for another.

        ``above`` is the table (pfn) that all of them went into.
        """
        self.fresh[1] += len(pfns)
        for kind in (self.unhooked, self.pinned):
            if like in kind:
                kind.update(pfns)
        if like in self.known:
            self.known.update(pfns)
        if above in self.unhooked:
            self._below.setdefault(above, []).extend(pfns)
        for pfn in pfns:
            if pfn >> 9 in self.filled:
                self.mapped_before[pfn] = self.filled[pfn >> 9]
        self.filled.update(zip(regions, pfns, strict=True))

    def facts(self, region: int, pfn: int, above: int) -> tuple[bool, ...]:
        """What is known of the table (pfn) of a region, and goes into the table ``above`` (pfn)."""
        home = self.filled.get(pfn >> 9)
        return (
            self.filled[region] == pfn,
            self.mapped_before.get(pfn) == home,
            pfn in self.unhooked,
            pfn in self.pinned,
            pfn in self.known,
            pfn in self._below.get(above, ()),
        )

    def tree(self, root: int) -> list[int]:
        """A table with all that were entered below it before it was live, itself first."""
        tree = [root]
        for child in self._below.get(root, ()):
            if child in self._below:
                tree += self.tree(child)
            else:
                tree.append(child)
        return tree
