"""Anybody's SimPy processes beside vCPUs: what each sees of the other, and how a run ends."""

from collections.abc import Callable, Generator, Sequence
from typing import Any

import pytest
import simpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from simpy.events import Event

from sim.cpus.credit1 import Credit1
from sim.effects import (
    AWAIT_ACKS,
    IRQS_OFF,
    STEP,
    Acquire,
    Activity,
    Await,
    Block,
    Note,
    Release,
    Send,
    WaitUntil,
)
from sim.environment import Deadlock, Environment
from sim.locks import SpinLock
from sim.streams import Streams
from sim.timed import Simulation
from tests.sim.programs import (
    PRICES as PROGRAM_PRICES,
)
from tests.sim.programs import (
    CoinOracle,
    Op,
    World,
    activity,
    crowded_programs,
    interrupting_programs,
)
from tests.sim.timed_run import PRICES, Notes, busy

Process = Generator[Event, Any, Any]


def simulation_with(notes: Notes, *, every_event: bool = False) -> Simulation:
    """An empty one."""
    return Simulation(PRICES, Streams(0), probe=notes, every_event=every_event)


def ticking(env: simpy.Environment, ns: int, act: Callable[[], object] = lambda: None) -> Process:
    """For ever."""
    while True:
        yield env.timeout(ns)
        act()


def at(env: simpy.Environment, ns: int, act: Callable[[], object]) -> Process:
    """Once."""
    yield env.timeout(ns)
    act()


def fetching(store: simpy.Store, n: int = 1) -> Activity:
    """Take so many items, and note each."""
    for _ in range(n):
        yield Note((yield Await("an item", lambda _: store.get())))


# -- waiting for an event -----------------------------------------------------------------------


def test_answer_is_the_events_value_at_its_time() -> None:
    """As in a process of SimPy's own."""
    notes = Notes()
    simulation = simulation_with(notes)

    def waiting() -> Activity:
        yield Note((yield Await("a bell", lambda env: env.timeout(500, "rung"))))

    simulation.start(waiting())
    simulation.run()

    assert [(500, 0, "rung")] == notes.all


def test_event_is_made_at_the_vcpus_own_time() -> None:
    """Although the vCPU is alone and ahead of the clock."""
    seen: list[tuple[int, int]] = []
    simulation = simulation_with(Notes())

    def ask(env: simpy.Environment) -> Event:
        seen.append((int(env.now), simulation.vcpus[0].local_ns))
        return env.timeout(7)

    def waiting() -> Activity:
        yield busy(300)
        yield Await("a bell", ask)

    vcpu = simulation.start(waiting())
    simulation.run()

    assert [(300, 300)] == seen
    assert (307, 7) == (vcpu.local_ns, vcpu.idle_ns)


def test_event_that_has_come_already_holds_nobody_up() -> None:
    """Its value is still its value."""
    notes = Notes()
    simulation = simulation_with(notes)
    bell = simulation.env.timeout(10, "rung")

    def waiting() -> Activity:
        yield busy(300)
        yield Note((yield Await("a bell", lambda _: bell)))

    simulation.start(waiting())
    simulation.run()

    assert [(300, 0, "rung")] == notes.all


def test_interrupt_is_taken_while_an_event_is_awaited() -> None:
    """The event is made once; the vCPU goes on when its handler and the event have come."""
    notes, asked = Notes(), []
    simulation = simulation_with(notes)

    def ask(env: simpy.Environment) -> Event:
        asked.append(env.now)
        return env.timeout(100, "rung")

    def waiting() -> Activity:
        yield Note((yield Await("a bell", ask)))

    def handling() -> Activity:
        yield busy(30)
        yield STEP
        yield Note("handled")

    def sending() -> Activity:
        yield busy(50)
        yield Send("ipi", (0,), handling)
        yield busy(35)
        yield Send("ipi", (0,), handling)
        yield AWAIT_ACKS
        yield Note("acknowledged")

    simulation.start(waiting())
    simulation.start(sending())
    simulation.run()

    assert [0] == asked
    assert [80, 115] == notes.times("handled")
    assert [115] == notes.times("acknowledged") == notes.times("rung")


