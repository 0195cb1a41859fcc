"""Shadow paging: the CPU walks tables of Xen's own, made after the guest's.

A guest whose references are kept by its shadows (paging_mode_refcounts) has no page types to mind:
nothing needs to be read-only or pinned, and any of its pages may be a table. Xen has to hear of
every change instead. From the moment that a page is used as a table it is *shadowed*: no shadow
maps it writable, a store to it faults, and Xen makes the store and brings the entry that it
changed into the shadow.

Choices of this model. A table is shadowed when it is entered into a table that is (or loaded as a
base), and all of its entries are brought into the shadow at once. Xen does it when the CPU first
walks through, and entry by entry with a few neighbours: the same work, later and in pieces. A
shadow stays. What its entries hold of the pages they map is not counted. The TLBs are flushed if
one has loaded a writable translation of the page; Xen asks whether some shadow has one.
update_va_mapping changes its entry whatever the type of the page. (The functions behind it know
this mode, but 4.1 and later ask for a page typed as an L1 first, which such a guest has none of: by
then no PV guest was run so any more.)

Source: Xen arch/x86/mm/shadow/multi.c (sh_page_fault, sh_make_shadow, validate_gl4e ..
validate_gl1e, sh_emulate_write), common.c (sh_validate_guest_entry), mm.c (do_mmuext_op:
paging_mode_refcounts).
"""

from models.machine.entries import ENTRIES, PAGE_SIZE, PRESENT, PSE, mfn_of
from models.machine.frames import NOT_RAM
from models.machine.tlb import Translation
from models.machine.walk import find_page
from models.xen.hypercalls import Emulation
from models.xen.pages.flushes import flush_everywhere
from models.xen.state import Vcpu, Xen
from models.xen.words import RESERVED_L4_SLOTS
from sim.effects import STEP, Activity, Spend

ENTRY = Spend("shadow_rebuild_per_entry")
_TABLE = Spend("shadow_rebuild_per_entry", ENTRIES)


def reached(xen: Xen, vcpu: Vcpu, va: int) -> Translation | None:
    """Where the shadows lead: as the guest's tables do, but a shadowed page cannot be written."""
    found = find_page(xen.frames, vcpu.cr3, va)
    if found is None or found.mfn not in xen.shadows:
        return found
    return Translation(found.mfn, writable=False)


def write_fault(xen: Xen, vcpu: Vcpu, va: int, value: int) -> Activity:
    """A store has faulted: made, if the guest's own tables allow it. An :class:`Emulation`.

    Source: mm/shadow/multi.c:sh_page_fault, sh_x86_emulate_write.
    """
    yield STEP
    found = find_page(xen.frames, vcpu.cr3, va)
    if found is None or not found.writable:
        return Emulation.FAULT
    xen.counters["shadow", "write_faults"] += 1
    yield from write_entry(xen, vcpu, found.mfn, (va & PAGE_SIZE - 1) >> 3, value)
    return Emulation.FIXED


def write_entry(xen: Xen, vcpu: Vcpu, mfn: int, slot: int, value: int) -> Activity:
    """Write an entry of a guest's table, and bring it into the shadow if there is one.

    Source: include/asm-x86/paging.h:paging_write_guest_entry; mm/shadow/common.c:
    sh_validate_guest_entry.
    """
    yield STEP
    xen.frames.words(mfn)[slot] = value
    level = xen.shadows.get(mfn)
    if level is None:
        return
    xen.counters["shadow", "entries"] += 1
    yield ENTRY
    if level > 1 and not (level == 4 and slot in RESERVED_L4_SLOTS):
        yield from _shadow_child(xen, vcpu, value, level - 1)


def make_shadow(xen: Xen, vcpu: Vcpu, mfn: int, level: int) -> Activity:
    """Shadow a page as a table of this level, and the tables below it; nothing if it is done.

    Source: mm/shadow/multi.c:sh_make_shadow.
    """
    if mfn in xen.shadows:
        return
    yield STEP
    xen.shadows[mfn] = level
    xen.counters["shadow", f"l{level}_shadows"] += 1
    xen.counters["shadow", "entries"] += ENTRIES
    yield _TABLE
    held = (found for loaded in xen.clock.loaded for found in loaded.values())
    if any(found.mfn == mfn and found.writable for found in held):
        yield from flush_everywhere(xen, vcpu)
    if level > 1:
        for slot, entry in enumerate(xen.frames.array(mfn).tolist()):
            if not (level == 4 and slot in RESERVED_L4_SLOTS):
                yield from _shadow_child(xen, vcpu, entry, level - 1)


def _shadow_child(xen: Xen, vcpu: Vcpu, entry: int, level: int) -> Activity:
    """Shadow the table that an entry points to, if it points to one of the guest's.

    Source: mm/shadow/multi.c:shadow_get_and_create_l1e (and l2e, l3e).
    """
    child = mfn_of(entry)
    if entry & PRESENT and not entry & PSE and xen.frames.index(child) != NOT_RAM:
        yield from make_shadow(xen, vcpu, child, level)
