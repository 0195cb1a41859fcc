"""Flushes of other CPUs in time: who works, who waits, and who need not."""

from models.machine.frames import FrameTable
from models.profiles.catalogue import load_profile
from models.profiles.prices import unit_prices
from models.xen.gate import Xen, hypercall, new_xen
from models.xen.hypercalls import MmuextOp
from models.xen.pages.context_switch import LoadedVcpus
from models.xen.versions.abi import find_abi
from models.xen.words import FRESH_COUNT_INFO, TLB_FLUSH_ALL
from sim.cpus.credit1 import Credit1
from sim.distributions import Constant
from sim.effects import STEP, Activity, Spend
from sim.streams import Streams
from sim.timed import Price, Simulation

MS = 1_000_000
FLUSH_ALL = MmuextOp(((TLB_FLUSH_ALL, 0, 0),))
# Each unit takes a nanosecond, but for these.
TABLE = unit_prices(load_profile("modern-2023")) | {
    "shootdown_base": Price(Constant(1500), "tlb"),
    "flush_ipi_target": Price(Constant(700), "tlb"),
    "work": Price(Constant(MS)),
}


def machine(*, pcpus: int, vcpus: int) -> tuple[Xen, Simulation]:
    """A hypervisor without a guest, and its CPUs."""
    frames = FrameTable([(0x1000, 16, 0)], fresh=FRESH_COUNT_INFO, owner=1)
    xen = new_xen(find_abi("4.17"), frames, [], domid=1, debug=True, pcpus=pcpus, vcpus=vcpus)
    simulation = Simulation(
        TABLE,
        Streams(0),
        pcpus=pcpus,
        scheduler=Credit1(begins="aligned"),
        loaded=LoadedVcpus(xen).load,
    )
    return xen, simulation


def working(ms: int) -> Activity:
    """A guest that does nothing that the others could see."""
    for _ in range(ms):
        yield Spend("work")
        yield STEP


def test_flush_takes_time_of_every_cpu() -> None:
    """The others are interrupted in their work, under the heading of flushes."""
    xen, simulation = machine(pcpus=3, vcpus=3)
    simulation.start(hypercall(xen, xen.vcpus[0], FLUSH_ALL))
    simulation.start(working(1))
    simulation.start(working(1))
    simulation.run()

    assert [700, 700] == [vcpu.accounts.tlb for vcpu in simulation.vcpus[1:]]
    assert [MS + 700] * 2 == [vcpu.local_ns for vcpu in simulation.vcpus[1:]]


def test_one_cpu_at_a_time_makes_others_flush() -> None:
    """The second to come spins for the lock of the whole machine, and answers meanwhile."""
    xen, simulation = machine(pcpus=2, vcpus=2)
    for vcpu in xen.vcpus:
        simulation.start(hypercall(xen, vcpu, FLUSH_ALL))
    simulation.run()

    first, second = sorted(vcpu.accounts.lock_wait for vcpu in simulation.vcpus)
    assert 0 == first
    assert 1500 - 700 - 10 <= second <= 1500 - 700 + 10


def test_flush_does_not_wait_for_a_vcpu_without_a_pcpu() -> None:
    """Four vCPUs on two pCPUs: the flush goes to the pCPUs, of which there is one other."""
    xen, simulation = machine(pcpus=2, vcpus=4)

    def guest(number: int) -> Activity:
        for _ in range(20):
            yield from working(2)
            yield from hypercall(xen, xen.vcpus[number], FLUSH_ALL)

    for number in range(4):
        simulation.start(guest(number))
    simulation.run()

    assert 20 * 4 == xen.counters["tlb", "remote_IPI_rounds"]
    assert all(vcpu.accounts.steal >= 10 * MS for vcpu in simulation.vcpus)
    assert sum(vcpu.accounts.lock_wait for vcpu in simulation.vcpus) < 20 * 4 * 2000
    answers = [vcpu.accounts.by_cost.get("flush_ipi_target", 0) for vcpu in simulation.vcpus]
    assert 20 * 4 * 700 >= sum(answers) > 10 * 4 * 700
