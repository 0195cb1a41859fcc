"""What must hold of a machine at rest: every count is the number of what it counts.

The references are recounted from the contents of all live tables, the pins and the base
pointers, and compared with the words of every frame.
"""

import numpy as np
from numpy.typing import NDArray

from models.machine.entries import (
    ADDRESS_MASK,
    INVALID_MFN,
    PAGE_SHIFT,
    PRESENT,
    RW,
)
from models.xen.abi import COUNT, PARTIAL, PINNED, RESERVED_L4_SLOTS, VALIDATED
from models.xen.state import Xen


class InvariantViolation(AssertionError):
    """The machine is in a state that no sequence of correct operations leaves."""


def check_machine(xen: Xen) -> None:
    """Recount all references; for a moment at which no operation is in progress.

    Raises:
        InvariantViolation: a word of some frame says something else than what is there.
    """
    frames, abi = xen.frames, xen.abi
    owned = np.zeros(len(frames.type_array), bool)
    owned[frames.all_indices()] = True
    words = frames.type_array
    typed: NDArray[np.int64] = np.zeros(len(words), np.int64)
    general: NDArray[np.int64] = np.zeros(len(words), np.int64)
    count = (words & np.uint64(COUNT)).astype(np.int64)
    kind = words & np.uint64(abi.type_mask)
    valid = (words & np.uint64(VALIDATED)) != 0
    _require(xen, (words & np.uint64(abi.locked | PARTIAL)) == 0, "a lock or a half-done table")
    is_table = np.isin(kind, np.asarray(abi.table_types[1:], np.uint64))
    _require(xen, ~is_table | (valid == (count > 0)), "a live table is validated, a dead one not")
    pinned = (words & np.uint64(PINNED)) != 0
    _require(xen, ~pinned | (valid & (count > 0)), "a pinned page is a live table")

    for index in np.flatnonzero(is_table & (count > 0)):
        _count_entries(xen, int(index), typed, general)
    typed += pinned
    general += pinned
    for vcpu in xen.vcpus:
        for base in {vcpu.cr3, vcpu.user_cr3} - {INVALID_MFN, 0}:
            typed[frames.index(base)] += 1
            general[frames.index(base)] += 1
    general += frames.count_array >= np.uint64(1 << 63)
    _require(xen, ~owned | (typed == count), "a type count is the number of uses")
    held = (frames.count_array & np.uint64(abi.general_count)).astype(np.int64)
    _require(xen, ~owned | (general == held), "a reference count is the number of holders")


def _count_entries(
    xen: Xen, index: int, typed: NDArray[np.int64], general: NDArray[np.int64]
) -> None:
    frames = xen.frames
    mfn = frames.mfn_at(index)
    level = xen.abi.level(frames.type_info[index])
    table = frames.array(mfn)
    present = (table & np.uint64(PRESENT)) != 0
    if level == 4:
        present[RESERVED_L4_SLOTS.start : RESERVED_L4_SLOTS.stop] = False
    entries = table[present]
    targets = ((entries & np.uint64(ADDRESS_MASK)) >> np.uint64(PAGE_SHIFT)).astype(np.int64)
    counts_type = np.full(entries.shape, fill_value=True)
    if level == 1:
        counts_type = (entries & np.uint64(RW)) != 0
    else:
        other = targets != mfn
        targets, counts_type = targets[other], counts_type[other]
    indices = frames.indices(targets)
    known = indices >= 0
    np.add.at(general, indices[known], 1)
    np.add.at(typed, indices[known & counts_type], 1)


def _require(xen: Xen, holds: NDArray[np.bool_], what: str) -> None:
    if not holds.all():
        index = int(np.flatnonzero(~holds)[0])
        frames = xen.frames
        raise InvariantViolation(
            f"mfn {frames.mfn_at(index):x}: {what} (type_info {frames.type_info[index]:016x}, "
            f"count_info {frames.count_info[index]:016x}; {int((~holds).sum())} frames in all)"
        )
