"""vCPUs on fewer pCPUs: one record however far each runs ahead, and every nanosecond booked."""

from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sim.cpus.credit1 import Credit1
from sim.cpus.credit2 import Credit2
from sim.cpus.task import Policy
from sim.environment import Deadlock
from sim.metrics import LockTimes
from sim.streams import Streams
from sim.timed import Price, Simulation
from tests.sim.programs import (
    PRICES,
    WITH_SWITCH,
    CoinOracle,
    Op,
    Seen,
    World,
    activity,
    crowded_programs,
)
from tests.sim.timed_run import Notes

TRIALS = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
PRICE_TABLES = st.sampled_from([PRICES, WITH_SWITCH])
SEEDS = st.integers(0, 5)
# Slices as short as the work of the programs, so that it is divided everywhere, and longer than
# a context switch (7 ns): else vCPUs would do nothing but to take turns.
POLICIES = st.sampled_from(
    [
        Credit1(30, 10, 0),
        Credit1(60, 20, 15),
        Credit1(30, 10, 0, begins="aligned"),
        Credit2(15, 40, 20, 5),
        Credit2(15, 40, 0, 0, begins="aligned"),
    ]
)


def run(
    program: tuple[Sequence[Sequence[Op]], int],
    prices: Mapping[str, Price],
    policy: Policy,
    seed: int,
    *,
    every_event: bool = False,
    lock_times: LockTimes | None = None,
) -> tuple[Simulation, dict[str, Any]]:
    """Run a program on its pCPUs: the simulation, and all that the run leaves behind."""
    activities, pcpus = program
    world, notes, streams = World(pcpus=pcpus), Notes(), Streams(seed)
    loads: list[tuple[int, int]] = []
    simulation = Simulation(
        prices,
        streams,
        oracle=CoinOracle(streams),
        probe=notes,
        every_event=every_event,
        pcpus=pcpus,
        scheduler=policy,
        loaded=lambda pcpu, vcpu: loads.append((pcpu, vcpu)),
        lock_times=lock_times,
    )
    for vcpu in activities:
        simulation.start(activity(vcpu, world))
    waits = []
    try:
        simulation.run()
    except Deadlock as deadlock:
        waits = sorted(deadlock.waits)
    assert simulation.scheduler is not None
    return simulation, {
        "notes": notes.all,
        "words": world.words,
        "locks": [lock.locked for lock in world.locks],
        "accounts": [vcpu.accounts for vcpu in [*simulation.vcpus, *simulation.scheduler.idle]],
        "times": [vcpu.local_ns for vcpu in simulation.vcpus],
        "idle": [vcpu.idle_ns for vcpu in simulation.vcpus],
        "loads": loads,
        "waits": waits,
    }


@TRIALS
@given(crowded_programs(), PRICE_TABLES, POLICIES, SEEDS)
def test_every_event_leaves_the_same_record(
    program: tuple[list[list[Op]], int], prices: dict[str, Price], policy: Policy, seed: int
) -> None:
    """Also where work is divided by preemption, blocked, migrated and stolen."""
    _, ahead = run(program, prices, policy, seed)

    assert run(program, prices, policy, seed, every_event=True)[1] == ahead


@TRIALS
@given(crowded_programs(), PRICE_TABLES, POLICIES, SEEDS)
def test_watching_the_locks_changes_nothing(
    program: tuple[list[list[Op]], int], prices: dict[str, Price], policy: Policy, seed: int
) -> None:
    """And each lock's holds are as many as its takings, but for those that were never released."""
    times = LockTimes()
    _, watched = run(program, prices, policy, seed, lock_times=times)

    assert run(program, prices, policy, seed)[1] == watched
    for figures in times.by_name.values():
        assert figures.waited <= figures.taken
        assert figures.hold_max_ns <= figures.hold_total_ns


@TRIALS
@given(crowded_programs(), PRICE_TABLES, POLICIES, SEEDS)
def test_steps_are_made_in_the_order_of_their_times(
    program: tuple[list[list[Op]], int], prices: dict[str, Price], policy: Policy, seed: int
) -> None:
    """Whoever is preempted makes its steps when it is back."""
    _, record = run(program, prices, policy, seed)

    times = [
        time_ns
        for time_ns, _, what in record["notes"]
        if isinstance(what, Seen) and not what.hidden
    ]
    assert sorted(times) == times


@TRIALS
@given(crowded_programs(), PRICE_TABLES, POLICIES, SEEDS)
def test_all_time_of_a_vcpu_is_booked(
    program: tuple[list[list[Op]], int], prices: dict[str, Price], policy: Policy, seed: int
) -> None:
    """Work, waiting, steal and idleness add up to its clock, unless it still waits at the end."""
    simulation, record = run(program, prices, policy, seed)

    waiting = {wait.partition(" ")[0] for wait in record["waits"]}
    for vcpu in simulation.vcpus:
        if vcpu.name not in waiting:
            assert vcpu.local_ns == vcpu.accounts.total


@TRIALS
@given(crowded_programs(), PRICE_TABLES, POLICIES, SEEDS)
def test_no_more_work_is_done_than_the_pcpus_can_do(
    program: tuple[list[list[Op]], int], prices: dict[str, Price], policy: Policy, seed: int
) -> None:
    """At the end all vCPUs together have worked no longer than all pCPUs have been there."""
    simulation, record = run(program, prices, policy, seed)
    if record["waits"]:
        return  # work that nobody will finish is booked when it is begun

    work_ns = 0
    for vcpu in simulation.vcpus:
        accounts = vcpu.accounts
        work_ns += accounts.guest + accounts.hypervisor + accounts.tlb + accounts.lock_wait
    assert work_ns <= simulation.time_ns * program[1]