def test_interrupt_waits_where_it_is_held_back() -> None:
    """As everywhere."""
    notes = Notes()
    simulation = simulation_with(notes)

    def waiting() -> Activity:
        yield IRQS_OFF
        yield Note((yield Await("a bell", lambda env: env.timeout(100, "rung"))))

    def handling() -> Activity:
        yield Note("handled")

    def sending() -> Activity:
        yield busy(50)
        yield Send("ipi", (0,), handling)

    simulation.start(waiting())
    simulation.start(sending())
    simulation.run()

    assert ([100], []) == (notes.times("rung"), notes.times("handled"))


def test_pcpu_is_for_others_while_an_event_is_awaited() -> None:
    """Two vCPUs on one pCPU, of which whoever is first keeps it from the other for 100 ns only."""
    simulation = Simulation(PRICES, Streams(0), pcpus=1, scheduler=Credit1())

    def waiting() -> Activity:
        yield busy(100)
        yield Await("a bell", lambda env: env.timeout(5000))

    vcpus = [simulation.start(waiting()) for _ in range(2)]
    simulation.run()

    assert [5100, 5200] == sorted(vcpu.local_ns for vcpu in vcpus)
    assert [5000, 5000] == [vcpu.idle_ns for vcpu in vcpus]
    assert [0, 100] == sorted(vcpu.steal_ns for vcpu in vcpus)


class BrokenDisk(Exception):
    """A failure that SimPy could not copy."""

    def __init__(self, *, sector: int) -> None:
        super().__init__()
        self.sector = sector


def test_event_that_fails_ends_the_run_with_its_exception() -> None:
    """The very object, at the time of the failure."""
    failure = BrokenDisk(sector=5)
    simulation = simulation_with(Notes())
    disk = simulation.env.event()
    simulation.env.process(at(simulation.env, 40, lambda: disk.fail(failure)))

    def waiting() -> Activity:
        yield Await("the disk", lambda _: disk)

    simulation.start(waiting())
    with pytest.raises(BrokenDisk) as caught:
        simulation.run()

    assert failure is caught.value
    assert simulation.time_ns == 40


def test_what_is_no_event_is_refused() -> None:
    """A function that forgets to return it."""
    simulation = simulation_with(Notes())

    def waiting() -> Activity:
        yield Await("the disk", lambda _: None)  # type: ignore[arg-type, return-value]

    simulation.start(waiting())
    with pytest.raises(TypeError, match="the disk: not an event of SimPy's: None"):
        simulation.run()


def test_failure_of_a_process_ends_the_run() -> None:
    """SimPy raises a copy; the original is its cause."""
    simulation = simulation_with(Notes())
    failure = ValueError("no more requests")

    def failing() -> None:
        raise failure

    simulation.env.process(at(simulation.env, 40, failing))
    simulation.start(fetching(simpy.Store(simulation.env)))
    with pytest.raises(ValueError, match="no more requests") as caught:
        simulation.run()

    assert failure is caught.value.__cause__


# -- what each sees of the other ------------------------------------------------------------------


@pytest.mark.parametrize("every_event", [False, True])
def test_vcpu_sees_what_a_process_has_done_and_not_what_it_will_do(*, every_event: bool) -> None:
    """The process is due at 100, 200, ...; on its nanosecond it comes first."""
    word: list[int] = []
    notes = Notes()
    simulation = simulation_with(notes, every_event=every_event)
    simulation.env.process(ticking(simulation.env, 100, lambda: word.append(1)))

    def looking() -> Activity:
        for ns in (99, 1, 50, 249, 1):
            yield busy(ns)
            yield STEP
            yield Note(len(word))

    simulation.start(looking())
    simulation.run()

    assert [(99, 0, 0), (100, 0, 1), (150, 0, 1), (399, 0, 3), (400, 0, 4)] == notes.all


def test_process_sees_the_steps_before_its_time_and_no_others() -> None:
    """Although the vCPU could have run ahead."""
    steps, seen = [0], []
    simulation = simulation_with(Notes())
    simulation.env.process(ticking(simulation.env, 25, lambda: seen.append(steps[0])))

    def stepping() -> Activity:
        for _ in range(10):
            yield busy(10)
            yield STEP
            steps[0] += 1

    simulation.start(stepping())
    simulation.run()

    assert [2, 4, 7, 9] == seen


