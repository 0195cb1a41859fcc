"""L1 tables as a whole: validated and taken apart, 512 entries at a time.

The entry-by-entry bodies are the definition; :mod:`models.xen.pages.l1_vectorised` does the same
work at once where it can. Source: xen/arch/x86/mm.c, alloc_l1_table and free_l1_table
(promote_l1_table and demote_l1_table since 4.14).
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from models.machine.entries import ENTRIES, PRESENT
from models.machine.frames import Words
from models.xen.console import c_hex
from models.xen.pages.l1_entries import (
    adjust_l1e,
    get_page_from_l1e,
    hand_over_l1e,
    put_page_from_l1e,
    take_over_l1e,
    warn_global_kernel,
)
from models.xen.pages.l1_vectorised import demote_at_once, promote_at_once
from models.xen.state import Progress, Vcpu, Xen
from sim.effects import DECLINED, STEP, Activity, Declined, Spend, in_bulk

_FULL_TABLE = (Spend("pin_l1_per_present_pte", ENTRIES),)


def promote_l1(xen: Xen, vcpu: Vcpu, mfn: int, index: int) -> Activity:
    """Validate a page as an L1: take the references of all its entries, or of none.

    Returns 0 or a negative errno.

    Source: mm.c:alloc_l1_table (promote_l1_table).
    """
    words = xen.frames.words(mfn)
    table = xen.frames.array(mfn)
    owner = xen.frames.owner[index]
    progress = xen.progress[mfn]
    scanned = ENTRIES
    full = False

    def promote_entry(slot: int) -> Activity:
        nonlocal scanned
        entry = words[slot]
        if not entry & PRESENT:
            return None
        stored: int = yield from get_page_from_l1e(xen, vcpu, entry, owner, owner)
        if stored < 0:
            scanned = slot + 1
            yield from xen.warn(
                vcpu, "failure_in_promote_l1", rc=stored, slot=slot, hex_slot=c_hex(slot)
            )
            validated = xen.frames.slots_down(mfn, slot)
            yield from _put_entries(xen, vcpu, words, validated, progress)
            return stored
        yield from warn_global_kernel(xen, vcpu, entry)
        yield STEP
        words[slot] = adjust_l1e(stored)
        progress.next_slot = slot + 1
        hand_over_l1e(xen, vcpu, stored)
        return None

    def at_once() -> Declined | None:
        nonlocal full
        present = promote_at_once(xen, table) if owner == xen.domid else DECLINED
        if present is DECLINED:
            return DECLINED
        full = present == ENTRIES
        progress.next_slot = ENTRIES
        return None

    stopped: int | None = yield from in_bulk(xen.frames.slots_up(mfn), promote_entry, at_once)
    present = ENTRIES if full else _present(table[:scanned])
    yield from count_validation(xen, scanned, present)
    if xen.trace is not None:
        xen.trace("V", 1, mfn, 0, present, stopped or 0)
    return stopped or 0


def count_validation(xen: Xen, scanned: int, present: int) -> tuple[Spend, ...]:
    """Count a validation that looked at so many entries; what that costs."""
    counters = xen.counters
    counters["validated_entries", "L1"] += scanned
    counters["page_type_validations", "L1"] += 1
    counters["present_entries_scanned_in_validations", "L1"] += present
    if present == ENTRIES:
        counters["L1_validations_by_present_entries", "512"] += 1
        return _FULL_TABLE
    counters["L1_validations_by_present_entries", str(present)] += 1
    return (
        Spend("pin_l1_per_present_pte", present),
        Spend("pin_l1_per_absent_pte", scanned - present),
    )


def demote_l1(xen: Xen, vcpu: Vcpu, mfn: int) -> Activity:
    """Give back the references of all entries of an L1 that is one no more.

    Source: mm.c:free_l1_table (demote_l1_table).
    """
    words = xen.frames.words(mfn)
    progress = xen.progress[mfn] = Progress(ENTRIES)

    def demote_entry(slot: int) -> Activity:
        return _put_entries(xen, vcpu, words, range(slot, slot + 1), progress)

    def at_once() -> Declined | None:
        if demote_at_once(xen, xen.frames.array(mfn)) is DECLINED:
            return DECLINED
        progress.next_slot = 0
        return None

    yield from in_bulk(xen.frames.slots_down(mfn), demote_entry, at_once)
    present = _present(xen.frames.array(mfn))
    xen.counters["page_type_devalidations", "L1"] += 1
    yield Spend("unpin_l1_per_present_pte", present)
    return 0


def _put_entries(
    xen: Xen, vcpu: Vcpu, words: Words, slots: Iterable[int], progress: Progress
) -> Activity:
    """Give back the references of these entries, from the last one down.

    Source: mm.c:put_page_from_l1e.
    """
    for slot in slots:
        entry = words[slot]
        if entry & PRESENT:
            take_over_l1e(xen, vcpu, entry)
            progress.next_slot = slot
            yield from put_page_from_l1e(xen, vcpu, entry)


def _present(table: NDArray[np.uint64]) -> int:
    """How many entries are present. One byte of each is enough to look at."""
    return int(np.count_nonzero(table.view(np.uint8)[::8] & PRESENT))
