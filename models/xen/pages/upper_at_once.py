"""L2 and L3 tables validated at once, where that is what doing it entry by entry would come to.

Of a booting guest's tables most are validated when those below them have been: each entry of an L2
then only takes one more reference of an L1 that is one already. The entry-by-entry body
(:mod:`models.xen.pages.upper_tables`) is the definition. This one declines, having touched nothing,
where an entry would be refused, print something, flush, validate another table, or wait.
"""

import numpy as np

from models.machine.entries import MFN_MASK, PAGE_SHIFT, PRESENT, PSE, USER
from models.xen.state import Xen
from models.xen.words import COUNT, VALIDATED
from sim.effects import DECLINED, Declined

_FEWEST = 8
"""Fewer entries are done sooner one by one."""
_SHIFT = np.uint64(PAGE_SHIFT)
_MFN_MASK = np.uint64(MFN_MASK)
_MOST_MFN = (1 << 32) - 1
_ONE = np.uint64(1)


def promote_upper_at_once(xen: Xen, mfn: int, index: int, level: int) -> int | Declined:
    """Take the references of all entries of an L2 or L3: how many are present.

    ``index``: of the table's frame.
    """
    abi, frames = xen.abi, xen.frames
    table = frames.array(mfn)
    slots = (table & np.uint64(PRESENT)).nonzero()[0]
    if slots.size < _FEWEST:
        return DECLINED
    entries = table[slots]
    refused = xen.bad_flags[level] | (PSE if level == 2 else 0)
    if int(np.bitwise_or.reduce(entries)) & refused:
        return DECLINED
    mfns = entries >> _SHIFT & _MFN_MASK
    if mfns.max() > _MOST_MFN:
        return DECLINED
    # A table that two entries lead to is counted twice; that is left to the other body.
    places = frames.places(mfns.astype(np.uint32))
    if places is None or (frames.owner_array[places] != frames.owner_array[index]).any():
        return DECLINED
    words, counts = frames.type_array[places], frames.count_array[places]
    below = np.uint64(abi.table_types[level - 1] | VALIDATED)
    if ((words & np.uint64(abi.type_mask | VALIDATED)) != below).any():
        return DECLINED
    if ((words & np.uint64(COUNT)) == np.uint64(COUNT)).any():
        return DECLINED
    if ((counts + np.uint64(2) & np.uint64(abi.general_count)) <= 2).any():  # as get_page()
        return DECLINED
    frames.type_array[places] = words + _ONE
    frames.count_array[places] = counts + _ONE
    table[slots] = entries | np.uint64(USER)
    return int(slots.size)
