"""Regions that are going to be mapped alike, as far as can be told before the first of them is.

A kernel maps most of its RAM by doing the same for each 2 MiB: take a page, fill it, hook it. What
it does depends on what it meets: the frames, the page taken for the table and whatever maps that
page, the strategy's rules. Where all of these are alike for a run of regions, so is what is done;
a run of them (:mod:`models.linux.boot.walks.alike_regions`) then tells most of them from the first.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from models.linux.boot.guest import Guest
from models.linux.boot.strategy import Foreseen
from models.linux.boot.walks.repetition import FEWEST, is_unwatched
from models.machine.entries import ENTRIES, PAGE_SHIFT
from models.xen.words import COUNT


@dataclass(frozen=True)
class PageRun:
    """Pages that will be taken for tables one after the other, if nobody else takes any."""

    first: int
    """The page (pfn) taken next."""
    step: int
    """1 or -1: from one to the next."""
    count: int
    take: Callable[[int], None]
    """Takes so many of them at once."""

    def page(self, number: int) -> int:
        """One of them (pfn), by its number from 0."""
        return self.first + self.step * number

    def lowest(self, count: int) -> int:
        """The lowest of the first so many."""
        return min(self.first, self.page(count - 1))


def regions_alike(guest: Guest, l2: int, region: int, end: int, pages: PageRun | None) -> int:
    """How many regions from this one on will be mapped alike; 0 if that is not known of a few.

    ``l2`` (mfn) is the table that they are entered into, ``end`` (pfn) where the mapping ends,
    ``pages`` where the tables come from.
    """
    first, slot = region * ENTRIES, region % ENTRIES
    if pages is None or not is_unwatched(guest):
        return 0
    count = min(ENTRIES - slot, (end - first) // ENTRIES, pages.count)
    if count < FEWEST or not _parts_are_alike(guest, first, first + count * ENTRIES):
        return 0
    count = _empty_slots(guest, l2, slot, count)
    count = _fresh_regions(guest, first, count)
    count = _unprotected_regions(guest, first, count)
    count = _regions_without_tables(guest, region, count)
    if count < FEWEST or not _tables_are_alike(guest, region, count, pages):
        return 0
    return count


def _parts_are_alike(guest: Guest, first: int, end: int) -> bool:
    """Do all parts of the strategy that are asked for a region say so?"""
    strategy = guest.strategy
    parts: list[object] = [strategy.hook, strategy.before_leaf_store]
    if strategy.mask is not None:
        parts += [strategy.mask, strategy.early]
    return all(part is None or _is_foreseen(part, guest, first, end) for part in parts)


def _is_foreseen(part: object, guest: Guest, first: int, end: int) -> bool:
    """What a part says itself: one that is derived from another has to say it anew."""
    return (
        isinstance(part, Foreseen) and "alike" in vars(type(part)) and part.alike(guest, first, end)
    )


def _empty_slots(guest: Guest, l2: int, slot: int, count: int) -> int:
    """How many slots of the table are empty from this one on."""
    entries = guest.frames.arrays.get(l2)
    if entries is None:
        return count
    used = np.flatnonzero(entries[slot : slot + count])
    return int(used[0]) if used.size else count


def _fresh_regions(guest: Guest, first: int, count: int) -> int:
    """How many regions have frames that follow each other and that nothing has touched."""
    mfn, identity, run = guest.p2m.run_at(first)
    if mfn is None or identity:
        return 0
    return guest.frames.fresh_runs(mfn, guest.xen.domid, min(count, run // ENTRIES))


def _unprotected_regions(guest: Guest, first: int, count: int) -> int:
    """How many regions have no page whose leaf is to be read-only."""
    for low, high in guest.read_only_pages(first, first + count * ENTRIES):
        if low < first + count * ENTRIES and first < high:
            count = max(low - first, 0) // ENTRIES
    return count


def _regions_without_tables(guest: Guest, region: int, count: int) -> int:
    """How many regions hold no page that has been taken for a table, or set aside for one.

    Observers are told of such a region when it is filled.
    """

    def has_tables(number: int) -> bool:
        other = region + number
        return guest.hazards.has_tables(other) or guest.tables.is_set_aside(other)

    return next((number for number in range(count) if has_tables(number)), count)


def _tables_are_alike(guest: Guest, region: int, count: int, pages: PageRun) -> bool:
    """Are the pages that will be tables alike, and likewise what maps them?"""
    lowest = pages.lowest(count)
    homes = range(lowest // ENTRIES, (lowest + count - 1) // ENTRIES + 1)
    if homes.start < region + count and region < homes.stop:
        return False
    mfn, identity, run = guest.p2m.run_at(lowest)
    if mfn is None or identity or run < count:
        return False
    frames = guest.frames
    span = frames.span(mfn, count)
    if span is None or any(number in frames.arrays for number in range(mfn, mfn + count)):
        return False
    columns = (frames.type_array[span], frames.count_array[span], frames.owner_array[span])
    if any((column != column[0]).any() for column in columns) or frames.stamp_array[span].any():
        return False
    if guest.xen.domid != frames.owner_array[span.start]:
        return False
    mapped = [home in guest.hazards.leaf_tables for home in homes]
    if not any(mapped):
        return all(guest.lookup_address(guest.va(home * ENTRIES)) is None for home in homes)
    return all(mapped) and _leaves_are_alike(guest, lowest, count, mfn, homes)


def _leaves_are_alike(guest: Guest, lowest: int, count: int, mfn: int, homes: range) -> bool:
    """Are these pages mapped by live tables of one kind, with the same flags?"""
    frames = guest.frames
    kinds = set()
    flags = set()
    for home in homes:
        table = guest.hazards.leaf_tables[home]
        low, high = max(lowest, home * ENTRIES), min(lowest + count, (home + 1) * ENTRIES)
        leaves = frames.array(table)[low % ENTRIES : (high - 1) % ENTRIES + 1]
        own = np.arange(mfn + low - lowest, mfn + high - lowest, dtype=np.uint64)
        flags.update((leaves ^ own << np.uint64(PAGE_SHIFT)).tolist())
        walk = guest.lookup_address(guest.va(low))
        word = frames.type_info[frames.index(table)] & ~COUNT
        kinds.add((None if walk is None else walk[1], word))
    return len(kinds) == 1 and len(flags) == 1 and next(iter(kinds))[0] is not None
