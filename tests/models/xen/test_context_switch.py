"""Context switches: whose translations a CPU may hold, and where the domain's flushes go."""

from models.machine.frames import FrameTable
from models.xen.pages.context_switch import LoadedVcpus
from models.xen.pages.upper_tables import TABLES
from models.xen.state import Domain, Xen
from models.xen.versions.abi import find_abi
from models.xen.words import FRESH_COUNT_INFO


def machine(*, pcpus: int, vcpus: int) -> tuple[Xen, LoadedVcpus]:
    """A hypervisor whose first vCPUs are on the CPUs of their numbers."""
    frames = FrameTable([(0x1000, 16, 0)], fresh=FRESH_COUNT_INFO, owner=1)
    domain = Domain(1, io_capabilities=False)
    xen = Xen(find_abi("4.17"), frames, domain, [], TABLES, pcpus=pcpus, vcpus=vcpus)
    loaded = LoadedVcpus(xen)
    for pcpu in range(pcpus):
        loaded.load(pcpu, pcpu)
    return xen, loaded


def test_cpu_forgets_its_translations_when_it_takes_up_another_vcpu() -> None:
    """They may be stale no longer; other CPUs keep theirs."""
    xen, loaded = machine(pcpus=2, vcpus=3)
    for pcpu in (0, 1):
        xen.clock.load(pcpu, 0x5000, 0x1001, writable=True)

    loaded.load(0, 2)

    assert [0, 1] == [len(held) for held in xen.clock.loaded]


def test_switch_is_a_flush_that_the_clock_knows_of() -> None:
    """A frame that lost its last type before needs none any more on that CPU."""
    xen, loaded = machine(pcpus=2, vcpus=3)
    stamp = xen.clock.now

    loaded.load(0, 2)

    assert [False, True] == [xen.clock.needs_flush(pcpu, stamp) for pcpu in (0, 1)]


def test_vcpu_takes_its_cpu_along() -> None:
    """It is at home where it was taken up last."""
    xen, loaded = machine(pcpus=2, vcpus=3)

    loaded.load(1, 0)

    assert 1 == xen.vcpus[0].pcpu


def test_cpu_whose_vcpu_has_moved_away_is_clean() -> None:
    """It idled with the vCPU's state, which another CPU has now."""
    xen, loaded = machine(pcpus=2, vcpus=2)

    loaded.load(1, 0)

    assert {1} == xen.dirty_pcpus


def test_cpu_that_runs_another_domain_is_clean() -> None:
    """No flush for this domain goes there, until it is back."""
    xen, loaded = machine(pcpus=2, vcpus=2)

    loaded.load(0, 7)
    elsewhere = set(xen.dirty_pcpus)
    loaded.load(0, 0)

    assert ({1}, {0, 1}) == (elsewhere, xen.dirty_pcpus)
