"""mmuext_op: pins, base pointers, TLB and page operations.

Source: xen/arch/x86/mm.c, do_mmuext_op, new_guest_cr3; flushtlb.c.
"""

from models.machine.entries import ENTRIES, INVALID_MFN
from models.machine.frames import NOT_RAM
from models.xen import words as xen_words
from models.xen.hypercalls import MmuextOp, Restart
from models.xen.pages.flushes import (
    FLUSH_LOCAL,
    INVLPG,
    flush_local,
    flush_pcpus,
    pcpus_of,
)
from models.xen.pages.old_tables import finish_old_table, put_off
from models.xen.pages.owners import find_page_owner, may_work_on
from models.xen.pages.page_type import get_page_type, put_page_and_type
from models.xen.pages.references import (
    get_page,
    get_page_or_say,
    hand_over,
    put_page,
    say_no_page,
    take_over,
)
from models.xen.paging.shadow import make_shadow
from models.xen.state import NO_TABLE, Vcpu, Xen
from models.xen.versions.errno import EINTR, EINVAL, ENOSYS, EOPNOTSUPP, EPERM, ERESTART
from models.xen.versions.paging import Paging
from models.xen.versions.panic import NotModelled
from models.xen.words import DOMID_SELF, PINNED
from sim.effects import PREEMPT_POINT, STEP, Activity, Spend, in_bulk

PIN_L1 = Spend("pin_l1_body")
NEW_BASE = Spend("new_baseptr_body")

COUNTERS = {command: ("mmuext_ops", name) for command, name in xen_words.MMUEXT_NAMES.items()}
_UNKNOWN = ("mmuext_ops", "unknown")


def do_mmuext_op(xen: Xen, vcpu: Vcpu, call: MmuextOp) -> Activity:
    """Carry out the operations in order; the return code, or a :class:`Restart`.

    Source: mm.c:do_mmuext_op.
    """
    abi = xen.abi
    if vcpu.old_guest_table != NO_TABLE:
        rc = yield from finish_old_table(xen, vcpu)
        if rc:
            return Restart(call)
    if call.final is not None:
        return call.final
    owner = xen.domid
    if call.foreign != DOMID_SELF:
        owner = yield from find_page_owner(xen, vcpu, call.foreign)
        if owner < 0:
            return owner
        if not may_work_on(xen, owner):
            return -EPERM
    rc = 0
    done = 0
    for command, first, second in call.operations:
        if vcpu.old_guest_table != NO_TABLE or (
            (done or abi.checks_preemption_first) and (yield PREEMPT_POINT)
        ):
            rc = -ERESTART
            break
        if command in LOCAL_FLUSHES and owner == xen.domid:
            # The commonest of all, so without a further activity.
            rc = 0
            yield LOCAL_FLUSHES[command]
            yield STEP
            flush_local(xen, vcpu, first if command == xen_words.INVLPG_LOCAL else None)
        else:
            rc = yield from _operation(xen, vcpu, owner, command, first, second)
            if rc == -ERESTART:
                break
        xen.counters[COUNTERS.get(command, _UNKNOWN)] += 1
        if xen.trace is not None:
            xen.trace("X", command, first, rc)
        if rc:
            break
        done += 1
    vcpu.done = call.done + done
    if rc == -ERESTART:
        return Restart(MmuextOp(call.operations[done:], vcpu.done, foreign=call.foreign))
    if vcpu.old_guest_table != NO_TABLE:
        return Restart(MmuextOp((), vcpu.done, rc))
    return rc


def _operation(xen: Xen, vcpu: Vcpu, owner: int, command: int, first: int, second: int) -> Activity:
    """The activity of one operation: it returns 0 or a negative errno.

    Source: mm.c:do_mmuext_op.
    """
    if command <= xen_words.UNPIN_TABLE and xen.paging is Paging.SHADOW:
        return _ignore()
    if command <= xen_words.PIN_L4_TABLE:
        return pin_table(xen, vcpu, owner, command + 1, first)
    if command == xen_words.UNPIN_TABLE:
        return unpin_table(xen, vcpu, owner, first)
    if command in (xen_words.CLEAR_PAGE, xen_words.COPY_PAGE):
        pages_of = owner if xen.abi.pages_of_others else xen.domid
        source = second if command == xen_words.COPY_PAGE else None
        return _write_page(xen, vcpu, pages_of, first, source)
    if command in _OWN and owner != xen.domid and xen.abi.defers_teardown:
        return _refuse(-EPERM)
    if command in _FLUSHES:
        return _flush(xen, vcpu, command, first, second)
    if command == xen_words.NEW_BASEPTR:
        return _new_baseptr(xen, vcpu, first)
    if command == xen_words.NEW_USER_BASEPTR:
        return _new_user_baseptr(xen, vcpu, first)
    if command in (xen_words.FLUSH_CACHE, xen_words.FLUSH_CACHE_GLOBAL):
        return _flush_cache(xen, vcpu, owner, command)
    if command in (xen_words.MARK_SUPER, xen_words.UNMARK_SUPER):
        return _mark_superpage(xen, vcpu, command, first)
    if command == xen_words.SET_LDT:
        raise NotModelled("mmuext_op SET_LDT: segment descriptors are left out")
    return _unknown(xen, vcpu, command)


