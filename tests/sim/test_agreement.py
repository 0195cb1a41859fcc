"""The interpreters agree: what one of them shows of a program, exploring it finds as well."""

from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sim.effects import Activity, Note
from sim.environment import Deadlock
from sim.explore.program import Program
from sim.explore.searches.depth_first import explore
from sim.instant import Stuck, drain
from sim.streams import Streams
from sim.timed import Simulation
from tests.sim.programs import PRICES, WORDS, CoinOracle, Op, World, activity

TRIALS = settings(max_examples=100, deadline=None)
Outcome = tuple[tuple[Any, ...], ...]
"""What each vCPU heard, None for one that never ended; and the shared words."""

_words = st.integers(0, WORDS - 1)
_steps = st.tuples(st.just("step"), _words)
_plain = st.one_of(
    _steps,
    _steps,
    st.tuples(st.just("spend"), st.sampled_from(["long", "flush", "validate"]), st.integers(1, 3)),
    st.tuples(st.just("bulk"), _words, st.integers(0, 2)),
    st.tuples(st.just("wait"), _words, st.integers(0, 2)),
    st.tuples(st.just("choose"), st.integers(1, 2)),
    st.just(("preempt",)),
)
_locked = st.tuples(st.just("locked"), st.integers(0, 2), st.lists(_plain, max_size=2))
_programs = st.lists(st.lists(_plain | _locked, min_size=1, max_size=3), min_size=2, max_size=2)


def listening(heard: list[object], program: Sequence[Op], world: World) -> Activity:
    """The program's activity; it returns what it would have noted."""
    inner = activity(program, world)
    answer: Any = None
    while True:
        try:
            effect = inner.send(answer)
        except StopIteration:
            return tuple(heard)
        if isinstance(effect, Note):
            heard.append(effect.what)
            answer = None
        else:
            answer = yield effect


def explored(program: Sequence[Sequence[Op]]) -> set[Outcome]:
    """The outcomes of all orders."""
    worlds: list[World] = []

    def build() -> list[Activity]:
        world = World()
        worlds.append(world)
        return [listening([], vcpu, world) for vcpu in program]

    executions = list(explore(Program(build)))
    return {
        (*execution.results, tuple(world.words))
        for execution, world in zip(executions, worlds, strict=True)
    }


@TRIALS
@given(_programs, st.integers(0, 3))
def test_exploring_finds_what_timed_runs_show(program: list[list[Op]], first_seed: int) -> None:
    """Whatever the delays, ties and choices of a run: ten seeds each."""
    outcomes = explored(program)

    for seed in range(10 * first_seed, 10 * first_seed + 10):
        world, streams = World(), Streams(seed)
        simulation = Simulation(PRICES, streams, oracle=CoinOracle(streams))
        for vcpu in program:
            simulation.start(listening([], vcpu, world))
        try:
            simulation.run()
        except Deadlock:
            assert None in [vcpu.result for vcpu in simulation.vcpus]
        results = tuple(vcpu.result for vcpu in simulation.vcpus)
        assert (*results, tuple(world.words)) in outcomes


@TRIALS
@given(_programs, st.permutations([0, 1]))
def test_exploring_finds_what_running_in_turn_shows(
    program: list[list[Op]], order: list[int]
) -> None:
    """One vCPU after the other is one of the orders, unless it gets stuck."""
    world = World()
    results: dict[int, Any] = {}
    try:
        for number in order:
            results[number] = drain(listening([], program[number], world))
    except Stuck:
        return

    assert (results[0], results[1], tuple(world.words)) in explored(program)
