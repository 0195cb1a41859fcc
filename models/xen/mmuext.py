"""mmuext_op: pins, base pointers, TLB and page operations.

Source: xen/arch/x86/mm.c, do_mmuext_op, new_guest_cr3; flushtlb.c.
"""

from models.machine.entries import INVALID_MFN
from models.machine.frames import NOT_RAM
from models.xen import abi as xen_abi
from models.xen.abi import PINNED
from models.xen.calls import MmuextOp, Restart
from models.xen.errno import EACCES, EINTR, EINVAL, ENOSYS, EOPNOTSUPP, ERESTART
from models.xen.flushes import FLUSH_LOCAL, INVLPG, flush_everywhere, flush_local
from models.xen.old_tables import finish_old_table
from models.xen.page_type import get_page_type, put_page_and_type, put_page_type
from models.xen.references import get_page, get_page_or_say, put_page, say_no_page
from models.xen.state import Vcpu, Xen
from sim.effects import PREEMPT_POINT, STEP, Activity, Spend

PIN_L1 = Spend("pin_l1_body")
NEW_BASE = Spend("new_baseptr_body")

_COUNTERS = {command: ("mmuext_ops", name) for command, name in xen_abi.MMUEXT_NAMES.items()}
_UNKNOWN = ("mmuext_ops", "unknown")

BAD_BITMAP = ~3
"""A vCPU bitmap that cannot be read."""


def do_mmuext_op(xen: Xen, vcpu: Vcpu, call: MmuextOp) -> Activity:
    """Carry out the operations in order; the return code, or a :class:`Restart`."""
    abi = xen.abi
    if vcpu.old_guest_table != INVALID_MFN:
        rc = yield from finish_old_table(xen, vcpu)
        if rc:
            return Restart(call)
    if call.final is not None:
        return call.final
    rc = 0
    done = 0
    for command, first, second in call.operations:
        if vcpu.old_guest_table != INVALID_MFN or (
            (done or abi.checks_preemption_first) and (yield PREEMPT_POINT)
        ):
            rc = -ERESTART
            break
        if command in _LOCAL_FLUSHES:
            # The commonest of all, so without a further activity.
            rc = 0
            yield _LOCAL_FLUSHES[command]
            yield STEP
            flush_local(xen, vcpu, whole=command == xen_abi.TLB_FLUSH_LOCAL)
        else:
            rc = yield from _operation(xen, vcpu, command, first, second)
            if rc == -ERESTART:
                break
        xen.counters[_COUNTERS.get(command, _UNKNOWN)] += 1
        if xen.trace is not None:
            xen.trace("X", command, first, rc)
        if rc:
            break
        done += 1
    vcpu.done = call.done + done
    if rc == -ERESTART:
        return Restart(MmuextOp(call.operations[done:], vcpu.done))
    if vcpu.old_guest_table != INVALID_MFN:
        return Restart(MmuextOp((), vcpu.done, rc))
    return rc


def _operation(xen: Xen, vcpu: Vcpu, command: int, first: int, second: int) -> Activity:
    """The activity of one operation: it returns 0 or a negative errno."""
    if command <= xen_abi.PIN_L4_TABLE:
        return pin_table(xen, vcpu, command + 1, first)
    if command in _FLUSHES:
        return _flush(xen, vcpu, command, first)
    if command == xen_abi.UNPIN_TABLE:
        return unpin_table(xen, vcpu, first)
    if command == xen_abi.NEW_BASEPTR:
        return _new_baseptr(xen, vcpu, first)
    if command == xen_abi.NEW_USER_BASEPTR:
        return _new_user_baseptr(xen, vcpu, first)
    if command == xen_abi.CLEAR_PAGE:
        return _write_page(xen, vcpu, first, None)
    if command == xen_abi.COPY_PAGE:
        return _write_page(xen, vcpu, first, second)
    if command in (xen_abi.FLUSH_CACHE, xen_abi.FLUSH_CACHE_GLOBAL):
        return _flush_cache(xen, vcpu, command)
    return _refuse(xen, vcpu, command)


