"""The call gate: how a guest enters the hypervisor, and what it gets back.

A hypercall that was interrupted is entered again until it is finished; the guest sees the
result only. Source: xen/common/multicall.c; xen/arch/x86/hypercall.c
(hypercall_create_continuation).
"""

from typing import NamedTuple

from models.machine.frames import FrameTable
from models.xen.abi import Abi
from models.xen.calls import (
    Call,
    MmuextOp,
    MmuUpdate,
    Multicall,
    Restart,
    Unknown,
    UpdateVaMapping,
)
from models.xen.emulation import Emulation, emulate_store
from models.xen.errno import ENOSYS
from models.xen.mmu_update import do_mmu_update
from models.xen.mmuext import do_mmuext_op
from models.xen.state import Domain, Vcpu, Xen
from models.xen.va_mapping import do_update_va_mapping
from sim.effects import ENTER_GUEST, ENTER_HYPERVISOR, PREEMPT_POINT, Activity, Note, Spend

__all__ = [
    "Called",
    "Emulation",
    "MmuUpdate",
    "MmuextOp",
    "Multicall",
    "Unknown",
    "UpdateVaMapping",
    "Vcpu",
    "Xen",
    "hypercall",
    "new_xen",
    "store_fault",
]

ENTRY = Spend("hypercall_null")
MULTICALL_ENTRY = Spend("multicall_per_entry")


class Called(NamedTuple):
    """The note of a hypercall (or of an emulated store): made at its entry and at its end."""

    call: object
    result: object = None
    ended: bool = False


class EmulatedStore(NamedTuple):
    """A store that the hypervisor made for the guest, as told to observers."""

    va: int
    value: int


def hypercall(xen: Xen, vcpu: Vcpu, call: Call) -> Activity:
    """Make a hypercall; the answer is what the guest gets: 0 or a negative errno.

    For a multicall it is the tuple of its entries' results.
    """
    yield ENTER_HYPERVISOR
    vcpu.first_line = len(xen.console.lines)
    if xen.tells_calls:
        yield Note(Called(call))
    _count_call(xen, call)
    entered: Call = call
    while True:
        xen.counters["calls", "traps"] += 1
        yield ENTRY
        result = yield from _execute(xen, vcpu, entered)
        if not isinstance(result, Restart):
            break
        xen.counters["calls", "continuations"] += 1
        entered = result.call
    if xen.tells_calls:
        yield Note(Called(call, result, ended=True))
    yield ENTER_GUEST
    return result


def store_fault(xen: Xen, vcpu: Vcpu, va: int, value: int) -> Activity:
    """A guest's store faulted: emulated (:attr:`Emulation.FIXED`) or given to the guest."""
    yield ENTER_HYPERVISOR
    store = EmulatedStore(va, value)
    if xen.tells_calls:
        yield Note(Called(store))
    xen.counters["page_faults_into_xen", "total"] += 1
    outcome = yield from emulate_store(xen, vcpu, va, value)
    if xen.tells_calls:
        yield Note(Called(store, outcome, ended=True))
    yield ENTER_GUEST
    return outcome


def _execute(xen: Xen, vcpu: Vcpu, call: Call) -> Activity:
    """One entry of a call: its result, or a Restart."""
    kind = call.__class__
    if kind is UpdateVaMapping:
        return (yield from do_update_va_mapping(xen, vcpu, call))  # type: ignore[arg-type]
    if kind is MmuUpdate:
        return (yield from do_mmu_update(xen, vcpu, call))  # type: ignore[arg-type]
    if kind is MmuextOp:
        return (yield from do_mmuext_op(xen, vcpu, call))  # type: ignore[arg-type]
    if isinstance(call, Multicall):
        return (yield from _do_multicall(xen, vcpu, call))
    return -ENOSYS


def _do_multicall(xen: Xen, vcpu: Vcpu, call: Multicall) -> Activity:
    """Every entry in turn, whatever became of those before."""
    results = list(call.results)
    for number, entry in enumerate(call.calls):
        if (number or not xen.abi.parks_failed_tables) and (yield PREEMPT_POINT):
            return Restart(Multicall(call.calls[number:], tuple(results)))
        yield MULTICALL_ENTRY
        result = yield from _execute(xen, vcpu, entry)
        if isinstance(result, Restart):
            rest = (result.call, *call.calls[number + 1 :])
            return Restart(Multicall(rest, tuple(results)))
        results.append(result)
    return tuple(results)


def _count_call(xen: Xen, call: Call, where: str = "hypercalls_direct") -> None:
    counters = xen.counters
    if isinstance(call, MmuUpdate):
        counters[where, "mmu_update"] += 1
        counters["calls", "mmu_update_requests"] += len(call.requests)
        for pointer, _ in call.requests:
            counters["mmu_update_entries_by_cmd", _COMMANDS.get(pointer & 7, "other")] += 1
    elif isinstance(call, MmuextOp):
        counters[where, "mmuext_op"] += 1
    elif isinstance(call, UpdateVaMapping):
        counters[where, "update_va_mapping"] += 1
    elif isinstance(call, Multicall):
        counters[where, "multicall"] += 1
        counters["calls", "multicall_entries"] += len(call.calls)
        for entry in call.calls:
            _count_call(xen, entry, "hypercalls_inside_multicall")
    else:
        counters[where, f"hypercall_{call.number}"] += 1


_COMMANDS = {
    0: "NORMAL_PT_UPDATE",
    1: "MACHPHYS_UPDATE",
    2: "PT_UPDATE_PRESERVE_AD",
    3: "PT_UPDATE_NO_TRANSLATE",
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
) -> Xen:
    """A hypervisor with one PV domain, which owns all of the frames given.

    ``m2p``: (first mfn, pages, first pfn). Only the hardware domain, 0, may map I/O memory.
    """
    domain = Domain(domid, io_capabilities=domid == 0)
    return Xen(abi, frames, domain, m2p, debug=debug, pcpus=pcpus, vcpus=vcpus)
