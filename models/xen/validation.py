"""Validation and teardown of tables above L1, entry by entry, with what can interrupt them.

Source: xen/arch/x86/mm.c, alloc_l2_table ... free_l4_table (promote_/demote_ since 4.14),
get_page_from_l2e ... put_page_from_l4e, and the linear page tables' get_lN_linear_pagetable.
"""

from models.machine.entries import (
    ACCESSED,
    ENTRIES,
    INVALID_MFN,
    PAGE_SHIFT,
    PRESENT,
    PSE,
    RW,
    USER,
    flags24,
    mfn_of,
)
from models.machine.frames import NOT_RAM
from models.xen.abi import COUNT, PARTIAL, RESERVED_L4_SLOTS, VALIDATED
from models.xen.console import c_hex
from models.xen.errno import EINTR, EINVAL, ERESTART
from models.xen.l1_tables import demote_l1, promote_l1
from models.xen.page_type import get_page_type, put_page_type
from models.xen.references import get_page_or_say, put_page
from models.xen.state import CONSOLE_LINE, Progress, Vcpu, Xen
from sim.effects import PREEMPT_POINT, STEP, Activity, Spend

_LINEAR_SLOT = 258
"""The L4 slot in which Xen lets a table map itself (LINEAR_PT_VIRT_START)."""


def promote(xen: Xen, vcpu: Vcpu, mfn: int, level: int, *, preemptible: bool) -> Activity:
    """The activity that validates a page as a table of this level: 0 or a negative errno."""
    if level == 1:
        return promote_l1(xen, vcpu, mfn)
    return _promote_upper(xen, vcpu, mfn, level, preemptible=preemptible)


def demote(
    xen: Xen, vcpu: Vcpu, mfn: int, level: int, *, partial: bool, preemptible: bool
) -> Activity:
    """The activity that takes a table of this level apart: 0, -EINTR or -ERESTART."""
    if level == 1:
        return demote_l1(xen, vcpu, mfn)
    return _demote_upper(xen, vcpu, mfn, level, partial=partial, preemptible=preemptible)


def slots_of(level: int) -> list[int]:
    """The slots of a table that are the guest's."""
    return [slot for slot in range(ENTRIES) if level != 4 or slot not in RESERVED_L4_SLOTS]


def _checks_preemption(xen: Xen, level: int) -> bool:
    """Does validation look for a reason to stop before each entry of a table of this level?"""
    return level == 2 or (level == 3 and xen.abi.preempts_l3)


def _promote_upper(xen: Xen, vcpu: Vcpu, mfn: int, level: int, *, preemptible: bool) -> Activity:
    words = xen.frames.words(mfn)
    progress = xen.progress[mfn]
    start, partial = progress.next_slot, progress.partial
    checks = preemptible and _checks_preemption(xen, level)
    present = absent = 0
    rc = 0
    for slot in slots_of(level):
        if slot < start:
            continue
        entry = words[slot]
        rc = 0
        if (
            checks
            and slot > (start if xen.abi.progress_before_preemption else 0)
            and (yield PREEMPT_POINT)
        ):
            rc = -EINTR
        elif not entry & PRESENT:
            absent += 1
        else:
            present += 1
            rc = yield from get_page_from_upper(
                xen, vcpu, mfn, level, entry, preemptible=preemptible, partial=partial, retain=True
            )
        partial = False
        if rc == -ERESTART:
            progress.next_slot, progress.partial = slot, True
            break
        if rc == -EINTR:
            if slot:
                progress.next_slot, progress.partial = slot, False
                rc = -ERESTART
            break
        if rc:
            yield from _give_up(xen, vcpu, mfn, level, slot, rc)
            break
        if entry & PRESENT:
            yield STEP
            words[slot] = adjust_upper(xen, level, entry)
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


def _give_up(xen: Xen, vcpu: Vcpu, mfn: int, level: int, slot: int, rc: int) -> Activity:
    """An entry was refused: undo what was done, in the version's own way."""
    yield from xen.warn(
        vcpu, f"failure_in_promote_l{level}", rc=rc, slot=slot, hex_slot=c_hex(slot)
    )
    if xen.abi.defers_teardown:
        if slot:
            # A child parked by its own failure hands its reference over to our entry.
            parked = vcpu.old_guest_table != INVALID_MFN
            xen.progress[mfn] = Progress(slot, partial=parked)
            vcpu.old_guest_table = mfn
        return
    words = xen.frames.words(mfn)
    for previous in reversed(slots_of(level)):
        if previous < slot:
            yield from put_page_from_upper(xen, vcpu, mfn, level, words[previous])


def _demote_upper(
    xen: Xen, vcpu: Vcpu, mfn: int, level: int, *, partial: bool, preemptible: bool
) -> Activity:
    """Give back the references of a table's entries, the last one first."""
    words = xen.frames.words(mfn)
    progress = xen.progress.get(mfn, Progress(ENTRIES)) if partial else Progress(ENTRIES)
    xen.progress[mfn] = progress
    half_done = progress.partial
    # Interrupted at an entry, that entry is taken up again if it is half done itself.
    start = progress.next_slot + half_done
    dropped = 0
    rc = 0
    for slot in reversed(slots_of(level)):
        if slot >= start:
            continue
        entry = words[slot]
        if entry & PRESENT:
            dropped += 1
            rc = yield from put_page_from_upper(
                xen, vcpu, mfn, level, entry, preemptible=preemptible, partial=half_done
            )
        half_done = False
        if rc == -ERESTART:
            progress.next_slot, progress.partial = slot, True
            break
        if rc == -EINTR:
            if slot < ENTRIES - 1:
                progress.next_slot, progress.partial = slot + 1, False
                rc = -ERESTART
            break
        checks = preemptible and slot and level < 4 and xen.abi.preempts_l3
        if checks and (yield PREEMPT_POINT):
            progress.next_slot, progress.partial = slot, False
            rc = -ERESTART
            break
    yield Spend("validate_upper_present_entry", dropped)
    if rc == 0:
        xen.counters["page_type_devalidations", f"L{level}"] += 1
    return rc


