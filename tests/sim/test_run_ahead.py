"""Running ahead of the clock saves events and changes nothing that anybody can see."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sim.effects import STEP, Activity, Spend
from sim.environment import Deadlock
from sim.metrics import Accounts
from sim.streams import Streams
from sim.timed import Price, Simulation
from tests.sim.programs import (
    PRICES,
    WITH_HAND_OVER,
    CoinOracle,
    Op,
    Seen,
    World,
    activity,
    interrupting_programs,
    programs,
)
from tests.sim.timed_run import Notes, simulate

TRIALS = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
PRICE_TABLES = st.sampled_from([PRICES, WITH_HAND_OVER])
SEEDS = st.integers(0, 5)


def run(
    program: Sequence[Sequence[Op]],
    prices: Mapping[str, Price],
    seed: int,
    *,
    every_event: bool = False,
    asks_singly: bool = False,
) -> tuple[Simulation, Notes, World, list[str]]:
    """Run a program: the simulation, the notes, the shared world, and who waits at the end."""
    world, notes, streams = World(asks_singly=asks_singly), Notes(), Streams(seed)
    simulation = Simulation(
        prices, streams, oracle=CoinOracle(streams), probe=notes, every_event=every_event
    )
    for vcpu in program:
        simulation.start(activity(vcpu, world))
    waits = []
    try:
        simulation.run()
    except Deadlock as deadlock:
        waits = sorted(deadlock.waits)
    return simulation, notes, world, waits


def record(
    program: Sequence[Sequence[Op]],
    prices: Mapping[str, Price],
    seed: int,
    *,
    every_event: bool,
    asks_singly: bool = False,
) -> dict[str, Any]:
    """All that a run leaves behind."""
    simulation, notes, world, waits = run(
        program, prices, seed, every_event=every_event, asks_singly=asks_singly
    )
    return {
        "notes": notes.all,
        "words": world.words,
        "locks": [lock.locked for lock in world.locks],
        "accounts": [vcpu.accounts for vcpu in simulation.vcpus],
        "times": [vcpu.local_ns for vcpu in simulation.vcpus],
        "waits": waits,
    }


def sum_of(accounts: Accounts) -> int:
    """All headings together."""
    return accounts.guest + accounts.hypervisor + accounts.tlb + accounts.lock_wait


def working(steps: int) -> Activity:
    """So many steps with work between."""
    for _ in range(steps):
        yield Spend("ns", 3)
        yield STEP


@TRIALS
@given(programs, PRICE_TABLES, SEEDS)
def test_every_event_leaves_the_same_record(
    program: list[list[Op]], prices: dict[str, Price], seed: int
) -> None:
    """Notes in the same order at the same times, the same words, accounts and deadlocks."""
    ahead = record(program, prices, seed, every_event=False)

    assert record(program, prices, seed, every_event=True) == ahead


@TRIALS
@given(interrupting_programs(), SEEDS)
def test_every_event_leaves_the_same_record_with_interrupts(
    program: list[list[Op]], seed: int
) -> None:
    """Also where work is divided, held back and acknowledged."""
    ahead = record(program, PRICES, seed, every_event=False)

    assert record(program, PRICES, seed, every_event=True) == ahead


@TRIALS
@given(program=st.one_of(programs, interrupting_programs()), seed=SEEDS, every_event=st.booleans())
def test_a_row_of_preempt_points_is_so_many_single_ones(
    program: list[list[Op]], seed: int, *, every_event: bool
) -> None:
    """With chance for an oracle, interrupts that come meanwhile, and ties on a nanosecond."""
    in_rows = record(program, PRICES, seed, every_event=every_event)

    assert in_rows == record(program, PRICES, seed, every_event=every_event, asks_singly=True)


@TRIALS
@given(program=programs, prices=PRICE_TABLES, seed=SEEDS, every_event=st.booleans())
def test_steps_are_made_in_the_order_of_their_times(
    program: list[list[Op]], prices: dict[str, Price], seed: int, *, every_event: bool
) -> None:
    """However far a vCPU has run ahead, nobody sees a step before its time."""
    _, notes, _, _ = run(program, prices, seed, every_event=every_event)

    times = [
        time_ns for time_ns, _, what in notes.all if isinstance(what, Seen) and not what.hidden
    ]
    assert sorted(times) == times


@TRIALS
@given(program=programs, prices=PRICE_TABLES, seed=SEEDS, every_event=st.booleans())
def test_all_time_of_a_vcpu_is_booked(
    program: list[list[Op]], prices: dict[str, Price], seed: int, *, every_event: bool
) -> None:
    """Its headings add up to its clock, unless it still waits at the end."""
    simulation, _, _, waits = run(program, prices, seed, every_event=every_event)

    waiting = {wait.partition(" ")[0] for wait in waits}
    for vcpu in simulation.vcpus:
        if vcpu.name not in waiting:
            assert sum_of(vcpu.accounts) == vcpu.local_ns
            assert sum(vcpu.accounts.by_cost.values()) <= vcpu.local_ns


def test_vcpu_alone_posts_a_handful_of_events() -> None:
    """However many steps it makes."""
    few, _ = simulate(working(10))
    many, _ = simulate(working(10_000))

    assert few.env.events_posted == many.env.events_posted <= 5


def test_every_event_posts_one_event_a_step_at_least() -> None:
    """Each step is then an event of its own, also for a vCPU alone."""
    simulation, _ = simulate(working(1000), every_event=True)

    assert simulation.env.events_posted >= 1000


def test_events_are_posted_for_meetings_not_for_steps() -> None:
    """Beside a vCPU that steps ten times, ten thousand post some events for each."""

    def seldom() -> Activity:
        for _ in range(10):
            yield Spend("ns", 2999)
            yield STEP

    simulation, _ = simulate(working(10_000), seldom())

    assert simulation.env.events_posted < 10 * 5


@pytest.mark.parametrize("every_event", [False, True])
def test_same_seed_gives_the_same_run(*, every_event: bool) -> None:
    """Notes and accounts repeat; another seed gives other times."""
    program: list[list[Op]] = [[("spend", "validate", 9), ("step", 0), ("draw", 5.0)]] * 3

    def of(seed: int) -> dict[str, Any]:
        return record(program, PRICES, seed, every_event=every_event)

    assert of(1) == of(1)
    assert of(1)["times"] != of(2)["times"]