def _refuse(xen: Xen, vcpu: Vcpu, command: int) -> Activity:
    """Superpages, which are switched off, and commands that there are not."""
    text = xen.abi.text
    if command in (xen_abi.MARK_SUPER, xen_abi.UNMARK_SUPER):
        if "superpages_disallowed" not in text:
            return -EOPNOTSUPP
        yield from xen.warn(vcpu, "superpages_disallowed")
    elif "bad_mmuext" in text:
        yield from xen.warn(vcpu, "bad_mmuext", command=command)
    return -ENOSYS


def pin_table(xen: Xen, vcpu: Vcpu, level: int, mfn: int) -> Activity:
    """MMUEXT_PIN_Lx_TABLE: keep a frame typed as a table of this level."""
    abi, words = xen.abi, xen.frames.type_info
    yield PIN_L1
    yield STEP
    index = get_page(xen, mfn)
    if index == NOT_RAM:
        yield from say_no_page(xen, vcpu, mfn)
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
            put_page(xen, index)
        return rc
    yield STEP
    if words[index] & PINNED:
        yield from xen.warn(vcpu, "already_pinned", mfn=mfn)
        if abi.defers_teardown and level > 1:
            vcpu.old_guest_table, vcpu.old_table_partial = mfn, False
        else:
            yield from put_page_and_type(xen, vcpu, mfn, index)
        return -EINVAL
    words[index] |= PINNED
    return 0


def unpin_table(xen: Xen, vcpu: Vcpu, mfn: int) -> Activity:
    """MMUEXT_UNPIN_TABLE: give the pin's references back."""
    words = xen.frames.type_info
    yield STEP
    index = get_page(xen, mfn)
    if index == NOT_RAM:
        yield from say_no_page(xen, vcpu, mfn)
        yield from xen.warn(vcpu, "unpin_bad_page", mfn=mfn, domid=xen.domain.domid)
        return -EINVAL
    yield STEP
    if not words[index] & PINNED:
        put_page(xen, index)
        yield from xen.warn(vcpu, "not_pinned", mfn=mfn)
        return -EINVAL
    words[index] &= ~PINNED
    preemptible = xen.abi.defers_teardown
    rc = yield from put_page_and_type(xen, vcpu, mfn, index, preemptible=preemptible)
    if rc:
        vcpu.old_guest_table, vcpu.old_table_partial = mfn, rc == -ERESTART
    yield STEP
    put_page(xen, index)
    return 0


def _new_baseptr(xen: Xen, vcpu: Vcpu, mfn: int) -> Activity:
    """MMUEXT_NEW_BASEPTR: load another L4 as the kernel's."""
    abi = xen.abi
    yield NEW_BASE
    if not (abi.knows_same_base and mfn == vcpu.cr3):
        rc: int = yield from _get_base(xen, vcpu, mfn)
        if rc == -ERESTART:
            return rc
        if rc:
            yield from xen.warn(vcpu, "installing_baseptr", mfn=mfn)
            return rc if abi.tells_base_errors else -EINVAL
    old, vcpu.cr3 = vcpu.cr3, mfn
    yield STEP
    xen.clock.flush(vcpu.pcpu)
    xen.counters["tlb", "xen_switch_cr3"] += 1
    if old != INVALID_MFN and not (abi.knows_same_base and old == mfn):
        yield from _put_base(xen, vcpu, old)
    return 0


def _get_base(xen: Xen, vcpu: Vcpu, mfn: int) -> Activity:
    yield STEP
    index: int = yield from get_page_or_say(xen, vcpu, mfn)
    if index == NOT_RAM:
        return -EINVAL
    preemptible = xen.abi.defers_teardown
    rc: int = yield from get_page_type(xen, vcpu, mfn, index, xen.abi.l4, preemptible=preemptible)
    if rc and vcpu.old_guest_table != mfn:
        yield STEP
        put_page(xen, index)
    return -ERESTART if rc == -EINTR else rc


