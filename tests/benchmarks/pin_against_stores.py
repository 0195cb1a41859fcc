"""R1 at its smallest: one vCPU publishes a page as an L1 while others store to it.

The page is mapped writable by a table. The publisher makes that mapping read-only and pins the
page; each of the others stores one entry, into a slot of its own. With ``locked`` all take the
page's split lock, as the kernel does.
"""

from collections.abc import Sequence

from models.machine.entries import PRESENT, RW, USER
from models.xen.accesses import store
from models.xen.gate import hypercall
from models.xen.hypercalls import MmuextOp, UpdateVaMapping
from models.xen.state import Xen
from models.xen.words import PIN_L1_TABLE, UVMF_INVLPG
from sim.effects import Acquire, Activity, Release
from sim.explore.program import Program
from sim.explore.world.snapshot import Snapshot
from sim.footprint import Recorder
from sim.locks import SpinLock
from tests.models.xen.machines import DATA, OTHER, VA, entry, machine


class Fault(Exception):
    """A store that the hypervisor does not make: the kernel dies."""


def program(vcpus: int, *, locked: bool) -> Program:
    """The race with so many vCPUs."""
    xen = machine("4.17", vcpus=vcpus)
    lock = SpinLock("ptl")
    recorder = Recorder()
    xen.record(recorder)
    before = Snapshot(xen, lock, leave=[recorder])

    def begin() -> Sequence[Activity]:
        before.restore()
        storing = [_stores(xen, vcpu, lock, locked=locked) for vcpu in range(1, vcpus)]
        return [_publishes(xen, lock, locked=locked), *storing]

    return Program(begin, recorder=recorder, preempts=False)


def _publishes(xen: Xen, lock: SpinLock, *, locked: bool) -> Activity:
    if locked:
        yield Acquire(lock)
    read_only = UpdateVaMapping(VA, entry(DATA, PRESENT | USER), UVMF_INVLPG)
    answers = [(yield from hypercall(xen, xen.vcpus[0], read_only))]
    pin = MmuextOp(((PIN_L1_TABLE, DATA, 0),))
    answers.append((yield from hypercall(xen, xen.vcpus[0], pin)))
    if locked:
        yield Release(lock)
    return answers


def _stores(xen: Xen, number: int, lock: SpinLock, *, locked: bool) -> Activity:
    if locked:
        yield Acquire(lock)
    value = entry(OTHER, PRESENT | RW | USER)
    made = yield from store(xen, xen.vcpus[number], VA + 8 * number, value)
    if not made:
        raise Fault(f"vCPU {number} stores to a page that it may not write to")
    if locked:
        yield Release(lock)
