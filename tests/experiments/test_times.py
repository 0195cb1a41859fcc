"""Where the time went: the parts of every record, and of each vCPU, add up to the nanosecond."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiments.record.record import Times
from experiments.scenario.scenario import load, shipped
from experiments.subjects.kinds import named
from experiments.subjects.on_clock import Asked
from models.races.catalogue.index import RACES
from sim.metrics import ACCOUNTS
from tests.boots import record_of

PROCESSES = [
    scenario.name
    for scenario in shipped()
    if load(scenario.name).workload.kind not in ("boot", "parallel-boot")
]
BOOTS = [
    ("dom0-2011", "tables-high"),
    ("domU-7.5GiB-2011", "ro-window"),
    ("guest-512M", "shadow"),
    ("dom0-256M-6.1", "mapped-only-6.1"),
]
OF_SEVERAL_VCPUS = [
    ("parallel-boot-tiny", ()),
    ("parallel-boot-tiny", ("guest.vcpus=5", "machine.pcpus=2", "machine.profile=modern-2023")),
    ("fork-2", ("machine.pcpus=1", "machine.profile=modern-2023")),
    ("fork-2", ("workload.tasks=4", "workload.pause=20us", "workload.iterations=2")),
    ("fork-2", ("guest.vcpus=4", "workload.tasks=3", "workload.pause=5us", "machine.pcpus=2",
                "machine.profile=modern-2023", "workload.iterations=3")),
    ("mtspin-2", ("workload.iterations=2",)),
    ("mtspin-2", ("workload.iterations=2", "machine.pcpus=1", "machine.profile=modern-2023")),
    ("vmalloc", ("guest.vcpus=4", "workload.iterations=3")),
]  # fmt: skip
SHARED = ("pcpus=1", "load=1", "rounds=2", "tries=3")


def check(times: Times, vcpus: int) -> None:
    """All of it adds up, and nothing is less than nothing."""
    assert vcpus == len(times.by_vcpu)
    for part in times.by_vcpu:
        assert times.total == sum(getattr(part, name) for name in ACCOUNTS)
        assert 0 <= min(getattr(part, name) for name in ACCOUNTS)
    for name in ACCOUNTS:
        assert getattr(times, name) == sum(getattr(part, name) for part in times.by_vcpu)


def times_of(source: str, *written: str, asked: Asked | None = None) -> Times:
    """The times of a run on the clock."""
    times = named(source, written).on_clock(asked or Asked()).time_ns
    assert times is not None
    return times


@pytest.mark.parametrize(("scenario", "strategy"), BOOTS)
def test_boot_on_one_vcpu(scenario: str, strategy: str) -> None:
    """However it comes out."""
    times = record_of(scenario, strategy)["time_ns"]

    assert [times["total"]] * 2 == [
        sum(times[name] for name in ACCOUNTS),
        sum(times["by_vcpu"][0].values()),
    ]


@pytest.mark.parametrize("scenario", PROCESSES)
def test_every_workload(scenario: str) -> None:
    """One vCPU or several, each from the phase's beginning to its end."""
    times = times_of(scenario, "workload.iterations=2")

    check(times, load(scenario).guest.vcpus)


@pytest.mark.parametrize(("scenario", "written"), OF_SEVERAL_VCPUS)
@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32), every_event=st.booleans())
def test_several_vcpus(
    scenario: str,
    written: tuple[str, ...],
    seed: int,
    every_event: bool,  # noqa: FBT001 - drawn
) -> None:
    """With pCPUs of their own and without, idle or not, interrupted or not."""
    asked = Asked(seed=seed, every_event=every_event)
    check(times_of(scenario, *written, asked=asked), load(scenario, written).guest.vcpus)


@pytest.mark.parametrize("race", list(RACES))
@pytest.mark.parametrize("written", [("rounds=2", "tries=2"), SHARED])
def test_every_race_on_the_clock(race: str, written: tuple[str, ...]) -> None:
    """The guest's vCPUs only; those of other domains are no part of it."""
    record = named(race, ("fix=off", *written)).on_clock(Asked(seed=2))

    assert record.race is not None
    assert record.time_ns is not None
    check(record.time_ns, record.race.vcpus)


def test_thread_that_spins_in_its_own_program_does_not_wait() -> None:
    """The second thread computes: its time is the guest's, and only locks are waited for."""
    times = times_of("mtspin-2")

    assert times.total / 1000 > times.by_vcpu[1].lock_wait
    assert 0.9 * times.total < times.by_vcpu[1].guest
