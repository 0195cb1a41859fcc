"""Random programs, recorded and made again: on the clock, in some order, and shrunk."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sim.effects import Activity
from sim.environment import Deadlock
from sim.explore.execution import Taping
from sim.explore.following import Repeating
from sim.explore.program import Program
from sim.explore.searches.random_order import RandomOrder
from sim.explore.shrink import shrink
from sim.recording import Follower, Recording, Replaying, read_lines
from sim.streams import Streams
from sim.tape import parse_tape
from sim.timed import Simulation
from tests.sim.programs import (
    WITH_SWITCH,
    CoinOracle,
    Op,
    World,
    activity,
    crowded_programs,
    programs,
)
from tests.sim.timed_run import Notes

TRIALS = settings(max_examples=60, deadline=None)
seeds = st.integers(0, 5)


def begin(program: Sequence[Sequence[Op]]) -> list[Activity]:
    """Its activities in a fresh world."""
    world = World()
    return [activity(vcpu, world) for vcpu in program]


def run(
    program: Sequence[Sequence[Op]], pcpus: int, seed: int, follower: Follower | None = None
) -> tuple[Any, ...]:
    """A run on the clock: its notes, its times, its words, and whether it got stuck."""
    world, streams, notes = World(pcpus=pcpus), Streams(seed), Notes()
    simulation = Simulation(
        WITH_SWITCH, streams, oracle=CoinOracle(streams), probe=notes, pcpus=pcpus
    )
    activities: list[Activity] = [activity(vcpu, world) for vcpu in program]
    if follower is not None:
        simulation.oracle = follower.oracle(simulation.oracle)
        simulation.probe = follower.probe(simulation.probe)
        activities = [follower.activity(each) for each in activities]
    for each in activities:
        simulation.start(each)
    stuck = ""
    try:
        simulation.run()
    except Deadlock as deadlock:
        stuck = str(deadlock)
    return notes.all, [vcpu.local_ns for vcpu in simulation.vcpus], world.words, stuck


@TRIALS
@given(crowded_programs(), seeds)
def test_run_on_the_clock_is_recorded_and_made_again(
    crowded: tuple[list[list[Op]], int], seed: int
) -> None:
    """With interrupts, blocking, fair locks and few pCPUs: nothing is changed by either."""
    program, pcpus = crowded
    plain = run(program, pcpus, seed)
    recording = Recording()
    recorded = run(program, pcpus, seed, recording)
    replaying = Replaying(parse_tape(str(recording.tape)), read_lines(recording.lines()))

    again = run(program, pcpus, seed, replaying)

    replaying.end()
    assert plain == recorded == again


@TRIALS
@given(programs, st.integers(0, 1000))
def test_order_is_taped_and_made_again(program: list[list[Op]], seed: int) -> None:
    """Every step, every answer, the same end."""
    explored = Program(partial(begin, program))
    taping = Taping(RandomOrder(seed))
    first = explored.run(taping)
    repeating = Repeating(parse_tape(str(taping.tape)))

    again = explored.run(repeating)

    repeating.end()
    assert first == again


@TRIALS
@given(programs, st.integers(0, 1000))
def test_deadlock_is_shrunk_and_made_again(program: list[list[Op]], seed: int) -> None:
    """It is no larger, and followed to the letter it is a deadlock still."""
    explored = Program(partial(begin, program))
    taping = Taping(RandomOrder(seed))
    found = explored.judge(explored.run(taping))
    assume(found is not None)

    shrunk = shrink(explored, taping.tape, at_most=60)

    repeating = Repeating(shrunk.tape, stopped=shrunk.stopped)
    assert found == shrunk.finding == explored.judge(explored.run(repeating))
    repeating.end()
    assert shrunk.after <= shrunk.before
