"""Busy vCPUs of one guest that make real hypercalls, each on tables of its own or all on one.

Every vCPU has an address space of its own; its calls change entries of an L1 back and forth, by
address or by machine address, or pin and unpin an L1 of sixteen entries.
"""

from collections.abc import Callable
from functools import partial

from models.machine.entries import ENTRIES, NX, PAGE_SHIFT, PRESENT, RW, USER
from models.machine.frames import FrameTable
from models.profiles.catalogue import load_profile
from models.profiles.prices import prices
from models.xen.gate import (
    Vcpu,
    Xen,
    hypercall,
    new_xen,
    trap,
)
from models.xen.hypercalls import MmuextOp, MmuUpdate, UpdateVaMapping
from models.xen.versions.abi import find_abi
from models.xen.words import (
    FRESH_COUNT_INFO,
    NEW_BASEPTR,
    PIN_L1_TABLE,
    UNPIN_TABLE,
)
from sim.distributions import Lognormal
from sim.effects import Activity, Spend
from sim.instant import drain
from sim.timed import Price

CALLS = 1_500
"""By each vCPU."""
_VERSION, _PROFILE = "4.17", "modern-2023"
_GUEST = Spend("guest")
_FIRST = 0x100000
_L4, _L3, _L2, _L1, _SPARE, _DATA = range(6)
_PAGES = 64
"""Of each vCPU: four live tables, one to be pinned, and data."""
_TABLE = PRESENT | RW | USER

Act = Callable[[Xen, Vcpu, int, int], Activity]
"""The calls of a vCPU, given its first frame and the L1 that it changes."""


def guest_prices() -> dict[str, Price]:
    """The latencies of a profile, and what a guest does between its calls."""
    return prices(load_profile(_PROFILE)) | {"guest": Price(Lognormal(300.0, 0.3))}


def _guests(act: Act, vcpus: int, *, shared: bool) -> list[Activity]:
    """Each vCPU on a tree of its own; ``shared``: with one L1 in all of them."""
    frames = FrameTable([(_FIRST, vcpus * _PAGES, 0)], fresh=FRESH_COUNT_INFO, owner=1)
    m2p = [(_FIRST, vcpus * _PAGES, 0)]
    xen = new_xen(find_abi(_VERSION), frames, m2p, domid=1, debug=True, pcpus=vcpus, vcpus=vcpus)
    activities = []
    for vcpu in xen.vcpus:
        first = _FIRST + vcpu.number * _PAGES
        l1 = (_FIRST if shared else first) + _L1
        for table, below in ((_L4, first + _L3), (_L3, first + _L2), (_L2, l1)):
            frames.words(first + table)[0] = below << PAGE_SHIFT | _TABLE
        for slot in range(16):
            frames.words(first + _SPARE)[slot] = first + _DATA + slot << PAGE_SHIFT | PRESENT | NX
        if drain(hypercall(xen, vcpu, MmuextOp(((NEW_BASEPTR, first + _L4, 0),)))):
            raise AssertionError("the tables are not accepted")
        activities.append(act(xen, vcpu, first, l1))
    return activities


def _entries(vcpu: Vcpu, first: int) -> list[tuple[int, int]]:
    """(slot, entry): some data pages mapped writable, and then unmapped again."""
    slots = [(vcpu.number * _PAGES + page) % ENTRIES for page in range(16)]
    pages = [first + _DATA + page << PAGE_SHIFT | PRESENT | RW | NX for page in range(16)]
    return [*zip(slots, pages, strict=True), *((slot, 0) for slot in slots)]


def _update_va_mapping(xen: Xen, vcpu: Vcpu, first: int, _: int) -> Activity:
    calls = [UpdateVaMapping(slot << PAGE_SHIFT, entry) for slot, entry in _entries(vcpu, first)]
    for number in range(CALLS):
        yield _GUEST
        yield trap(xen, vcpu, calls[number % len(calls)])


def _mmu_update(xen: Xen, vcpu: Vcpu, first: int, l1: int) -> Activity:
    calls = [
        MmuUpdate(((l1 << PAGE_SHIFT | slot << 3, entry),)) for slot, entry in _entries(vcpu, first)
    ]
    for number in range(CALLS):
        yield _GUEST
        yield trap(xen, vcpu, calls[number % len(calls)])


def _pin_and_unpin(xen: Xen, vcpu: Vcpu, first: int, _: int) -> Activity:
    calls = [MmuextOp(((command, first + _SPARE, 0),)) for command in (PIN_L1_TABLE, UNPIN_TABLE)]
    for number in range(CALLS):
        yield _GUEST
        yield trap(xen, vcpu, calls[number % 2])


LOADS: dict[str, Callable[[int], list[Activity]]] = {
    "update_va_mapping, own tables": partial(_guests, _update_va_mapping, shared=False),
    "update_va_mapping, one L1": partial(_guests, _update_va_mapping, shared=True),
    "mmu_update, own tables": partial(_guests, _mmu_update, shared=False),
    "mmu_update, one L1": partial(_guests, _mmu_update, shared=True),
    "pin and unpin": partial(_guests, _pin_and_unpin, shared=False),
}
"""By name: what makes so many vCPUs."""