def _put_base(xen: Xen, vcpu: Vcpu, mfn: int) -> Activity:
    preemptible = xen.abi.defers_teardown
    index = xen.frames.index(mfn)
    rc = yield from put_page_and_type(xen, vcpu, mfn, index, preemptible=preemptible)
    if rc:
        vcpu.old_guest_table, vcpu.old_table_partial = mfn, rc == -ERESTART


def _new_user_baseptr(xen: Xen, vcpu: Vcpu, mfn: int) -> Activity:
    """MMUEXT_NEW_USER_BASEPTR: the L4 of user mode; nothing is loaded or flushed yet."""
    if xen.abi.knows_same_base and mfn == vcpu.user_cr3:
        return 0
    if mfn:
        rc: int = yield from _get_base(xen, vcpu, mfn)
        if rc:
            if rc != -ERESTART:
                yield from xen.warn(vcpu, "installing_user_baseptr", mfn=mfn, rc=rc)
                rc = rc if xen.abi.tells_base_errors else -EINVAL
            return rc
    old, vcpu.user_cr3 = vcpu.user_cr3, mfn
    if old:
        yield from _put_base(xen, vcpu, old)
    return 0


_LOCAL_FLUSHES = {xen_abi.TLB_FLUSH_LOCAL: FLUSH_LOCAL, xen_abi.INVLPG_LOCAL: INVLPG}
# command: (the whole TLB, those CPUs that a bitmap of vCPUs names)
_FLUSHES = {
    xen_abi.TLB_FLUSH_MULTI: (True, True),
    xen_abi.TLB_FLUSH_ALL: (True, False),
    xen_abi.INVLPG_MULTI: (False, True),
    xen_abi.INVLPG_ALL: (False, False),
}


def _flush(xen: Xen, vcpu: Vcpu, command: int, argument: int) -> Activity:
    """The TLB operations that reach other CPUs."""
    whole, by_bitmap = _FLUSHES[command]
    if by_bitmap and argument == BAD_BITMAP:
        return -EINVAL
    yield from flush_everywhere(xen, vcpu, whole=whole)
    return 0


def _write_page(xen: Xen, vcpu: Vcpu, mfn: int, source: int | None) -> Activity:
    """MMUEXT_CLEAR_PAGE, and MMUEXT_COPY_PAGE from ``source``."""
    frames, abi = xen.frames, xen.abi
    source_index = NOT_RAM
    if source is not None:
        yield STEP
        source_index = get_page(xen, source)
        if source_index == NOT_RAM:
            yield from say_no_page(xen, vcpu, source)
            yield from xen.warn(vcpu, "copying_from", mfn=source)
            return -EINVAL
    yield STEP
    index = get_page(xen, mfn)
    rc = -EINVAL
    if index == NOT_RAM:
        yield from say_no_page(xen, vcpu, mfn)
    else:
        rc = yield from get_page_type(xen, vcpu, mfn, index, abi.writable)
        if rc:
            yield STEP
            put_page(xen, index)
    if rc:
        yield from xen.warn(vcpu, "clearing" if source is None else "copying_to", mfn=mfn)
    else:
        yield STEP
        frames.array(mfn)[:] = 0 if source is None else frames.array(source)
        yield from put_page_type(xen, vcpu, mfn, index)
        yield STEP
        put_page(xen, index)
    if source_index != NOT_RAM:
        put_page(xen, source_index)
    return -EINVAL if rc else 0


def _flush_cache(xen: Xen, vcpu: Vcpu, command: int) -> Activity:
    """MMUEXT_FLUSH_CACHE and _GLOBAL: for domains that may map I/O memory."""
    yield STEP
    if xen.domain.io_capabilities:
        return 0
    if "flush_cache" in xen.abi.text:
        yield from xen.warn(vcpu, "flush_cache")
        return -EINVAL
    return -EACCES if command == xen_abi.FLUSH_CACHE else -EINVAL
