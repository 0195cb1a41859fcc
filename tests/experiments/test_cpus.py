"""How the CPUs of a scenario become those of a simulation."""

import pytest

from experiments.errors import InputError
from experiments.subjects.clock import Pricing, simulation_of
from models.machine.frames import FrameTable
from models.profiles.catalogue import load_profile, with_overrides
from models.profiles.prices import prices
from models.profiles.scheduler import scheduling_policy
from models.xen.gate import Xen, hypercall, new_xen
from models.xen.hypercalls import MmuextOp
from models.xen.versions.abi import find_abi
from models.xen.words import FRESH_COUNT_INFO, TLB_FLUSH_LOCAL
from sim.cpus.credit1 import Credit1
from sim.cpus.credit2 import Credit2
from sim.effects import STEP, Activity, Spend
from sim.streams import Streams
from sim.timed import Simulation

MS = 1_000_000


def machine(vcpus: int, pcpus: int, profile: str = "modern-2023") -> tuple[Xen, Simulation]:
    """A hypervisor without a guest, and the simulation for its CPUs."""
    frames = FrameTable([(0x1000, 16, 0)], fresh=FRESH_COUNT_INFO, owner=1)
    xen = new_xen(find_abi("4.17"), frames, [], domid=1, debug=True, pcpus=pcpus, vcpus=vcpus)
    loaded = load_profile(profile)
    table = prices(loaded) if profile != "p4-2003-2005" else {}
    simulation = simulation_of(
        xen, Pricing(loaded, table), Streams(0), pcpus=pcpus, every_event=False
    )
    return xen, simulation


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        ("nehalem-2011", Credit1(30 * MS, 10 * MS, 0)),
        ("skylake-2018-xpti", Credit1(30 * MS, 10 * MS, MS)),
        ("modern-2023", Credit2(longest_ns=10 * MS, ratelimit_ns=MS)),
    ],
)
def test_profile_names_its_scheduler(profile: str, expected: Credit1 | Credit2) -> None:
    """credit1 up to 2018, at first without a rate limit; credit2 since."""
    assert expected == scheduling_policy(load_profile(profile))


def test_slice_can_be_changed_like_any_latency() -> None:
    """By ``machine.latency.sched_timeslice``."""
    profile = with_overrides(load_profile("nehalem-2011"), {"sched_timeslice": 5.0 * MS})

    assert Credit1(5 * MS, 10 * MS, 0) == scheduling_policy(profile)


def test_profile_without_a_scheduler_is_refused_where_one_is_needed() -> None:
    """In one line, with what would be right."""
    with pytest.raises(InputError, match=r"^machine\.pcpus = 1: .* p4-2003-2005 lacks sched_"):
        machine(2, 1, "p4-2003-2005")


def test_vcpus_with_a_pcpu_each_are_not_scheduled() -> None:
    """As in every boot."""
    _, simulation = machine(2, 2)
    simulation.start(_stepping())
    simulation.start(_stepping())
    simulation.run()

    assert simulation.scheduler is None


def test_long_hypercall_is_continued_when_others_want_the_pcpu() -> None:
    """A batch that takes longer than a slice lets the other vCPU run in between."""
    flushes = MmuextOp(((TLB_FLUSH_LOCAL, 0, 0),) * 20_000)
    xen, simulation = machine(2, 1)
    for vcpu in xen.vcpus:
        simulation.start(hypercall(xen, vcpu, flushes))
    simulation.run()

    assert [0, 0] == [vcpu.result for vcpu in simulation.vcpus]
    assert xen.counters["calls", "continuations"] >= 2
    assert all(vcpu.accounts.steal > MS for vcpu in simulation.vcpus)
    assert {0} == xen.dirty_pcpus


def _stepping() -> Activity:
    yield Spend("hypercall_null")
    yield STEP