@pytest.mark.parametrize("kind", [WaitUntil, Block])
def test_waiting_vcpu_notices_what_a_process_changes(kind: type[WaitUntil]) -> None:
    """Nobody has to tell it."""
    word = [0]
    notes = Notes()
    simulation = simulation_with(notes)
    simulation.env.process(at(simulation.env, 70, lambda: word.append(1)))

    def waiting() -> Activity:
        yield kind("the word", lambda: len(word) == 2)
        yield Note("there")

    simulation.start(waiting())
    simulation.run()

    assert [70] == notes.times("there")


def test_waiting_vcpu_notices_a_lock_that_a_process_gives_back() -> None:
    """Locks are words of the model, which a process may change, too."""
    lock = SpinLock("mm")
    lock.take()
    notes = Notes()
    simulation = simulation_with(notes)
    simulation.env.process(at(simulation.env, 70, lock.release))

    def locking() -> Activity:
        yield Acquire(lock)
        yield Note("mine")
        yield Release(lock)

    vcpu = simulation.start(locking())
    simulation.run()

    assert [70] == notes.times("mine")
    assert vcpu.accounts.lock_wait == 70


def test_items_of_a_process_are_served_in_the_order_of_asking() -> None:
    """The vCPU that asked first has the first item."""
    notes = Notes()
    simulation = simulation_with(notes)
    store = simpy.Store(simulation.env)
    items = iter("abcdef")
    simulation.env.process(ticking(simulation.env, 100, lambda: store.put(next(items))))

    def late() -> Activity:
        yield busy(10)
        yield from fetching(store, 2)

    simulation.start(late())
    simulation.start(fetching(store, 2))
    simulation.run()

    assert [(100, 1, "a"), (200, 0, "b"), (300, 1, "c"), (400, 0, "d")] == notes.all


def test_process_may_wait_for_what_a_vcpu_makes() -> None:
    """Both ways: the vCPU puts, the process gets, at the vCPU's time."""
    got: list[tuple[int, str]] = []
    simulation = simulation_with(Notes())
    env, store = simulation.env, simpy.Store(simulation.env)

    def getting() -> Process:
        while True:
            item = yield store.get()
            got.append((env.now_ns, item))

    def putting() -> Activity:
        yield busy(123)
        yield Await("room", lambda _: store.put("dirty page"))

    env.process(getting())
    simulation.start(putting())
    simulation.run()

    assert [(123, "dirty page")] == got


def test_fraction_of_a_nanosecond_is_refused_wherever_it_comes_from() -> None:
    """Not only in the environment's own timeout."""
    env = Environment()

    with pytest.raises(TypeError, match=r"whole number of nanoseconds, not 0\.5"):
        simpy.Timeout(env, 0.5)


# -- the end ----------------------------------------------------------------------------------


def test_run_ends_with_the_last_vcpu_although_a_process_goes_on() -> None:
    """What the process would do later is not done."""
    ticks: list[int] = []
    simulation = simulation_with(Notes())
    env = simulation.env
    env.process(ticking(env, 100, lambda: ticks.append(env.now_ns)))

    def working(ns: int) -> Activity:
        yield busy(ns)
        yield STEP

    simulation.start(working(250))
    simulation.start(working(520))
    simulation.run()

    assert [100, 200, 300, 400, 500] == ticks
    assert simulation.time_ns == 520


def test_interrupts_on_their_way_are_answered_before_the_run_ends() -> None:
    """As in a run without others."""
    notes = Notes()
    simulation = simulation_with(notes)
    simulation.env.process(ticking(simulation.env, 7))

    def handling() -> Activity:
        yield busy(100)
        yield STEP
        yield Note("handled")

    def sending() -> Activity:
        yield busy(10)
        yield Send("ipi", (1,), handling, latency="ns")

    def nothing() -> Activity:
        yield STEP

    simulation.start(sending())
    simulation.start(nothing())
    simulation.run()

    assert [111] == notes.times("handled")


