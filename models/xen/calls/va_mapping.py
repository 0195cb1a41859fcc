"""update_va_mapping: the entry of a virtual address in the current address space.

Source: xen/arch/x86/mm.c, do_update_va_mapping; pv/mm.c, map_guest_l1e (include/asm-x86/
paging.h, guest_map_l1e before 4.10).
"""

from models.machine.entries import transition
from models.machine.frames import DOMID_IO, NOT_RAM
from models.machine.walk import find_l1_entry
from models.xen.calls.mmu_update import Slot, mod_l1_entry
from models.xen.hypercalls import UpdateVaMapping
from models.xen.pages.flushes import (
    FLUSH_LOCAL,
    INVLPG,
    flush_everywhere,
    flush_local,
    flush_pcpus,
    guest_may_use,
    pcpus_of,
)
from models.xen.pages.owners import find_page_owner, may_work_on
from models.xen.pages.page_type import page_lock
from models.xen.pages.references import get_page, put_page, say_no_page_ref
from models.xen.paging.shadow import write_entry
from models.xen.state import Vcpu, Xen
from models.xen.versions.errno import EFAULT, EINVAL, EPERM
from models.xen.versions.paging import Paging
from models.xen.words import (
    DOMID_SELF,
    UVMF_ALL,
    UVMF_FLUSH_TYPE,
    UVMF_INVLPG,
    UVMF_LOCAL,
    UVMF_TLB_FLUSH,
)
from sim.effects import STEP, Activity, Spend

UPDATE = Spend("update_va_mapping_body")

_FLUSHES = {UVMF_TLB_FLUSH: "TLB", UVMF_INVLPG: "INVLPG"}
_SCOPES = {UVMF_LOCAL: "_LOCAL", UVMF_ALL: "_ALL"}


def do_update_va_mapping(xen: Xen, vcpu: Vcpu, call: UpdateVaMapping) -> Activity:
    """Change the entry and flush as asked: 0 or a negative errno.

    Source: mm.c:do_update_va_mapping.
    """
    yield UPDATE
    pg_owner = xen.domid
    if call.foreign != DOMID_SELF:
        pg_owner = yield from find_page_owner(xen, vcpu, call.foreign)
        if pg_owner < 0:
            return pg_owner
        if pg_owner != DOMID_IO and not may_work_on(xen, pg_owner):
            return -EPERM
    rc: int = yield from _update(xen, vcpu, call, pg_owner)
    if not call.flags & UVMF_FLUSH_TYPE:
        xen.counters["update_va_mapping_by_flush", "none"] += 1
        return rc
    if rc and not xen.abi.flushes_after_failure:
        return rc
    return (yield from _flush(xen, vcpu, call.va, call.flags, rc))


def _update(xen: Xen, vcpu: Vcpu, call: UpdateVaMapping, pg_owner: int) -> Activity:
    """Find the entry and change it: 0 or a negative errno.

    Source: mm.c:__do_update_va_mapping.
    """
    yield STEP
    walk = find_l1_entry(xen.frames, vcpu.cr3, call.va)
    rc = -EINVAL
    if walk is None or (xen.abi.checks_address and not guest_may_use(call.va)):
        return rc
    table, slot, _ = walk
    if xen.paging is Paging.SHADOW:
        yield from write_entry(xen, vcpu, table, slot, call.entry)
        return 0
    domid = xen.domid
    index = get_page(xen, vcpu, table, domid)
    if index == NOT_RAM:
        yield from say_no_page_ref(xen, vcpu, table, domid)
        return rc
    lock = page_lock(xen, table, index)
    if (yield lock.to_take):
        if xen.frames.type_info[index] & xen.abi.type_mask == xen.abi.l1:
            old = xen.frames.pages[table][slot]
            rc = yield from mod_l1_entry(xen, vcpu, Slot(table, slot, domid, pg_owner), call.entry)
            change = transition(old, call.entry)
            xen.counters["update_va_mapping_by_transition", change] += 1
            if xen.trace is not None:
                xen.trace("U", call.va, call.entry, call.flags, old, rc)
        yield lock.to_release
    yield STEP
    put_page(xen, vcpu, index)
    return rc


def _flush(xen: Xen, vcpu: Vcpu, va: int, flags: int, rc: int) -> Activity:
    """What the flags ask for. Old versions let the bitmap's result hide that of the update.

    Source: mm.c:__do_update_va_mapping.
    """
    kind, scope = flags & UVMF_FLUSH_TYPE, flags & ~UVMF_FLUSH_TYPE
    if kind not in _FLUSHES:
        xen.counters["update_va_mapping_by_flush", "none"] += 1
        return rc
    name = _FLUSHES[kind] + _SCOPES.get(scope, "_MULTI")
    xen.counters["update_va_mapping_by_flush", name] += 1
    page = None if kind == UVMF_TLB_FLUSH else va
    if scope == UVMF_LOCAL:
        yield FLUSH_LOCAL if page is None else INVLPG
        yield STEP
        flush_local(xen, vcpu, page)
    elif scope == UVMF_ALL:
        yield from flush_everywhere(xen, vcpu, page)
    else:
        pcpus = pcpus_of(xen, scope)
        if pcpus is None:
            return -EFAULT
        rc = 0
        yield from flush_pcpus(xen, vcpu, pcpus, page)
    return rc
