"""Validation and teardown of tables above L1, entry by entry, with what can interrupt them.

Source: xen/arch/x86/mm.c, alloc_l2_table ... free_l4_table (promote_/demote_ since 4.14),
get_page_from_l2e ... put_page_from_l4e, and the linear page tables' get_lN_linear_pagetable.
"""

from functools import partial
from typing import NamedTuple

from models.machine.entries import (
    ACCESSED,
    ENTRIES,
    PAGE_SHIFT,
    PRESENT,
    PSE,
    RW,
    USER,
    flags24,
    mfn_of,
)
from models.machine.frames import NOT_RAM
from models.xen.console import c_hex
from models.xen.pages.l1_tables import demote_l1, promote_l1
from models.xen.pages.old_tables import put_off
from models.xen.pages.page_type import count_linear, get_page_type, put_page_type
from models.xen.pages.references import get_page_or_say, hand_over, put_page, take_over
from models.xen.pages.upper_at_once import promote_upper_at_once
from models.xen.state import NO_TABLE, Progress, TableBodies, Vcpu, Xen
from models.xen.versions.errno import EINTR, EINVAL, ERESTART
from models.xen.versions.panic import NotModelled
from models.xen.words import COUNT, RESERVED_L4_SLOTS, VALIDATED
from sim.effects import DECLINED, STEP, Activity, PreemptPoints, Spend, Unbroken

_LINEAR_SLOT = 258
"""The L4 slot in which Xen lets a table map itself (LINEAR_PT_VIRT_START)."""
_ALL_SLOTS = ((0, ENTRIES),)
_GUESTS_L4_SLOTS = ((0, RESERVED_L4_SLOTS.start), (RESERVED_L4_SLOTS.stop, ENTRIES))


def promote(
    xen: Xen, vcpu: Vcpu, mfn: int, index: int, level: int, *, preemptible: bool
) -> Activity:
    """The activity that validates a page as a table of this level: 0 or a negative errno.

    Source: mm.c:alloc_page_type (validate_page).
    """
    if level == 1:
        return promote_l1(xen, vcpu, mfn, index)
    return _promote_upper(xen, vcpu, Table(mfn, index, level), preemptible=preemptible)


def demote(
    xen: Xen,
    vcpu: Vcpu,
    mfn: int,
    index: int,
    level: int,
    *,
    partial: bool,
    preemptible: bool,
) -> Activity:
    """The activity that takes a table of this level apart: 0, -EINTR or -ERESTART.

    Source: mm.c:free_page_type (devalidate_page).
    """
    if level == 1:
        return demote_l1(xen, vcpu, mfn)
    if not partial:
        xen.progress[mfn] = Progress(ENTRIES)
    return _demote_upper(xen, vcpu, Table(mfn, index, level), preemptible=preemptible)


class Table(NamedTuple):
    """A table above L1."""

    mfn: int
    frame: int
    """Its index in the frame table."""
    level: int


def next_slot(xen: Xen, table: Table, start: int) -> int:
    """The first slot of the guest's from ``start`` on with a present entry; ENTRIES if none has.

    Source: include/asm-x86/mm.h:is_guest_l4_slot.
    """
    for low, end in _guests_slots(table.level):
        if start < end:
            slot = xen.frames.next_present(table.mfn, max(low, start), end)
            if slot < end:
                return slot
    return ENTRIES


def previous_slot(xen: Xen, table: Table, end: int) -> int:
    """The last slot of the guest's below ``end`` with a present entry; -1 if none has."""
    for low, high in reversed(_guests_slots(table.level)):
        if low < end:
            slot = xen.frames.previous_present(table.mfn, low, min(high, end))
            if slot >= low:
                return slot
    return -1


def _guests_slots(level: int) -> tuple[tuple[int, int], ...]:
    """The slots of a table that are the guest's, as ranges."""
    return _GUESTS_L4_SLOTS if level == 4 else _ALL_SLOTS


