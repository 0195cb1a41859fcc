"""What must hold of a machine at every moment: each count is the number of what it counts.

The references are recounted from the contents of the tables, the pins, the base pointers and
the lists of what running operations hold, and compared with the words of every frame. A look can
be taken between any two steps of an operation; a :class:`Checker` that looks again and again
counts only what has changed since it looked last. The numbers in its complaints are those of
the list in ``docs/concepts/hypervisor.md``.
"""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.machine.entries import (
    ADDRESS_MASK,
    ENTRIES,
    INVALID_MFN,
    PAGE_SHIFT,
    PRESENT,
    RW,
    mfn_of,
)
from models.machine.frames import DOMID_IO, NOT_RAM
from models.xen.state import NO_TABLE, Xen
from models.xen.versions.paging import Paging
from models.xen.words import (
    ALLOCATED,
    COUNT,
    PARTIAL,
    PINNED,
    RESERVED_L4_SLOTS,
    VALIDATED,
)

Indices = NDArray[np.int64]
_NONE: Indices = np.zeros(0, np.int64)
_LEVELS = (1, 2, 3, 4)
_BASE_REFERENCES = {Paging.DIRECT: (0, 1), Paging.SHADOW: (0,), Paging.NESTED: ()}
"""What a base pointer holds of its table: a reference (0) and a use of its type (1), a reference,
or nothing, where the guest loads it without Xen's doing."""


class InvariantViolation(AssertionError):
    """The machine is in a state that no sequence of correct steps leads to."""


def check(xen: Xen) -> None:
    """Look at the whole machine, whatever is going on in it.

    Raises:
        InvariantViolation: a word of some frame says something else than what is there.
    """
    Checker(xen).look()


def require_at_rest(xen: Xen) -> None:
    """No operation is in progress: nothing is held, locked, or owed.

    Raises:
        InvariantViolation: something is.
    """
    for vcpu in xen.vcpus:
        if vcpu.holds:
            raise InvariantViolation(f"vCPU {vcpu.number} still holds {len(vcpu.holds)} references")
        if vcpu.old_guest_table != NO_TABLE:
            raise InvariantViolation(f"vCPU {vcpu.number} has left mfn {vcpu.old_guest_table:x}")
    if (xen.frames.type_array & np.uint64(xen.abi.locked)).any():
        raise InvariantViolation("a page is still locked")


def _merged(parts: list[Indices], size: int) -> Indices:
    """All indices of the parts, each once and in order."""
    if sum(map(len, parts)) < size // 16:
        return np.unique(np.concatenate(parts))
    found = np.zeros(size, bool)
    for part in parts:
        found[part] = True
    return np.flatnonzero(found)


@dataclass
class _Seen:
    """A table as it was when its entries were last counted."""

    mfn: int
    level: int
    contents: NDArray[np.uint64]
    words: bytes = b""
    limit: int = 0
    """The entries below it hold references."""
    partial: int = NOT_RAM
    """The child to which the entry at the limit holds a general reference."""
    general: Indices = field(default_factory=lambda: _NONE)
    """The frames that its entries refer to, one by one."""
    typed: Indices = field(default_factory=lambda: _NONE)
    """Those whose type they use."""
    writing: Indices = field(default_factory=lambda: _NONE)
    """Those of a table above L1 whose entry allows writes."""