def _ignore() -> Activity:
    """Pins mean nothing where shadows keep the references (paging_mode_refcounts).

    Source: mm.c:do_mmuext_op.
    """
    yield from ()
    return 0


def _refuse(rc: int) -> Activity:
    """A command that is refused without a word.

    Source: mm.c:do_mmuext_op.
    """
    yield from ()
    return rc


def _unknown(xen: Xen, vcpu: Vcpu, command: int) -> Activity:
    """A command that there is not.

    Source: mm.c:do_mmuext_op.
    """
    if "bad_mmuext" in xen.abi.text:
        yield from xen.warn(vcpu, "bad_mmuext", command=command)
    return -ENOSYS


def _mark_superpage(xen: Xen, vcpu: Vcpu, command: int, mfn: int) -> Activity:
    """MMUEXT_MARK_SUPER and _UNMARK_SUPER, without the boot option that allows them.

    Source: mm.c:do_mmuext_op.
    """
    name = "mark" if command == xen_words.MARK_SUPER else "unmark"
    if f"{name}_disallowed" not in xen.abi.text:
        return -EOPNOTSUPP
    if mfn % ENTRIES:
        yield from xen.warn(vcpu, f"{name}_unaligned", mfn=mfn)
        return -EINVAL
    yield from xen.warn(vcpu, f"{name}_disallowed")
    return -ENOSYS


def pin_table(xen: Xen, vcpu: Vcpu, owner: int, level: int, mfn: int) -> Activity:
    """MMUEXT_PIN_Lx_TABLE: keep a frame typed as a table of this level.

    Source: mm.c:do_mmuext_op.
    """
    abi, words = xen.abi, xen.frames.type_info
    yield PIN_L1
    yield STEP
    index = get_page(xen, vcpu, mfn, owner)
    if index == NOT_RAM:
        yield from say_no_page(xen, vcpu, mfn, owner)
        if abi.tells_refused_pages:
            yield from xen.warn(vcpu, "while_pinning", rc=-EINVAL, mfn=mfn)
        return -EINVAL
    rc: int = yield from get_page_type(
        xen, vcpu, mfn, index, abi.table_types[level], preemptible=True
    )
    if rc:
        if rc in (-EINTR, -ERESTART):
            rc = -ERESTART
        else:
            yield from xen.warn(vcpu, "while_pinning", rc=rc, mfn=mfn)
        if vcpu.old_guest_table != mfn:
            yield STEP
            put_page(xen, vcpu, index)
        return rc
    yield STEP
    if words[index] & PINNED:
        yield from xen.warn(vcpu, "already_pinned", mfn=mfn)
        if abi.defers_teardown and level > 1:
            put_off(xen, vcpu, mfn)
        else:
            yield from put_page_and_type(xen, vcpu, mfn, index)
        return -EINVAL
    words[index] |= PINNED
    hand_over(vcpu, index)
    return 0


def unpin_table(xen: Xen, vcpu: Vcpu, owner: int, mfn: int) -> Activity:
    """MMUEXT_UNPIN_TABLE: give the pin's references back.

    Source: mm.c:do_mmuext_op.
    """
    words = xen.frames.type_info
    yield STEP
    index = get_page(xen, vcpu, mfn, owner)
    if index == NOT_RAM:
        yield from say_no_page(xen, vcpu, mfn, owner)
        yield from xen.warn(vcpu, "unpin_bad_page", mfn=mfn, domid=owner)
        return -EINVAL
    yield STEP
    if not words[index] & PINNED:
        put_page(xen, vcpu, index)
        yield from xen.warn(vcpu, "not_pinned", mfn=mfn)
        return -EINVAL
    words[index] &= ~PINNED
    take_over(vcpu, index)
    yield from _put_table(xen, vcpu, mfn)
    yield STEP
    put_page(xen, vcpu, index)
    return 0