def _between(level: int, start: int, end: int) -> int:
    """How many slots in [start, end) are the guest's."""
    return sum(max(0, min(high, end) - max(low, start)) for low, high in _guests_slots(level))


def _checks_preemption(xen: Xen, level: int) -> bool:
    """Does validation look for a reason to stop before each entry of a table of this level?"""
    return level == 2 or (level == 3 and xen.abi.preempts_l3)


def _preempted_after(vcpu: Vcpu, n: int) -> Activity:
    """Look ``n`` times in a row for a reason to stop: how often in vain; None if there is none.

    Source: xen/sched.h, hypercall_preempt_check().
    """
    if n <= 0:
        return None
    if vcpu.softirq:
        return 0
    noes: int = yield PreemptPoints(n)
    return noes if noes < n else None


def _promote_upper(xen: Xen, vcpu: Vcpu, table: Table, *, preemptible: bool) -> Activity:
    """Validate a table from where it was left: 0 or a negative errno.

    Source: mm.c:alloc_l2_table ... alloc_l4_table (promote_l2_table ... promote_l4_table).
    """
    mfn, _, level = table
    start = xen.progress[mfn].next_slot
    rc = 0
    present = yield from _promote_at_once(xen, vcpu, table, preemptible=preemptible)
    if present is None:
        rc, present, absent = yield from _promote_entries(xen, vcpu, table, preemptible=preemptible)
    else:
        absent = ENTRIES - present
    yield Spend("validate_upper_present_entry", present)
    yield Spend("validate_upper_absent_entry", absent)
    counters = xen.counters
    counters["validated_entries", f"L{level}"] += present + absent
    counters["present_entries_scanned_in_validations", f"L{level}"] += present
    if rc == -ERESTART:
        counters["page_type_validation_preempted", f"L{level}"] += 1
    else:
        counters["page_type_validations", f"L{level}"] += 1
    if rc == 0 and level == 4:
        yield STEP
        _fill_reserved_slots(xen, mfn)
    if xen.trace is not None:
        xen.trace("V", level, mfn, start, present, rc)
    return rc


def _promote_at_once(xen: Xen, vcpu: Vcpu, table: Table, *, preemptible: bool) -> Activity:
    """All entries of a table that none has been looked at of, in one: how many are present.

    None where that is not possible, and nothing has been done.

    Source: mm.c:alloc_l2_table, alloc_l3_table (promote_l2_table, promote_l3_table).
    """
    mfn, index, level = table
    progress = xen.progress[mfn]
    checks = preemptible and _checks_preemption(xen, level)
    if level == 4 or progress.next_slot or progress.partial or (checks and vcpu.softirq):
        return None
    present = yield Unbroken(partial(promote_upper_at_once, xen, mfn, index, level))
    if present is DECLINED:
        return None
    progress.next_slot = ENTRIES
    if checks:
        # What would have been asked before each slot but the first: the answer is known.
        yield PreemptPoints(ENTRIES - 1)
    return present


def _promote_entries(xen: Xen, vcpu: Vcpu, table: Table, *, preemptible: bool) -> Activity:
    """Entry by entry: 0 or a negative errno, and how many present and absent ones were seen.

    Source: mm.c:alloc_l2_table ... alloc_l4_table (promote_l2_table ... promote_l4_table).
    """
    mfn, _, level = table
    progress = xen.progress[mfn]
    start, partial_set = progress.next_slot, progress.partial
    checks = preemptible and _checks_preemption(xen, level)
    present = absent = 0
    rc = 0
    # Xen asks before each slot behind this one whether to stop.
    unasked = start if xen.abi.progress_before_preemption else 0
    slot = start
    while slot < ENTRIES:
        # What is absent is one look, with a row of questions; then there is an entry, or the end.
        found = next_slot(xen, table, slot)
        rc = 0
        if checks:
            first = max(slot, unasked + 1)
            stop = yield from _preempted_after(vcpu, min(found + 1, ENTRIES) - first)
            if stop is not None:
                absent += first + stop - slot
                slot, rc = first + stop, -EINTR
        if not rc:
            absent += _between(level, slot, found)
            # It is half done only where it is the first: an absent one cannot be.
            partial_set = partial_set and found == slot
            slot = found
            if slot == ENTRIES:
                break
            present += 1
            rc = yield from _promote_entry(
                xen, vcpu, table, slot, preemptible=preemptible, partial_set=partial_set
            )
        if rc:
            progress.next_slot = slot
            if rc == -EINTR and slot:
                rc = -ERESTART
            elif rc not in (-EINTR, -ERESTART):
                yield from _give_up(xen, vcpu, table, slot, rc, partial_set=partial_set)
            break
        partial_set = False
        slot += 1
    return rc, present, absent


