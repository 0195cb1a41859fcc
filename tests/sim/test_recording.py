"""Runs on the clock that are recorded and made again, and the first step that differs."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.distributions import Constant, Exponential
from sim.effects import (
    AWAIT_ACKS,
    PREEMPT_POINT,
    STEP,
    Acquire,
    Activity,
    Choose,
    Draw,
    Note,
    PreemptPoints,
    Release,
    Send,
    Spend,
    Trap,
)
from sim.environment import Deadlock
from sim.instant import drain
from sim.locks import SpinLock
from sim.oracle import RecordingOracle, ReplayingOracle, ScriptedOracle, SeededOracle
from sim.recording import (
    Enough,
    Follower,
    Recording,
    Replaying,
    StepDiffers,
    compare,
    read_lines,
)
from sim.streams import Streams
from sim.tape import Diverged, parse_tape
from sim.timed import Price, Simulation
from tests.sim.timed_run import Notes

PRICES = {"work": Price(Exponential(1000.0)), "ns": Price(Constant(1.0))}
DELAY = Exponential(10.0)


class World:
    """Two vCPUs that want a lock, draw, choose, trap and interrupt each other."""

    def __init__(self) -> None:
        self.lock = SpinLock("mm")
        self.results: list[object] = []

    def first(self) -> Activity:
        """Locks, asks and draws."""
        for _ in range(3):
            yield Spend("work")
            yield Acquire(self.lock)
            yield Spend("work")
            yield Release(self.lock)
            yield Trap(self.call(), "ns")
            self.results.append((yield Choose("stale entry", ("used", "gone"))))
            self.results.append((yield Draw("pause", DELAY)))
        yield Note("over")

    def second(self) -> Activity:
        """Interrupts the first one."""
        for _ in range(3):
            yield Spend("work")
            yield Acquire(self.lock)
            yield Release(self.lock)
            yield Send("ipi", (0,), self.handler)
            yield AWAIT_ACKS

    def call(self) -> Activity:
        """A hypercall that asks whether it is to be preempted."""
        yield STEP
        yield Spend("work")
        self.results.append((yield PREEMPT_POINT))
        return (yield self.deeper())

    def deeper(self) -> Activity:
        """Handed to the interpreter, not called by ``yield from``."""
        yield Spend("ns")
        yield STEP

    def handler(self) -> Activity:
        """What the interrupted vCPU does."""
        yield STEP


def run(
    seed: int, follower: Follower | None = None, world: World | None = None
) -> tuple[int, list[object], Notes]:
    """The end of the run, what was answered, and what was noted."""
    made = World() if world is None else world
    simulation = Simulation(PRICES, Streams(seed))
    notes = Notes()
    simulation.probe = notes
    activities = [made.first(), made.second()]
    if follower is not None:
        simulation.oracle = follower.oracle(simulation.oracle)
        simulation.probe = follower.probe(simulation.probe)
        activities = [follower.activity(activity) for activity in activities]
    for activity in activities:
        simulation.start(activity)
    simulation.run()
    return simulation.time_ns, made.results, notes


def recorded(seed: int, change: Callable[[list[str]], list[str]] = list) -> Replaying:
    """A follower that expects the run of this seed, its lines changed."""
    recording = Recording()
    run(seed, recording)
    return Replaying(recording.tape, change(list(read_lines(recording.lines()))))


@pytest.mark.parametrize("seed", range(5))
def test_recording_changes_nothing(seed: int) -> None:
    """Same times, same answers, same notes for who else looks on."""
    plain, followed = run(seed), run(seed, Recording())

    assert plain[:2] == followed[:2]
    assert plain[2].all == followed[2].all


def test_lines_tell_time_vcpu_mode_routine_and_effect() -> None:
    """In the order in which the steps were made."""
    recording = Recording()
    run(0, recording)
    lines = list(read_lines(recording.lines()))

    assert recording.steps == len(lines)
    told = {line.partition(" ")[2] for line in lines}
    assert {
        "0 guest World.first: acquire mm",
        "0 hypervisor World.call: step",
        "0 hypervisor World.deeper: step",
        "0 guest World.first: call",
        "0 guest World.handler: step",
        "1 guest World.second: send",
        "1 guest World.second: acks",
    } <= told
    times = [int(line.split()[0]) for line in lines]
    assert sorted(times) == times


@pytest.mark.parametrize("seed", range(5))
def test_recorded_run_is_made_again(seed: int) -> None:
    """To its end, and no answer is left over."""
    replaying = recorded(seed)

    run(seed, replaying)

    replaying.end()


def test_other_durations_differ_at_the_first_step() -> None:
    """Another seed: the tape does not hold what the lines hold."""
    replaying = recorded(0)

    with pytest.raises(StepDiffers, match="step 0 was"):
        run(1, replaying)


def test_first_step_that_differs_is_told() -> None:
    """What was recorded, and what is made now."""
    replaying = recorded(0, lambda lines: [*lines[:7], "1 0 guest nobody: step", *lines[8:]])

    with pytest.raises(StepDiffers, match="step 7 was 1 0 guest nobody: step, and is") as caught:
        run(0, replaying)

    assert 7 == caught.value.number == replaying.steps


def test_run_that_is_too_long_or_too_short_differs() -> None:
    """Where one of the two has ended."""
    shorter = recorded(0, lambda lines: lines[:-1])
    with pytest.raises(StepDiffers, match="the run had ended"):
        run(0, shorter)

    longer = recorded(0, lambda lines: [*lines, lines[-1]])
    run(0, longer)
    with pytest.raises(StepDiffers, match="the run has ended now"):
        longer.end()


def test_other_answers_lead_elsewhere() -> None:
    """The answers come from the tape, not from the seed."""
    recording = Recording()
    run(0, recording)
    tape = parse_tape(str(recording.tape).replace("stale_entry=0/2", "stale_entry=1/2"))
    world = World()

    run(0, Replaying(tape, read_lines(recording.lines())), world)

    assert {"gone"} == {answer for answer in world.results if answer in ("used", "gone")}


def test_tape_with_answers_to_something_else_is_left_loudly() -> None:
    """Also where the interpreter asks and no activity is running: SimPy makes a copy of it."""
    recording = Recording()
    run(0, recording)

    with pytest.raises(Diverged, match="entry 0 of the tape is 0/0"):
        run(0, Replaying(parse_tape("0/0"), read_lines(recording.lines())))


def test_replay_stops_after_so_many_steps() -> None:
    """And has the last of them at hand."""
    recording = Recording()
    run(0, recording)
    lines = list(read_lines(recording.lines()))
    replaying = Replaying(recording.tape, lines, until=5)

    with pytest.raises(Enough):
        run(0, replaying)

    assert lines[:5] == list(replaying.last)


def test_run_that_ends_in_a_deadlock_is_recorded_up_to_it() -> None:
    """And made again, which ends in the same one."""

    def locking(lock: SpinLock) -> Activity:
        yield Acquire(lock)
        yield Acquire(lock)

    def make(follower: Follower) -> None:
        simulation = Simulation(PRICES, Streams(0))
        simulation.oracle = follower.oracle(simulation.oracle)
        simulation.probe = follower.probe(None)
        simulation.start(follower.activity(locking(SpinLock("mm"))))
        with pytest.raises(Deadlock):
            simulation.run()

    recording = Recording()
    make(recording)
    replaying = Replaying(recording.tape, read_lines(recording.lines()))
    make(replaying)

    replaying.end()
    assert 1 == replaying.steps


def test_two_recordings_are_compared() -> None:
    """The same seed is the same run; another one differs from its first step on."""
    recordings = [Recording() for _ in range(3)]
    for seed, recording in zip((0, 0, 1), recordings, strict=True):
        run(seed, recording)
    one, same, other = (recording.lines() for recording in recordings)

    compare(one, same)
    with pytest.raises(StepDiffers):
        compare(one, other)


def test_damaged_recording_is_refused() -> None:
    """Neither text nor half of one."""
    recording = Recording()
    run(0, recording)

    with pytest.raises(ValueError, match="no compressed text"):
        read_lines(b"nonsense")
    with pytest.raises(ValueError, match="ends in the middle"):
        read_lines(recording.lines()[:-8])


def test_oracle_gives_its_answers_again() -> None:
    """Choices by their place, draws to the bit, and whether a check finds a reason."""
    seeded = SeededOracle(Streams(3))
    recording = RecordingOracle(seeded)
    options = ("stale", "gone", "refilled")
    answers = [
        (recording.choose("entry", options), recording.draw("pause", DELAY)) for _ in range(9)
    ]

    replaying = ReplayingOracle(parse_tape(str(recording.tape)))

    assert answers == [
        (replaying.choose("entry", options), replaying.draw("pause", DELAY)) for _ in range(9)
    ]
    replaying.end()


@pytest.mark.parametrize("script", [(False, False), (False, True)])
def test_preemptions_are_on_the_tape(script: tuple[bool, ...]) -> None:
    """An oracle that has one to come says so, since plain calls in one piece know none."""
    recording = RecordingOracle(ScriptedOracle(script))
    assert list(script) == [recording.preempt() for _ in script]

    replaying = ReplayingOracle(recording.tape)

    assert any(script) is recording.may_preempt is replaying.may_preempt
    assert list(script) == [replaying.preempt() for _ in script]
    with pytest.raises(Diverged):
        replaying.preempt()


@given(script=st.lists(st.booleans(), max_size=8), rows=st.lists(st.integers(1, 5), max_size=4))
def test_a_row_of_preempt_points_has_an_entry_for_each_on_the_tape(
    script: list[bool], rows: list[int]
) -> None:
    """Recorded in rows, it is the tape of single questions, and replays as either."""

    def in_rows() -> Activity:
        answers = []
        for n in rows:
            noes = yield PreemptPoints(n)
            answers.append(noes)
        return answers

    def singly() -> Activity:
        answers = []
        for n in rows:
            noes = 0
            while noes < n and not (yield PREEMPT_POINT):
                noes += 1
            answers.append(noes)
        return answers

    one = RecordingOracle(ScriptedOracle(script))
    other = RecordingOracle(ScriptedOracle(script))

    assert drain(in_rows(), one) == drain(singly(), other)
    assert one.tape == other.tape
    for way in (in_rows, singly):
        replaying = ReplayingOracle(one.tape)
        assert drain(way(), replaying) == drain(singly(), ScriptedOracle(script))
        replaying.end()
