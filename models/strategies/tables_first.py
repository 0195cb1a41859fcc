"""The pages that will be tables are mapped first, by tables from memory that is mapped already.

A first pass maps just the regions that hold the buffer; its few tables come from low memory. The
second pass maps everything, and whatever becomes a table has a leaf that can be found. No leaf
needs a look, nothing is left read-only, and the rest of the kernel is as it was.

Discussed in the threads of 2011; what Linux v3.9 does is this in the large.
"""

from models.linux.boot.guest import Guest
from models.linux.boot.strategy import Buffer, Strategy
from models.linux.boot.walks.buffered import (
    map_piece,
    map_range,
    ranges_to_map,
    settle,
    take_buffer,
)
from models.linux.crash import GuestCrash
from models.linux.release import V2_6_39
from models.strategies.policies import EarlySlotsOnly, below_mapped, top_of_range
from sim.effects import Activity

_PER_L1 = 512
_PER_L2 = 512 * _PER_L1


def build_in_two_passes(guest: Guest) -> Activity:
    """For each range of the kernel's: the buffer's own regions, then all of it."""
    for first, end in ranges_to_map(guest):
        buffer = take_buffer(guest, end)
        if buffer.top > guest.max_pfn_mapped:
            yield from _map_buffer(guest, buffer, first, end)
            guest.tables.buffer = buffer
        yield from map_range(guest, first, end)
        yield from settle(guest, end)


def _map_buffer(guest: Guest, buffer: Buffer, first: int, end: int) -> Activity:
    """The first pass: tables for the tables."""
    low = max(first, buffer.start // _PER_L1 * _PER_L1)
    high = min(end, -(-buffer.top // _PER_L1) * _PER_L1)
    l1s = -(-high // _PER_L1) - low // _PER_L1
    l2s = -(-high // _PER_L2) - low // _PER_L2
    pages = l1s + l2s + 1
    start = guest.memblock.find(pages, *below_mapped(guest, end))
    if start is None:
        raise GuestCrash("bug", f"Cannot find space for the tables of the tables ({pages} pages)")
    seed = guest.tables.buffer = Buffer(start, start, start + pages)
    guest.tables.buffers.append(seed)
    yield from map_piece(guest, low, high)
    guest.memblock.reserve(seed.start, seed.used_end)


tables_first = Strategy(
    name="tables-first",
    summary="tables high, their own regions mapped first by tables from mapped memory",
    history="discussed in 2011",
    kernel=V2_6_39,
    direct_map=build_in_two_passes,
    placement=top_of_range,
    mask=EarlySlotsOnly(),
)