def _promote_entry(
    xen: Xen, vcpu: Vcpu, table: Table, slot: int, *, preemptible: bool, partial_set: bool
) -> Activity:
    """Take the references of a present entry, and store it as Xen does: 0 or a negative errno.

    ``partial_set``: it was left half done, and holds a general reference.

    Source: mm.c:alloc_l2_table ... alloc_l4_table.
    """
    mfn, _, level = table
    progress = xen.progress[mfn]
    words = xen.frames.words(mfn)
    entry = words[slot]
    child = xen.frames.index(mfn_of(entry))
    keeps = xen.abi.keeps_partial_references
    if partial_set:
        take_over(vcpu, child, typed=False)
        progress.partial = False
    rc: int = yield from get_page_from_upper(
        xen, vcpu, table, entry, preemptible=preemptible, partial_set=partial_set, retain=keeps
    )
    if rc == 0:
        yield STEP
        words[slot] = adjust_upper(xen, level, entry)
        progress.next_slot = slot + 1
        hand_over_upper(xen, vcpu, mfn, entry)
    elif rc in (-EINTR, -ERESTART) and (partial_set or (rc == -ERESTART and keeps)):
        if rc == -EINTR and not slot:
            raise NotModelled(f"mfn {mfn:x} is interrupted at its first entry, half done before")
        hand_over(vcpu, child, typed=False)
        progress.next_slot, progress.partial = slot, True
    return rc


def _give_up(
    xen: Xen, vcpu: Vcpu, table: Table, slot: int, rc: int, *, partial_set: bool
) -> Activity:
    """An entry was refused: undo what was done, in the version's own way.

    Source: mm.c:alloc_l2_table ... alloc_l4_table.
    """
    mfn, _, level = table
    yield from xen.warn(
        vcpu, f"failure_in_promote_l{level}", rc=rc, slot=slot, hex_slot=c_hex(slot)
    )
    words = xen.frames.words(mfn)
    progress = xen.progress[mfn]
    if xen.abi.defers_teardown:
        child = mfn_of(words[slot])
        parked = vcpu.old_guest_table
        if parked != child and (parked != NO_TABLE if slot else partial_set):
            raise NotModelled(
                f"mfn {mfn:x} fails at slot {slot:#x}, and a table below that entry is half done"
            )
        if slot:
            # A child parked by its own failure hands its reference over to our entry.
            if partial_set and parked != child:
                hand_over(vcpu, xen.frames.index(child), typed=False)
            progress.partial = partial_set or parked == child
            # The caller's reference to this table goes with it.
            put_off(xen, vcpu, mfn, partial=True)
        return
    while (slot := previous_slot(xen, table, slot)) >= 0:
        progress.next_slot = slot
        take_over_upper(xen, vcpu, mfn, words[slot])
        yield from put_page_from_upper(xen, vcpu, table, words[slot])


