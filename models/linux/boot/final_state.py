"""What the direct map looks like when a run is over, for its record."""

import numpy as np

from models.linux.boot.guest import Guest
from models.machine.entries import PRESENT, RW

_WRITABLE = PRESENT | RW


def left_read_only(guest: Guest) -> int:
    """Pages that are no table, no p2m page, and cannot be written."""
    start = guest.start
    tables = guest.hazards.tables | set(start.builder_l1s) | set(start.static_pfns)
    tables -= guest.retired
    p2m_pages = start.layout.p2m_pages if guest.kernel.p2m_read_only else ()
    count = 0
    for region, table in guest.hazards.leaf_tables.items():
        leaves = guest.frames.array(table)
        if int(np.bitwise_and.reduce(leaves)) & RW:
            continue
        read_only = np.flatnonzero(leaves & np.uint64(_WRITABLE) == np.uint64(PRESENT))
        for pfn in ((region << 9) + read_only).tolist():
            if pfn not in tables and not any(first <= pfn < end for first, end in p2m_pages):
                count += 1
    return count