@pytest.mark.parametrize("pcpus", [None, 1])
def test_run_under_a_scheduler_ends_although_a_process_goes_on(pcpus: int | None) -> None:
    """Its timers go on while others are due, and are no reason to."""
    simulation = Simulation(PRICES, Streams(0), pcpus=pcpus, scheduler=Credit1())
    word = [0]
    simulation.env.process(ticking(simulation.env, 40_000_000, lambda: word.append(1)))

    def waiting() -> Activity:
        yield Block("the word", lambda: len(word) == 3)

    def working() -> Activity:
        yield busy(50_000_000)
        yield STEP

    simulation.start(waiting())
    simulation.start(working())
    simulation.run()

    assert simulation.time_ns == 80_000_000


def test_deadlock_names_who_waits_for_an_event() -> None:
    """The process has come to its end, and nothing else will make an item."""
    simulation = simulation_with(Notes())
    store = simpy.Store(simulation.env)
    simulation.env.process(at(simulation.env, 10, lambda: store.put("only one")))
    simulation.start(fetching(store, 2))

    with pytest.raises(Deadlock) as caught:
        simulation.run()

    assert ["vcpu0 waits for an item"] == caught.value.waits


def test_vcpus_that_lock_each_other_out_are_a_deadlock_although_a_process_goes_on() -> None:
    """It could not help them."""
    simulation = simulation_with(Notes())
    simulation.env.process(ticking(simulation.env, 100))
    first, second = SpinLock("mm"), SpinLock("pgd")

    def locking(*locks: SpinLock) -> Activity:
        for lock in locks:
            yield Acquire(lock)
            yield busy(10)

    simulation.start(locking(first, second))
    simulation.start(locking(second, first))

    with pytest.raises(Deadlock) as caught:
        simulation.run()

    assert sorted(caught.value.waits) == [
        "vcpu0 waits for pgd, held by vcpu1",
        "vcpu1 waits for mm, held by vcpu0",
    ]


def test_who_waits_can_be_asked_by_a_process_that_sets_a_limit() -> None:
    """As the guide does it."""
    simulation = simulation_with(Notes())
    env = simulation.env
    env.process(ticking(env, 100))

    def limit() -> Process:
        yield env.timeout(5000)
        raise Deadlock(simulation.who_waits())

    env.process(limit())
    simulation.start(fetching(simpy.Store(env)))

    with pytest.raises(Deadlock) as caught:
        simulation.run()

    assert ["vcpu0 waits for an item"] == caught.value.waits


# -- running ahead ----------------------------------------------------------------------------

SHORT = st.integers(0, 40)
FOREIGN_OPS = st.one_of(
    st.tuples(st.just("timeout"), SHORT),
    st.tuples(st.just("word"), st.integers(0, 2)),
    st.tuples(st.just("put"), st.integers(0, 9)),
    st.tuples(st.just("get")),
    st.tuples(st.just("use"), SHORT),
    st.tuples(st.just("bell")),
)
FOREIGN = st.lists(
    st.tuples(st.lists(FOREIGN_OPS, min_size=1, max_size=5), st.booleans()), min_size=1, max_size=3
)
"""Processes as lists of what they do, and whether they begin again at the end."""
AWAITS = st.lists(
    st.lists(
        st.one_of(
            st.none(),
            st.tuples(st.just("timeout"), SHORT),
            st.tuples(st.just("put"), st.integers(0, 9)),
            st.tuples(st.just("get")),
            st.tuples(st.just("use"), SHORT),
            st.tuples(st.just("bell")),
        ),
        max_size=7,
    ),
    min_size=4,
    max_size=4,
)
"""What each vCPU awaits behind each of its ops, if anything."""