def _demote_upper(xen: Xen, vcpu: Vcpu, table: Table, *, preemptible: bool) -> Activity:
    """Give back the references of a table's entries, the last one first.

    Source: mm.c:free_l2_table ... free_l4_table (demote_l2_table ... demote_l4_table).
    """
    mfn, _, level = table
    words = xen.frames.words(mfn)
    progress = xen.progress[mfn]
    # Interrupted at an entry, that entry is taken up again if it is half done itself.
    partial_set = progress.partial
    start = progress.next_slot + partial_set
    checks = preemptible and level < 4 and xen.abi.preempts_l3
    dropped = 0
    rc = 0
    # Xen asks behind each slot but the first one whether to stop.
    slot, last = start, start - 1
    while True:
        found = previous_slot(xen, table, slot)
        if checks:
            stop = yield from _preempted_after(vcpu, last - max(found, 0))
            if stop is not None:
                progress.next_slot = last - stop
                rc = -ERESTART
                break
        partial_set = partial_set and found == slot - 1
        slot = last = found
        if slot < 0:
            break
        entry = words[slot]
        if mfn_of(entry) != mfn:
            dropped += 1
            progress.next_slot, progress.partial = slot, False
            take_over_upper(xen, vcpu, mfn, entry, typed=not partial_set)
            rc = yield from put_page_from_upper(
                xen, vcpu, table, entry, preemptible=preemptible, partial_set=partial_set
            )
        if rc == -ERESTART:
            hand_over_upper(xen, vcpu, mfn, entry, typed=False)
            progress.partial = True
            break
        if rc == -EINTR:
            hand_over_upper(xen, vcpu, mfn, entry, typed=not partial_set)
            progress.next_slot, progress.partial = slot + (not partial_set), partial_set
            if slot < ENTRIES - 1:
                rc = -ERESTART
            break
        partial_set = False
    yield Spend("validate_upper_present_entry", dropped)
    if rc == 0:
        xen.counters["page_type_devalidations", f"L{level}"] += 1
    return rc


def get_page_from_upper(
    xen: Xen,
    vcpu: Vcpu,
    table: Table,
    entry: int,
    *,
    preemptible: bool,
    partial_set: bool = False,
    retain: bool = False,
) -> Activity:
    """Take the references of an entry of an L2, L3 or L4 table: 0 or a negative errno.

    ``partial_set``: the operation has the entry's general reference already, and keeps it whatever
    comes; ``retain``: it keeps one for a child that is left half done, too.

    Source: mm.c:get_page_from_l2e ... get_page_from_l4e.
    """
    level = table.level
    if entry & (bad := xen.bad_flags[level]):
        yield from xen.warn(vcpu, f"bad_flags_l{level}", flags=flags24(entry & bad))
        return -EINVAL
    if level == 2 and entry & PSE:
        # There are superpages in this version, but not without a boot option.
        yield from xen.warn(vcpu, "superpage")
        return -EINVAL
    child = mfn_of(entry)
    owner = xen.frames.owner[table.frame]
    yield STEP
    if partial_set:
        target = xen.frames.index(child)
    else:
        target = yield from get_page_or_say(xen, vcpu, child, owner)
    rc = -EINVAL
    if target != NOT_RAM:
        want = xen.abi.table_types[level - 1]
        rc = yield from get_page_type(
            xen, vcpu, child, target, want, preemptible=preemptible and level > 2
        )
        if rc and not (
            partial_set or (retain and rc == -ERESTART) or vcpu.old_guest_table == child
        ):
            yield STEP
            put_page(xen, vcpu, target)
        if rc and level == 2 and xen.abi.collapses_l1_errors:
            rc = -EINVAL  # get_page_type() tells yes or no
    if rc == -EINVAL and (yield from _get_linear(xen, vcpu, table, entry)):
        rc = 0
    return rc


def put_page_from_upper(
    xen: Xen,
    vcpu: Vcpu,
    table: Table,
    entry: int,
    *,
    preemptible: bool = False,
    partial_set: bool = False,
) -> Activity:
    """Give back the references of an entry of an L2, L3 or L4 table: 0, -EINTR, -ERESTART.

    The operation has taken them over; with ``partial_set``, a general one only.

    Source: mm.c:put_page_from_l2e ... put_page_from_l4e (put_pt_page).
    """
    child = mfn_of(entry)
    if child == table.mfn:
        return 0
    index = xen.frames.index(child)
    rc: int = yield from put_page_type(
        xen,
        vcpu,
        child,
        index,
        preemptible=preemptible,
        partial_set=partial_set,
        parent=table.frame,
    )
    if rc == 0:
        yield STEP
        put_page(xen, vcpu, index)
    return rc


