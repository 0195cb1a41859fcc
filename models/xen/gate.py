"""The call gate: how a guest enters the hypervisor, and what it gets back.

A hypercall that was interrupted is entered again until it is finished; the guest sees the
result only. Source: xen/common/multicall.c; xen/arch/x86/hypercall.c
(hypercall_create_continuation).
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.machine.entries import (
    PAGE_SHIFT,
)
from models.machine.frames import FrameTable
from models.xen.calls.at_once import (
    MULTICALL_ENTRY,
    call_at_once,
    in_one_piece,
    lead,
    multicall_at_once,
    time_of,
)
from models.xen.calls.mmu_update import REQUEST, do_mmu_update, update_at_once
from models.xen.calls.mmuext import do_mmuext_op
from models.xen.calls.va_mapping import do_update_va_mapping
from models.xen.hypercalls import (
    CONTINUED,
    DIRECT,
    INSIDE,
    Call,
    Costs,
    MmuextOp,
    MmuUpdate,
    Multicall,
    Restart,
    Unknown,
    UpdateVaMapping,
    told,
)
from models.xen.pages.upper_tables import TABLES
from models.xen.paging.nested import flush_tlb, invlpg
from models.xen.state import Domain, Vcpu, Xen
from models.xen.versions.abi import Abi
from models.xen.versions.errno import EINVAL, ENOSYS
from models.xen.versions.paging import Paging
from sim.effects import (
    DECLINED,
    ENTER_GUEST,
    ENTER_HYPERVISOR,
    PREEMPT_POINT,
    Activity,
    Declined,
    Spend,
    Trap,
    Whole,
    in_a_stretch,
)

__all__ = ["Vcpu", "Xen", "flush_tlb", "hypercall", "invlpg", "new_xen", "trap", "update_each"]

_NESTED = Paging.NESTED  # looking an Enum's member up takes Python code
ENTRY = Spend("hypercall_null")


def hypercall(xen: Xen, vcpu: Vcpu, call: Call) -> Activity:
    """Make a hypercall; it returns what the guest gets: 0 or a negative errno.

    For a multicall that is the tuple of its entries' results.

    Source: x86_64/entry.S (pv/hypercall.c:pv_hypercall).
    """
    return (yield trap(xen, vcpu, call))


def trap(xen: Xen, vcpu: Vcpu, call: Call) -> Trap | Activity:
    """What a guest yields to make a hypercall, without an activity of its own around it."""
    xen.counters[DIRECT[call.__class__]] += 1
    xen.counters["calls", "traps"] += 1
    vcpu.first_line = len(xen.console.lines)
    if xen.paging is _NESTED:
        return Trap(_no_such_call(call), ENTRY.cost)
    kind = call.__class__
    at_once: Callable[[], Whole | None]
    if kind is Multicall:
        made: list[Costs] = []
        activity = _run(xen, vcpu, call, made)
        at_once = partial(multicall_at_once, xen, vcpu, call, made)  # type: ignore[arg-type]
    else:
        # update_va_mapping changes one entry and is never continued.
        run = do_update_va_mapping if kind is UpdateVaMapping else _run
        activity = run(xen, vcpu, call)  # type: ignore[arg-type]
        at_once = partial(call_at_once, xen, vcpu, call)
    entered = Trap(activity, ENTRY.cost, at_once, lead(xen, vcpu, call))
    return told(call, entered) if xen.tells_calls else entered


def update_each(xen: Xen, vcpu: Vcpu, mfn: int, slot: int, entries: NDArray[np.uint64]) -> Activity:
    """An mmu_update for each of consecutive entries of a page; those that were refused.

    Returns a list of (machine address, entry, negative errno).

    Source: mm.c:do_mmu_update, entered anew for each.
    """
    refused: list[tuple[int, int, int]] = []
    first = mfn << PAGE_SHIFT | slot << 3

    def update(number: int) -> Activity:
        pointer, entry = first + 8 * number, int(entries[number])
        rc: int = yield trap(xen, vcpu, MmuUpdate(((pointer, entry),)))
        if rc:
            refused.append((pointer, entry, rc))

    def at_once() -> Declined | Trap:
        if not in_one_piece(xen) or not update_at_once(xen, vcpu, mfn, slot, entries):
            return DECLINED
        calls = entries.size
        xen.counters[DIRECT[MmuUpdate]] += calls
        xen.counters["calls", "traps"] += calls
        vcpu.first_line = len(xen.console.lines)
        return time_of(calls, ENTRY, REQUEST)

    in_all = yield from in_a_stretch(range(entries.size), update, at_once)
    if in_all is not None:
        yield in_all
    return refused


def _run(xen: Xen, vcpu: Vcpu, call: Call, made: Sequence[Costs] = ()) -> Activity:
    """The call, and its continuations.

    ``made``: of a multicall's entries, those that were made at once, by what they cost.

    Source: hypercall.c:hypercall_create_continuation.
    """
    vcpu.softirq = False
    if made:
        result = yield from _do_multicall(xen, vcpu, call, made)  # type: ignore[arg-type]
    else:
        result = yield from _HANDLERS[call.__class__](xen, vcpu, call)
    while result.__class__ is Restart:
        xen.counters["calls", "traps"] += 1
        xen.counters["calls", "continuations"] += 1
        call = result.call
        xen.counters[CONTINUED[call.__class__]] += 1
        # The guest's registers are set to make the call again: on the way there interrupts and
        # the scheduler have their turn.
        yield ENTER_GUEST
        yield ENTER_HYPERVISOR
        yield ENTRY
        vcpu.softirq = False
        result = yield from _HANDLERS[call.__class__](xen, vcpu, call)
    return result


def _unknown(xen: Xen, vcpu: Vcpu, call: Unknown) -> Activity:  # noqa: ARG001 - a handler's signature
    """A number for which there is no hypercall.

    Source: x86_64/entry.S:bad_hypercall (pv/hypercall.c:pv_hypercall).
    """
    yield from ()
    return -ENOSYS


def _no_such_call(call: Call) -> Activity:
    """A guest whose tables are its own has none of these calls, but may make several at once.

    Source: arch/x86/hvm/hvm.c (hvm_hypercall64_table).
    """
    yield from ()
    if isinstance(call, Multicall):
        return tuple(-ENOSYS for _ in call.calls)
    return -ENOSYS


def _do_multicall(xen: Xen, vcpu: Vcpu, call: Multicall, made: Sequence[Costs] = ()) -> Activity:
    """Every entry in turn, whatever became of those before.

    The first ones may have been made at once already: they succeeded, and their costs are left.

    Source: common/multicall.c:do_multicall.
    """
    results = [*call.results, *(0 for _ in made)]
    yield from chain.from_iterable(made)
    counters = xen.counters
    early = xen.abi.checks_preemption_first
    for number, entry in enumerate(call.calls[len(made) :], len(made)):
        if (number or early) and (yield PREEMPT_POINT):
            return Restart(Multicall(call.calls[number:], tuple(results)))
        yield MULTICALL_ENTRY
        result: int | Restart
        if entry.__class__ is Multicall:
            yield from xen.warn(vcpu, "multicall_reentry")
            result = -EINVAL
        else:
            result = yield from _HANDLERS[entry.__class__](xen, vcpu, entry)
        if isinstance(result, Restart):
            rest = (result.call, *call.calls[number + 1 :])
            return Restart(Multicall(rest, tuple(results)))
        results.append(result)
        counters[INSIDE[entry.__class__]] += 1
    return tuple(results)


# The activity of one entry of a call: it returns its result, or a Restart.
_HANDLERS: dict[type, Callable[[Xen, Vcpu, Any], Activity]] = {
    UpdateVaMapping: do_update_va_mapping,
    MmuUpdate: do_mmu_update,
    MmuextOp: do_mmuext_op,
    Multicall: _do_multicall,
    Unknown: _unknown,
}


def new_xen(
    abi: Abi,
    frames: FrameTable,
    m2p: list[tuple[int, int, int]],
    *,
    domid: int,
    debug: bool,
    pcpus: int = 1,
    vcpus: int = 1,
    paging: Paging = Paging.DIRECT,
) -> Xen:
    """A hypervisor with one domain, which owns all of the frames given.

    ``m2p``: (first mfn, pages, first pfn). Only the hardware domain, 0, may map I/O memory.
    """
    domain = Domain(domid, io_capabilities=domid == 0, paging=paging)
    return Xen(abi, frames, domain, m2p, TABLES, debug=debug, pcpus=pcpus, vcpus=vcpus)