def get_page_from_upper(
    xen: Xen,
    vcpu: Vcpu,
    table: int,
    level: int,
    entry: int,
    *,
    preemptible: bool,
    partial: bool = False,
    retain: bool = False,
) -> Activity:
    """Take the references of an entry of an L2, L3 or L4 table: 0 or a negative errno.

    ``partial``: this very entry left its child half validated, and (4.17) holds its general
    reference since; ``retain`` is how it came to hold it.
    """
    abi = xen.abi
    if entry & xen.bad_flags[level] and not _old_superpage(xen, level, entry):
        yield from xen.warn(
            vcpu, f"bad_flags_l{level}", flags=flags24(entry & xen.bad_flags[level])
        )
        return -EINVAL
    if _old_superpage(xen, level, entry):
        yield from xen.warn(vcpu, "superpage")
        return -EINVAL
    mfn = mfn_of(entry)
    want = abi.table_types[level - 1]
    preemptible = preemptible and level > 2
    keeps = partial and abi.keeps_partial_references
    yield STEP
    index = xen.frames.index(mfn) if keeps else (yield from get_page_or_say(xen, vcpu, mfn))
    rc = -EINVAL
    if index != NOT_RAM:
        rc = yield from get_page_type(xen, vcpu, mfn, index, want, preemptible=preemptible)
        retained = abi.keeps_partial_references and (
            keeps or (retain and rc == -ERESTART) or vcpu.old_guest_table == mfn
        )
        if rc and not retained:
            yield STEP
            put_page(xen, index)
        if rc and level == 2 and abi.collapses_l1_errors:
            rc = -EINVAL  # get_page_type() tells yes or no
    if rc == -EINVAL and (yield from _get_linear(xen, vcpu, table, level, entry)):
        rc = 0
    return rc


def _old_superpage(xen: Xen, level: int, entry: int) -> bool:
    """Is it a 2 MiB mapping for the versions that could be told to allow them?"""
    return (
        level == 2
        and bool(entry & PSE)
        and "superpage" in xen.abi.text
        and not (entry & xen.bad_flags[2] & ~PSE)
    )


def put_page_from_upper(
    xen: Xen,
    vcpu: Vcpu,
    table: int,
    level: int,
    entry: int,
    *,
    preemptible: bool = False,
    partial: bool = False,
) -> Activity:
    """Give back the references of an entry of an L2, L3 or L4 table: 0, -EINTR, -ERESTART."""
    mfn = mfn_of(entry)
    if not entry & PRESENT or mfn == table:
        return 0
    frames = xen.frames
    index = frames.index(mfn)
    if partial and xen.abi.keeps_partial_references and not frames.type_info[index] & PARTIAL:
        # Somebody else has finished the child meanwhile; only our reference is left.
        yield STEP
        put_page(xen, index)
        return 0
    linear = xen.abi.linear_counts and xen.abi.level(frames.type_info[index]) == level
    rc: int = yield from put_page_type(xen, vcpu, mfn, index, preemptible=preemptible)
    if rc == 0:
        if linear:
            count_linear(xen, table, mfn, -1)
        yield STEP
        put_page(xen, index)
    return rc


def adjust_upper(xen: Xen, level: int, entry: int) -> int:
    """An entry of an upper table as Xen stores it for a 64-bit guest."""
    if not entry & PRESENT:
        return entry
    if level == 4 and xen.abi.sets_l4_accessed:
        entry |= ACCESSED
    return entry | USER


def count_linear(xen: Xen, table: int, target: int, change: int) -> None:
    """One same-level entry more or less, in the table that has it and the one it points to."""
    counts = xen.linear_counts
    counts[table] = counts.get(table, 0) + change
    counts[target] = counts.get(target, 0) - change


def _get_linear(xen: Xen, vcpu: Vcpu, table: int, level: int, entry: int) -> Activity:
    """May the entry point to a table of its own level, read-only?"""
    if entry & RW:
        if xen.console.warn_linear(vcpu.number, level):
            yield CONSOLE_LINE
        return False
    mfn = mfn_of(entry)
    if mfn == table:
        return True
    yield STEP
    index = yield from get_page_or_say(xen, vcpu, mfn)
    if index == NOT_RAM:
        return False
    abi, words = xen.abi, xen.frames.type_info
    yield STEP
    word = words[index]
    chained = abi.linear_counts and (
        xen.linear_counts.get(table, 0) < 0 or xen.linear_counts.get(mfn, 0) > 0
    )
    fits = word & (abi.type_mask | VALIDATED) == abi.table_types[level] | VALIDATED
    if chained or not fits or word & COUNT == COUNT:
        put_page(xen, index)
        return False
    words[index] = word + 1
    if abi.linear_counts:
        count_linear(xen, table, mfn, 1)
    return True


def _fill_reserved_slots(xen: Xen, mfn: int) -> None:
    """Xen puts its own entries into a new L4. Only the one that maps the table itself matters."""
    words = xen.frames.words(mfn)
    for slot in RESERVED_L4_SLOTS:
        words[slot] = 0
    words[_LINEAR_SLOT] = mfn << PAGE_SHIFT | 0x63