def _put_table(xen: Xen, vcpu: Vcpu, mfn: int) -> Activity:
    """Give up a pin or a base pointer; what is interrupted is left to a continuation.

    Source: mm.c:do_mmuext_op, new_guest_cr3.
    """
    index = xen.frames.index(mfn)
    rc: int = yield from put_page_and_type(
        xen, vcpu, mfn, index, preemptible=xen.abi.defers_teardown
    )
    if rc:
        put_off(xen, vcpu, mfn, partial=rc == -ERESTART)
        return -ERESTART
    return 0


def _new_baseptr(xen: Xen, vcpu: Vcpu, mfn: int) -> Activity:
    """MMUEXT_NEW_BASEPTR: load another L4 as the kernel's.

    An interruption while the old one is given up starts the operation again, which then
    finds that nothing is left to do but to load the pointer.

    Source: mm.c:new_guest_cr3.
    """
    abi = xen.abi
    yield NEW_BASE
    old = vcpu.cr3
    if xen.paging is Paging.SHADOW:
        return (yield from _shadow_baseptr(xen, vcpu, mfn))
    same = abi.knows_same_base and mfn == old
    if not same:
        rc: int = yield from _get_base(xen, vcpu, mfn)
        if rc == -ERESTART:
            return rc
        if rc:
            yield from xen.warn(vcpu, "installing_baseptr", mfn=mfn)
            return rc if abi.tells_base_errors else -EINVAL
    yield STEP
    vcpu.cr3 = mfn
    xen.clock.flush(vcpu.pcpu)
    xen.counters["tlb", "xen_switch_cr3"] += 1
    if same:
        return 0
    hand_over(vcpu, xen.frames.index(mfn))
    if old == INVALID_MFN:
        return 0
    take_over(vcpu, xen.frames.index(old))
    return (yield from _put_table(xen, vcpu, old))


def _shadow_baseptr(xen: Xen, vcpu: Vcpu, mfn: int) -> Activity:
    """The same where shadows keep the references: any page will do, and gets a shadow.

    Source: mm.c:new_guest_cr3; mm/shadow/multi.c:sh_update_cr3.
    """
    yield STEP
    old = vcpu.cr3
    index: int = yield from get_page_or_say(xen, vcpu, mfn, xen.domid)
    if index == NOT_RAM:
        yield from xen.warn(vcpu, "installing_baseptr", mfn=mfn)
        return -EINVAL
    yield from make_shadow(xen, vcpu, mfn, 4)
    yield STEP
    vcpu.cr3 = mfn
    xen.clock.flush(vcpu.pcpu)
    xen.counters["tlb", "xen_switch_cr3"] += 1
    hand_over(vcpu, index, typed=False)
    if old != INVALID_MFN:
        take_over(vcpu, xen.frames.index(old), typed=False)
        put_page(xen, vcpu, xen.frames.index(old))
    return 0


def _get_base(xen: Xen, vcpu: Vcpu, mfn: int) -> Activity:
    """Take the references of a base pointer: 0 or a negative errno.

    Source: mm.c:new_guest_cr3.
    """
    yield STEP
    index: int = yield from get_page_or_say(xen, vcpu, mfn, xen.domid)
    if index == NOT_RAM:
        return -EINVAL
    preemptible = xen.abi.defers_teardown
    rc: int = yield from get_page_type(xen, vcpu, mfn, index, xen.abi.l4, preemptible=preemptible)
    if rc and vcpu.old_guest_table != mfn:
        yield STEP
        put_page(xen, vcpu, index)
    return -ERESTART if rc == -EINTR else rc


def _new_user_baseptr(xen: Xen, vcpu: Vcpu, mfn: int) -> Activity:
    """MMUEXT_NEW_USER_BASEPTR: the L4 of user mode; nothing is loaded or flushed yet.

    Source: mm.c:do_mmuext_op.
    """
    if xen.abi.knows_same_base and mfn == vcpu.user_cr3:
        return 0
    if xen.paging is Paging.SHADOW:
        raise NotModelled("mmuext_op NEW_USER_BASEPTR of a guest with shadows")
    if mfn:
        rc: int = yield from _get_base(xen, vcpu, mfn)
        if rc:
            if rc != -ERESTART:
                yield from xen.warn(vcpu, "installing_user_baseptr", mfn=mfn, rc=rc)
                rc = rc if xen.abi.tells_base_errors else -EINVAL
            return rc
    yield STEP
    old, vcpu.user_cr3 = vcpu.user_cr3, mfn
    if mfn:
        hand_over(vcpu, xen.frames.index(mfn))
    if not old:
        return 0
    take_over(vcpu, xen.frames.index(old))
    return (yield from _put_table(xen, vcpu, old))