def hand_over_upper(xen: Xen, vcpu: Vcpu, mfn: int, entry: int, *, typed: bool = True) -> None:
    """The references of an entry of a table are the table's from here on."""
    if entry & PRESENT and mfn_of(entry) != mfn:
        hand_over(vcpu, xen.frames.index(mfn_of(entry)), typed=typed)


def take_over_upper(xen: Xen, vcpu: Vcpu, mfn: int, entry: int, *, typed: bool = True) -> None:
    """The references of an entry of a table are the operation's from here on."""
    if entry & PRESENT and mfn_of(entry) != mfn:
        take_over(vcpu, xen.frames.index(mfn_of(entry)), typed=typed)


def adjust_upper(xen: Xen, level: int, entry: int) -> int:
    """An entry of an upper table as Xen stores it for a 64-bit guest.

    Source: mm.c:adjust_guest_l2e ... adjust_guest_l4e (pv/mm.h).
    """
    if not entry & PRESENT:
        return entry
    if level == 4 and xen.abi.sets_l4_accessed:
        entry |= ACCESSED
    return entry | USER


def _get_linear(xen: Xen, vcpu: Vcpu, table: Table, entry: int) -> Activity:
    """May the entry point to a table of its own level, read-only?

    Source: mm.c:get_l2_linear_pagetable ... get_l4_linear_pagetable.
    """
    if entry & RW:
        yield from xen.warn(vcpu, f"linear_l{table.level}")
        return False
    mfn = mfn_of(entry)
    if mfn == table.mfn:
        return True
    yield STEP
    index = yield from get_page_or_say(xen, vcpu, mfn, xen.frames.owner[table.frame])
    if index == NOT_RAM:
        return False
    accepted: bool = yield from _use_linearly(xen, table, index)
    if accepted:
        take_over(vcpu, index, general=False)
    else:
        yield STEP
        put_page(xen, vcpu, index)
    return accepted


def _use_linearly(xen: Xen, table: Table, index: int) -> Activity:
    """Count an entry of a table that points to one of its own level, and use the target's type.

    Later versions refuse chains: a table either has such entries or is the target of some. Two
    CPUs that link two tables to each other can both be refused.

    Source: mm.c:inc_linear_entries, inc_linear_uses.
    """
    abi, words = xen.abi, xen.frames.type_info
    counts = xen.linear_counts
    if abi.linear_counts:
        yield STEP
        if counts.get(table.frame, 0) < 0:
            return False
        counts[table.frame] = counts.get(table.frame, 0) + 1
        yield STEP
        if counts.get(index, 0) > 0:
            yield STEP
            counts[table.frame] -= 1
            return False
        counts[index] = counts.get(index, 0) - 1
    yield STEP
    word = words[index]
    fits = word & (abi.type_mask | VALIDATED) == abi.table_types[table.level] | VALIDATED
    if fits and word & COUNT != COUNT:
        words[index] = word + 1
        return True
    if abi.linear_counts:
        yield STEP
        count_linear(xen, table.frame, index, -1)
    return False


def _fill_reserved_slots(xen: Xen, mfn: int) -> None:
    """Xen puts its own entries into a new L4. Only the one that maps the table itself matters.

    Source: mm.c:alloc_l4_table (init_xen_l4_slots).
    """
    words = xen.frames.words(mfn)
    for slot in RESERVED_L4_SLOTS:
        words[slot] = 0
    words[_LINEAR_SLOT] = mfn << PAGE_SHIFT | 0x63


TABLES = TableBodies(promote, demote)
"""How Xen makes tables and takes them apart."""