class Checker:
    """Looks at a machine again and again."""

    def __init__(self, xen: Xen) -> None:
        self.xen = xen
        frames = xen.frames
        self._real = frames.all_indices()
        size = len(frames.type_array)
        self._types: NDArray[np.uint64] = np.zeros(size, np.uint64)
        self._counts: NDArray[np.uint64] = np.zeros(size, np.uint64)
        self._tables: dict[int, _Seen] = {}
        self._general: NDArray[np.int32] = np.zeros(size, np.int32)
        """References by entries of tables."""
        self._typed = [np.zeros(size, np.int32) for _ in range(5)]
        """Uses by writable entries of L1 tables [1], and by entries of L2 [2] to L4 [4] tables."""
        self._writing = [np.zeros(size, np.int32) for _ in range(5)]
        """Those by entries of L2 to L4 tables that allow writes."""
        self._extra: Counter[int] = Counter()
        self._extra_frames: set[int] = set()

    def look(self) -> None:
        """Check everything that has changed since the last look.

        Raises:
            InvariantViolation: a word of some frame says something else than what is there.
        """
        frames = self.xen.frames
        changed = self._changed_words()
        touched = [changed] if changed.size else []
        touched += self._look_at_tables()
        extra = self._held_elsewhere()
        if extra != self._extra:
            now = {reference >> 1 for reference in extra}
            touched.append(np.fromiter(now | self._extra_frames, np.int64))
            self._extra, self._extra_frames = extra, now
        if touched:
            indices = _merged(touched, len(self._types))
            owned = np.isin(frames.owner_array[indices], list(self.xen.domains))
            self._verify(indices if owned.all() else indices[owned])
            self._verify_linear_counts()
        self._verify_translations()

    # -- what has changed -----------------------------------------------------------------------

    def _changed_words(self) -> Indices:
        """The frames whose words are not as they were; tables come and go with them."""
        frames, abi = self.xen.frames, self.xen.abi
        types, counts = frames.type_array, frames.count_array
        different = (types != self._types) | (counts != self._counts)
        changed = np.flatnonzero(different)
        if not changed.size:
            return changed
        for index in changed.tolist() if changed.size < ENTRIES else self._maybe_tables(changed):
            word = frames.type_info[index]
            level = abi.level(word) if word & COUNT else 0
            seen = self._tables.get(index)
            if seen is not None and seen.level != level:
                self._count(seen, -1)
                del self._tables[index]
            if level and index not in self._tables:
                mfn = frames.mfn_at(index)
                self._tables[index] = _Seen(mfn, level, frames.array(mfn))
        self._types[changed] = types[changed]
        self._counts[changed] = counts[changed]
        return changed

    def _maybe_tables(self, changed: Indices) -> list[int]:
        abi = self.xen.abi
        kinds = np.uint64(abi.type_mask)
        now = np.isin(self.xen.frames.type_array[changed] & kinds, abi.table_types[1:])
        before = np.isin(self._types[changed] & kinds, abi.table_types[1:])
        return [int(index) for index in changed[now | before]]

    def _look_at_tables(self) -> list[Indices]:
        """Count the entries of tables anew where they have changed; the frames concerned."""
        xen = self.xen
        touched = []
        for index, seen in self._tables.items():
            limit, partial = ENTRIES, NOT_RAM
            if not xen.frames.type_info[index] & VALIDATED:
                progress = xen.progress.get(seen.mfn)
                limit = 0 if progress is None else progress.next_slot
                if progress is not None and progress.partial:
                    partial = xen.frames.index(mfn_of(int(seen.contents[limit])))
            words = seen.contents.tobytes()
            if words == seen.words and limit == seen.limit and partial == seen.partial:
                continue
            self._count(seen, -1)
            touched.append(seen.general)
            seen.words, seen.limit, seen.partial = words, limit, partial
            self._find_targets(index, seen)
            self._count(seen, 1)
            touched.append(seen.general)
        return touched

    def _find_targets(self, index: int, seen: _Seen) -> None:
        """What the entries of a table refer to."""
        frames = self.xen.frames
        entries = seen.contents[: seen.limit]
        slots = np.flatnonzero(entries & np.uint64(PRESENT))
        if seen.level == 4:
            first, last = RESERVED_L4_SLOTS.start, RESERVED_L4_SLOTS.stop
            slots = slots[(slots < first) | (slots >= last)]
        present = entries[slots]
        mfns = ((present & np.uint64(ADDRESS_MASK)) >> np.uint64(PAGE_SHIFT)).astype(np.int64)
        targets = frames.indices(mfns)
        writable = (present & np.uint64(RW)) != 0
        if seen.level == 1:
            counted = (targets >= 0) & (frames.owner_array[targets] != DOMID_IO)
            seen.typed = targets[counted & writable]
        else:
            counted = targets != index
            if (targets < 0).any() or (writable & ~counted).any():
                raise InvariantViolation(
                    f"mfn {seen.mfn:x}, an L{seen.level} table, has an entry that points to no "
                    "table, or writable to itself (8)"
                )
            seen.typed = targets[counted]
            seen.writing = targets[counted & writable]
        seen.general = targets[counted]
        if seen.partial != NOT_RAM:
            seen.general = np.append(seen.general, seen.partial)

    def _count(self, seen: _Seen, change: int) -> None:
        """Count the references of a table's entries, or take them out of the counts."""
        np.add.at(self._general, seen.general, change)
        np.add.at(self._typed[seen.level], seen.typed, change)
        np.add.at(self._writing[seen.level], seen.writing, change)

    def _held_elsewhere(self) -> Counter[int]:
        """References of base pointers and operations, as ``Vcpu.holds`` lists them."""
        index = self.xen.frames.index
        held: Counter[int] = Counter()
        base_references = _BASE_REFERENCES[self.xen.paging]
        for vcpu in self.xen.vcpus:
            held.update(vcpu.holds)
            for base in (vcpu.cr3, vcpu.user_cr3):
                if base not in (INVALID_MFN, 0):
                    held.update(index(base) << 1 | kind for kind in base_references)
            if vcpu.old_guest_table != NO_TABLE:
                owed = index(vcpu.old_guest_table)
                held.update((owed << 1,) if vcpu.old_table_partial else (owed << 1, owed << 1 | 1))
        return held

    # -- what must hold -------------------------------------------------------------------------

    def _verify(self, at: Indices) -> None:
        """Invariants 1 to 9 of these frames, whose indices ascend."""
        abi, frames = self.xen.abi, self.xen.frames
        words, count_info = frames.type_array[at], frames.count_array[at]
        count = (words & np.uint64(COUNT)).astype(np.int64)
        held = (count_info & np.uint64(abi.general_count)).astype(np.int64)
        kind = words & np.uint64(abi.type_mask)
        validated, partial, pinned, locked = (
            (words & np.uint64(flag)) != 0 for flag in (VALIDATED, PARTIAL, PINNED, abi.locked)
        )
        level = np.zeros(len(at), np.int8)
        for number in _LEVELS:
            level[kind == np.uint64(abi.table_types[number])] = number
        live, is_table = count > 0, level > 0

        typed = (0 + pinned) + locked + partial
        general = (0 + pinned) + partial + (count_info >= np.uint64(ALLOCATED)) + self._general[at]
        for number in _LEVELS:
            typed += self._typed[number][at]
        for reference, number in self._extra.items():
            place = int(np.searchsorted(at, reference >> 1))
            if place < len(at) and at[place] == reference >> 1:
                (typed if reference & 1 else general)[place] += number

        def require(holds: NDArray[np.bool_], what: str, counted: Indices | None = None) -> None:
            if not holds.all():
                place = int(np.flatnonzero(~holds)[0])
                index = int(at[place])
                number = "" if counted is None else f", counted {counted[place]}"
                raise InvariantViolation(
                    f"mfn {frames.mfn_at(index):x}: {what} (type_info "
                    f"{frames.type_info[index]:016x}, count_info "
                    f"{frames.count_info[index]:016x}{number})"
                )

        require(typed == count, "the type count is the number of uses (1)", typed)
        require(general == held, "the reference count is the number of holders (2)", general)
        mapped = self._typed[1][at] > 0
        require(
            ~mapped | ((kind == np.uint64(abi.writable)) & validated),
            "a page that an L1 maps writable is typed so (3)",
        )
        require(~pinned | (validated & live), "a pinned page is a live table (4)")
        require(
            ~partial | (is_table & (count == 1) & ~validated),
            "a half-done page is a table with one use, not validated (5)",
        )
        require(~is_table | live | ~validated, "a table without uses is not validated (6)")
        require(~locked | (count >= 2), "a page lock holds a second use of the type (7)")
        for number in _LEVELS[1:]:
            entered = self._typed[number][at] > 0
            linear = (level == number) & (self._writing[number][at] == 0)
            require(
                ~entered | (((level == number - 1) | linear) & validated & live),
                f"an entry of an L{number} points to a live L{number - 1}, or read-only to a "
                f"live L{number} (8)",
            )
        require(held >= count - locked, "who uses a type holds a reference, too (9)")

    def _verify_linear_counts(self) -> None:
        """Invariant 11: same-level entries are counted in the table and in their target."""
        xen = self.xen
        counts = {index: count for index, count in xen.linear_counts.items() if count}
        owed = any(vcpu.holds or vcpu.old_guest_table != NO_TABLE for vcpu in xen.vcpus)
        if owed or not xen.abi.linear_counts:
            return  # an operation counts an entry before it writes it
        found: Counter[int] = Counter()
        for index, seen in self._tables.items():
            if seen.level == 1:
                continue
            for target in seen.typed.tolist():
                if xen.abi.level(xen.frames.type_info[target]) == seen.level:
                    found[index] += 1
                    found[target] -= 1
        if counts != {index: count for index, count in found.items() if count}:
            raise InvariantViolation(
                f"linear page tables are counted as {counts}, and there are {dict(found)} (11)"
            )

    def _verify_translations(self) -> None:
        """Invariant 12: no CPU still has a writable translation of a table, or of descriptors."""
        xen, frames = self.xen, self.xen.frames
        for pcpu, loaded in enumerate(xen.clock.loaded):
            for page, (mfn, writable) in loaded.items():
                index = frames.index(mfn) if writable else NOT_RAM
                if index == NOT_RAM:
                    continue
                word = frames.type_info[index]
                guarded = xen.abi.level(word) or word & xen.abi.type_mask == xen.abi.seg_desc
                if guarded and word & VALIDATED and word & COUNT:
                    raise InvariantViolation(
                        f"CPU {pcpu} can still write to mfn {mfn:x} ({word:016x}) through a stale "
                        f"translation of {page << PAGE_SHIFT:x} (12)"
                    )
