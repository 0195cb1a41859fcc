"""Who waits for a vCPU without a pCPU: the sender of a guest's interrupt, never of a flush."""

import pytest

from sim.cpus.credit1 import Credit1
from sim.cpus.credit2 import Credit2
from sim.cpus.task import Policy
from tests.benchmarks.shootdowns import shootdown_waits_ns

MS = 1_000_000
CREDIT1, CREDIT2 = Credit1(), Credit2()


def waits(*, hypervisor: bool, pcpus: int, policy: Policy = CREDIT1) -> list[int]:
    """How long each shootdown of four busy vCPUs took its sender, sorted."""
    return sorted(shootdown_waits_ns(hypervisor=hypervisor, pcpus=pcpus, policy=policy, rounds=60))


@pytest.mark.parametrize("hypervisor", [False, True], ids=["guest", "hypervisor"])
def test_both_are_quick_where_every_vcpu_has_a_pcpu(*, hypervisor: bool) -> None:
    """Microseconds, for the way there and the handler."""
    assert waits(hypervisor=hypervisor, pcpus=4)[-1] < 0.1 * MS


@pytest.mark.parametrize(
    ("policy", "longest_ms"), [(CREDIT1, 30), (CREDIT2, 1)], ids=["credit1", "credit2"]
)
def test_guests_interrupt_inherits_the_schedulers_tail(policy: Policy, longest_ms: int) -> None:
    """With two vCPUs for each pCPU one waits for a slice, of 30 ms or of the rate limit."""
    ns = waits(hypervisor=False, pcpus=2, policy=policy)

    assert ns[len(ns) // 2] > longest_ms * MS / 10
    assert longest_ms * MS < ns[-1]


@pytest.mark.parametrize("policy", [CREDIT1, CREDIT2], ids=["credit1", "credit2"])
def test_flush_of_the_hypervisor_does_not(policy: Policy) -> None:
    """It is done by whoever runs on the pCPUs, and one at a time: microseconds at any load."""
    assert waits(hypervisor=True, pcpus=2, policy=policy)[-1] < 0.1 * MS
    assert waits(hypervisor=True, pcpus=1, policy=policy)[-1] < 0.1 * MS