LOCAL_FLUSHES = {xen_words.TLB_FLUSH_LOCAL: FLUSH_LOCAL, xen_words.INVLPG_LOCAL: INVLPG}
# command: (one page of the TLB, those CPUs that a bitmap of vCPUs names)
_FLUSHES = {
    xen_words.TLB_FLUSH_LOCAL: (False, False),
    xen_words.INVLPG_LOCAL: (True, False),
    xen_words.TLB_FLUSH_MULTI: (False, True),
    xen_words.TLB_FLUSH_ALL: (False, False),
    xen_words.INVLPG_MULTI: (True, True),
    xen_words.INVLPG_ALL: (True, False),
}
_OWN = {
    *_FLUSHES,
    xen_words.NEW_BASEPTR,
    xen_words.NEW_USER_BASEPTR,
    xen_words.FLUSH_CACHE,
    xen_words.FLUSH_CACHE_GLOBAL,
}
"""Commands about the vCPU itself: later versions refuse them in the name of another domain."""


def _flush(xen: Xen, vcpu: Vcpu, command: int, first: int, second: int) -> Activity:
    """The TLB operations: of this CPU, of those that a bitmap names, of all.

    Source: mm.c:do_mmuext_op.
    """
    of_page, by_bitmap = _FLUSHES[command]
    page = first if of_page else None
    pcpus = pcpus_of(xen, second) if by_bitmap else xen.dirty_pcpus
    if pcpus is None:
        return -EINVAL
    local = command in LOCAL_FLUSHES
    yield from flush_pcpus(xen, vcpu, {vcpu.pcpu} if local else pcpus, page)
    return 0


def _write_page(xen: Xen, vcpu: Vcpu, owner: int, mfn: int, source: int | None) -> Activity:
    """MMUEXT_CLEAR_PAGE, and MMUEXT_COPY_PAGE from ``source``.

    Source: mm.c:do_mmuext_op.
    """
    abi = xen.abi
    source_index = NOT_RAM
    if source is not None:
        yield STEP
        source_index = get_page(xen, vcpu, source, owner)
        if source_index == NOT_RAM:
            yield from say_no_page(xen, vcpu, source, owner)
            yield from xen.warn(vcpu, "copying_from", mfn=source)
            return -EINVAL
    yield STEP
    index = get_page(xen, vcpu, mfn, owner)
    rc = -EINVAL
    if index == NOT_RAM:
        yield from say_no_page(xen, vcpu, mfn, owner)
    else:
        rc = yield from get_page_type(xen, vcpu, mfn, index, abi.writable)
        if rc:
            yield STEP
            put_page(xen, vcpu, index)
    if rc:
        yield from xen.warn(vcpu, "clearing" if source is None else "copying_to", mfn=mfn)
    else:
        yield from _fill(xen, mfn, source)
        yield from put_page_and_type(xen, vcpu, mfn, index)
    if source_index != NOT_RAM:
        yield STEP
        put_page(xen, vcpu, source_index)
    return -EINVAL if rc else 0


def _fill(xen: Xen, mfn: int, source: int | None) -> Activity:
    """Write a page word by word: zeroes, or what another page holds just then.

    Source: mm.c:do_mmuext_op.
    """
    frames = xen.frames
    target = frames.words(mfn)

    def write(slot: int) -> Activity:
        yield STEP
        target[slot] = 0 if source is None else frames.words(source)[slot]

    def at_once() -> None:
        frames.array(mfn)[:] = 0 if source is None else frames.array(source)

    yield STEP
    yield from in_bulk(range(ENTRIES), write, at_once)


def _flush_cache(xen: Xen, vcpu: Vcpu, owner: int, command: int) -> Activity:
    """MMUEXT_FLUSH_CACHE and _GLOBAL: for domains that may map I/O memory.

    Source: mm.c:do_mmuext_op.
    """
    abi = xen.abi
    whole = command == xen_words.FLUSH_CACHE_GLOBAL
    yield STEP
    if whole and owner != xen.domid:
        return -EINVAL
    if xen.domain.io_capabilities:
        return 0
    name = "flush_cache_global" if whole else "flush_cache"
    if name in abi.text:
        yield from xen.warn(vcpu, name)
    return -(abi.flush_cache_global_errno if whole else abi.flush_cache_errno)