class Shared:
    """What vCPUs and processes of others share, and what these have seen."""

    def __init__(self, env: Environment) -> None:
        self.env = env
        self.world = World()
        self.store = simpy.Store(env, capacity=2)
        self.disk = simpy.Resource(env)
        self.bell = env.event()
        self.seen: list[tuple[Any, ...]] = []

    def acting(self, number: int, program: Sequence[Op], *, again: bool) -> Process:
        """A process of SimPy's kind; ``again``: for ever, but for a pause."""
        while True:
            for op in program:
                answer = yield from self._act(op)
                self.seen.append((number, self.env.now, op, answer, *self.world.words))
            if not again:
                return
            yield self.env.timeout(13)

    def _act(self, op: Op) -> Process:
        match op:
            case "word", word:
                self.world.words[word] += 1
                return None
            case "use", ns:
                with self.disk.request() as request:
                    yield request
                    yield self.env.timeout(ns)
                return None
            case ("bell",):
                old, self.bell = self.bell, self.env.event()
                old.succeed(self.env.now)
                return None
        return (yield self._event(op))

    def _event(self, op: Op) -> Event:
        match op:
            case "timeout", ns:
                return self.env.timeout(ns)
            case "put", item:
                return self.store.put(item)
            case ("get",):
                return self.store.get()
            case ("bell",):
                return self.bell
        raise AssertionError(op)

    def running(self, program: Sequence[Op], awaits: Sequence[Op | None]) -> Activity:
        """A vCPU's activity, with events of SimPy's in between."""
        padded = [*awaits, *([None] * len(program))]
        for op, event in zip(program, padded, strict=False):
            yield from activity([op], self.world)
            if event is not None:
                yield Note((event, (yield from self._awaiting(event))))

    def _awaiting(self, op: Op) -> Activity:
        if op[0] != "use":
            return (yield Await(str(op), lambda _: self._event(op)))
        asked: list[Any] = []

        def ask(_: simpy.Environment) -> Event:
            asked.append(self.disk.request())
            request: Event = asked[0]
            return request

        yield Await("the disk", ask)
        yield busy(op[1])
        yield Await("its release", lambda _: self.disk.release(asked[0]))
        return None


def record(
    program: Sequence[Sequence[Op]],
    foreign: Sequence[tuple[Sequence[Op], bool]],
    awaits: Sequence[Sequence[Op | None]],
    seed: int,
    *,
    pcpus: int | None = None,
    every_event: bool = False,
) -> dict[str, Any]:
    """All that a run leaves behind, up to a limit that a process sets."""
    notes, streams = Notes(), Streams(seed)
    simulation = Simulation(
        PROGRAM_PRICES | PRICES,
        streams,
        oracle=CoinOracle(streams),
        probe=notes,
        every_event=every_event,
        pcpus=pcpus,
        scheduler=Credit1(),
    )
    shared = Shared(simulation.env)
    if pcpus is not None:
        shared.world.pcpus = pcpus
    for number, (ops, again) in enumerate(foreign):
        simulation.env.process(shared.acting(number, ops, again=again))
    for number, ops in enumerate(program):
        simulation.start(shared.running(ops, awaits[number]))

    def limit() -> Process:
        yield simulation.env.timeout(20_000)
        raise Deadlock(["limit", *simulation.who_waits()])

    simulation.env.process(limit())
    waits = []
    try:
        simulation.run()
    except Deadlock as deadlock:
        waits = sorted(deadlock.waits)
    return {
        "notes": notes.all,
        "seen": shared.seen,
        "words": shared.world.words,
        "items": shared.store.items,
        "accounts": [vcpu.accounts for vcpu in simulation.vcpus],
        "idle": [vcpu.idle_ns for vcpu in simulation.vcpus],
        "times": [vcpu.local_ns for vcpu in simulation.vcpus],
        "results": [vcpu.ended for vcpu in simulation.vcpus],
        "waits": waits,
    }


TRIALS = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@TRIALS
@given(interrupting_programs(), FOREIGN, AWAITS, st.integers(0, 3))
def test_every_event_leaves_the_same_record_beside_processes(
    program: list[list[Op]],
    foreign: list[tuple[list[Op], bool]],
    awaits: list[list[Op | None]],
    seed: int,
) -> None:
    """Notes, words, items, times, and what the processes saw and when."""
    ahead = record(program, foreign, awaits, seed)

    assert record(program, foreign, awaits, seed, every_event=True) == ahead


@TRIALS
@given(crowded_programs(), FOREIGN, AWAITS, st.integers(0, 3))
def test_every_event_leaves_the_same_record_beside_processes_on_fewer_pcpus(
    crowded: tuple[list[list[Op]], int],
    foreign: list[tuple[list[Op], bool]],
    awaits: list[list[Op | None]],
    seed: int,
) -> None:
    """Also where a vCPU that awaits an event gives its pCPU to another."""
    program, pcpus = crowded
    ahead = record(program, foreign, awaits, seed, pcpus=pcpus)

    assert record(program, foreign, awaits, seed, pcpus=pcpus, every_event=True) == ahead
