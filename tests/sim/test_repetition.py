"""Marks and repetitions: work that is told from what it came to once, where nobody sees it."""

from collections.abc import Callable, Iterable
from functools import partial

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from sim.distributions import Constant
from sim.effects import (
    ENTER_GUEST,
    ENTER_HYPERVISOR,
    IRQS_OFF,
    MARK,
    PREEMPT_POINT,
    STEP,
    Acquire,
    Activity,
    Again,
    Block,
    Choose,
    Draw,
    Effect,
    Note,
    Release,
    Send,
    Spend,
    Trap,
    WaitUntil,
    Whole,
)
from sim.explore.execution import InTurn, execute
from sim.instant import drain
from sim.locks import SpinLock
from sim.metrics import LockTimes
from sim.oracle import ScriptedOracle
from sim.recording import Recording
from sim.stepwise import after_every_step
from sim.streams import Streams
from sim.timed import Simulation
from tests.sim.programs import PRICES, Op
from tests.sim.timed_run import PRICES as PLAIN_PRICES
from tests.sim.timed_run import Notes, busy, simulate

_costs = st.sampled_from(sorted(PRICES))
_spends = st.tuples(st.just("spend"), _costs, st.integers(0, 12))
_plain = st.one_of(_spends, _spends, st.just(("step",)), st.just(("note",)))


def _containers(bodies: st.SearchStrategy[list[Op]]) -> st.SearchStrategy[Op]:
    return st.one_of(
        st.tuples(st.just("trap"), _costs, bodies),
        st.tuples(st.just("whole trap"), _costs, st.lists(_spends, max_size=3)),
        st.tuples(st.just("locked"), bodies),
        st.tuples(st.just("call"), bodies),
    )


_inner = st.lists(_plain, max_size=3)
works = st.lists(st.one_of(_plain, _containers(_inner)), max_size=6)
"""Work of which every effect can be told again."""


def working(work: Iterable[Op], number: int, lock: SpinLock) -> Activity:
    """The work, done for the so manieth time: what it notes tells so."""
    for op in work:
        match op:
            case "spend", cost, n:
                yield Spend(cost, n)
            case ("step",):
                yield STEP
            case ("note",):
                yield Note(("done", number))
            case "trap", cost, body:
                yield Trap(working(body, number, lock), cost)
            case "whole trap", cost, body:
                spent = tuple(Spend(cost, n) for _, cost, n in body)
                yield Trap(_never(), cost, partial(Whole, None, spent))
            case "locked", body:
                yield Acquire(lock)
                yield from working(body, number, lock)
                yield Release(lock)
            case "call", body:
                yield working(body, number, lock)


def _never() -> Activity:
    """The body of a trap that is made at once."""
    yield STEP
    raise AssertionError("stepped through")


def renumbered(what: object, number: int) -> object:
    """What the so manieth time notes."""
    assert ("done", 0) == what
    return "done", number


def around(before: Iterable[Op], middle: Activity, after: Iterable[Op]) -> Activity:
    """Work, something else, and work again."""
    lock = SpinLock("other")
    yield from working(before, -1, lock)
    answer = yield from middle
    yield from working(after, -2, lock)
    yield Note("end")
    return answer


def told_again(work: Iterable[Op], times: int) -> Activity:
    """The work, once, and then told so many times more."""
    mark = yield MARK
    yield from working(work, 0, SpinLock("mm"))
    return (yield Again(mark, times, renumbered))


def done_again(work: Iterable[Op], times: int) -> Activity:
    """The work done that often."""
    lock = SpinLock("mm")
    for number in range(times + 1):
        yield from working(work, number, lock)


@given(
    before=works,
    work=works,
    after=works,
    times=st.integers(0, 5),
    noted=st.booleans(),
    seed=st.integers(0, 5),
)
@settings(max_examples=100, deadline=None)
def test_telling_again_is_as_doing_again(
    before: list[Op], work: list[Op], after: list[Op], times: int, seed: int, *, noted: bool
) -> None:
    """The same time, by account and cost, and the same notes at the same times."""
    seen = []
    for middle in (told_again(work, times), done_again(work, times)):
        notes = Notes()
        simulation = Simulation(PRICES, Streams(seed), probe=notes if noted else None)
        simulation.start(around(before, middle, after))
        simulation.run()
        vcpu = simulation.vcpus[0]
        seen.append((notes.all, vcpu.local_ns, vcpu.accounts, vcpu.accounts.by_cost))
        if len(seen) == 1:
            assert vcpu.result is not None
    event("with notes" if len(seen[0][0]) > 1 else "without notes")
    assert seen[1] == seen[0]


def test_answer_is_what_was_spent_by_mode_and_what_was_told() -> None:
    """Cut at each thing that was told."""
    work = [("spend", "long", 2), ("note",), ("trap", "short", [("spend", "long", 3)])]
    simulation, _ = simulate(told_again(work, 3), prices=PRICES)

    spent = simulation.vcpus[0].result
    assert (("done", 0),) == spent.told
    assert ((("guest", "long", 2),),) == spent.units[:1]
    assert {("hypervisor", "short", 1), ("hypervisor", "long", 3)} == set(spent.units[1])


def test_work_before_the_mark_is_not_told_again() -> None:
    """Nor what follows the repetition."""

    def marked_late() -> Activity:
        yield busy(1000)
        yield from told_again([("spend", "ns", 3)], 4)
        yield busy(100)

    simulation, _ = simulate(marked_late())

    assert 1000 + 5 * 3 + 100 == simulation.time_ns


# -- where nothing is told again ------------------------------------------------------------------


def tried(*between: Effect | Activity) -> Activity:
    """Was a mark given, and was the work behind it told again?"""
    mark = yield MARK
    for effect in between:  # noqa: UP028 - answers cannot be sent to a tuple
        yield effect
    spent = yield Again(mark, 2, renumbered)
    return mark is not None, spent is not None


def result_of(simulation: Simulation, work: Activity) -> object:
    """What the first vCPU of a simulation gets out of this."""
    simulation.start(work)
    simulation.run()
    return simulation.vcpus[0].result


def test_alone_on_the_clock_a_mark_is_given() -> None:
    """And used: else the tests below would show nothing."""
    simulation, _ = simulate(tried(busy(10), STEP))

    assert (True, True) == simulation.vcpus[0].result
    assert 30 == simulation.time_ns


def test_among_others_there_is_no_mark() -> None:
    """They could see the middle of the work."""
    simulation, _ = simulate(tried(busy(10), STEP), stepping(5))

    assert (False, False) == simulation.vcpus[0].result
    assert 10 == simulation.vcpus[0].local_ns


def stepping(ns: int) -> Activity:
    """Another's steps."""
    for _ in range(4):
        yield busy(ns)
        yield STEP


def test_with_every_event_there_is_no_mark() -> None:
    """Each step is an event."""
    simulation, _ = simulate(tried(busy(10), STEP), every_event=True)

    assert (False, False) == simulation.vcpus[0].result


def test_there_is_no_mark_where_lock_times_are_kept() -> None:
    """Each lock is looked at."""
    times = LockTimes(lambda _: "lock")
    simulation = Simulation(PLAIN_PRICES, Streams(0), lock_times=times)

    assert (False, False) == result_of(simulation, tried(busy(10)))


def test_there_is_no_mark_under_a_scheduler() -> None:
    """The vCPU may lose its pCPU at any time."""
    simulation = Simulation(PRICES | PLAIN_PRICES, Streams(0), pcpus=1)
    simulation.start(tried(busy(10)))
    simulation.start(tried(busy(10)))
    simulation.run()

    assert [(False, False)] * 2 == [vcpu.result for vcpu in simulation.vcpus]


def test_there_is_no_mark_where_the_hypervisor_may_be_preempted() -> None:
    """On the clock and without one."""
    oracle = ScriptedOracle([False, True])
    simulation, _ = simulate(tried(busy(10)), oracle=oracle)

    assert (False, False) == simulation.vcpus[0].result
    mark = drain(asking(), ScriptedOracle([False, True]))
    assert mark is None


def asking() -> Activity:
    """The answer to a mark."""
    return (yield MARK)


LEAVING: dict[str, Callable[[], Effect]] = {
    "draw": lambda: Draw("gap", Constant(5.0)),
    "choose": lambda: Choose("option", (1, 2)),
    "irqs": lambda: IRQS_OFF,
    "send": lambda: Send("ipi", (0,), nothing, latency="ns"),
    "wait": lambda: WaitUntil("nothing", lambda: True),
    "block": lambda: Block("nothing", lambda: True),
    "enter": lambda: ENTER_HYPERVISOR,
    "leave": lambda: ENTER_GUEST,
}


def nothing() -> Activity:
    """A handler without work."""
    yield from ()


@pytest.mark.parametrize("kind", LEAVING)
def test_what_is_more_than_work_is_not_told_again(kind: str) -> None:
    """Something random, an interrupt, a wait: the mark is lost, and time passes once."""
    simulation, _ = simulate(tried(busy(10), LEAVING[kind](), busy(1)))

    assert (True, False) == simulation.vcpus[0].result
    assert 11 <= simulation.time_ns < 3 * 11


@pytest.mark.parametrize("kind", sorted(LEAVING.keys() - {"send"}))
def test_what_came_before_the_mark_does_not_matter(kind: str) -> None:
    """A mark looks forward only."""

    def late() -> Activity:
        yield LEAVING[kind]()
        return (yield from tried(busy(10)))

    simulation, _ = simulate(late())

    assert (True, True) == simulation.vcpus[0].result


def test_what_is_more_than_work_is_not_told_again_from_inside_a_call() -> None:
    """Nor from a call in a call."""

    def inner() -> Activity:
        yield Draw("gap", Constant(5.0))

    def outer() -> Activity:
        yield inner()

    simulation, _ = simulate(tried(Trap(outer(), "ns")))

    assert (True, False) == simulation.vcpus[0].result


def test_looking_for_a_reason_to_stop_is_plain_work() -> None:
    """Where there can be none."""
    simulation, _ = simulate(tried(busy(10), PREEMPT_POINT))

    assert (True, True) == simulation.vcpus[0].result


def test_mark_serves_once() -> None:
    """The second time nothing is done."""

    def twice() -> Activity:
        mark = yield MARK
        yield busy(10)
        first = yield Again(mark, 1, renumbered)
        second = yield Again(mark, 1, renumbered)
        return first is not None, second is not None

    simulation, _ = simulate(twice())

    assert (True, False) == simulation.vcpus[0].result
    assert 20 == simulation.time_ns


def test_older_mark_does_not_serve_after_a_newer() -> None:
    """What came before the newer is not remembered."""

    def nested() -> Activity:
        older = yield MARK
        yield busy(10)
        yield MARK
        yield busy(1)
        return (yield Again(older, 5, renumbered))

    simulation, _ = simulate(nested())

    assert simulation.vcpus[0].result is None
    assert 11 == simulation.time_ns


def test_newer_mark_serves_after_an_older() -> None:
    """With what came since."""

    def nested() -> Activity:
        yield MARK
        yield busy(10)
        newer = yield MARK
        yield busy(1)
        return (yield Again(newer, 5, renumbered))

    simulation, _ = simulate(nested())

    assert simulation.vcpus[0].result is not None
    assert 16 == simulation.time_ns


def test_no_mark_is_no_mark() -> None:
    """Who got none and asks all the same has nothing done."""

    def without() -> Activity:
        yield busy(10)
        return (yield Again(None, 5, renumbered))

    simulation, _ = simulate(without())

    assert simulation.vcpus[0].result is None
    assert 10 == simulation.time_ns


def test_error_in_what_is_told_ends_the_run() -> None:
    """As an error of the activity's own would."""

    def refuse(what: object, number: int) -> object:
        raise LookupError(f"{what} {number}")

    def telling() -> Activity:
        mark = yield MARK
        yield Note("odd")
        yield Again(mark, 1, refuse)

    with pytest.raises(LookupError, match="odd 1"):
        simulate(telling())


# -- without the clock, and watched ---------------------------------------------------------------


def test_without_a_clock_there_is_nothing_to_be_told() -> None:
    """Work takes no time, so there is a mark, and equal work is equal."""
    spent = drain(told_again([("spend", "ns", 3), ("note",)], 4))

    assert spent == drain(told_again([("spend", "ns", 3), ("note",)], 4))
    assert ((), ()) == spent


def test_under_a_look_at_every_step_there_is_no_mark() -> None:
    """Each would be looked at; a step is looked at once, not again at a mark behind it."""
    looks = []

    def look() -> None:
        looks.append(1)

    simulation, _ = simulate(after_every_step(around([], tried(STEP), []), look))

    assert (False, False) == simulation.vcpus[0].result


def test_in_a_recording_there_is_no_mark() -> None:
    """Each step has its line."""
    simulation, recording = Simulation(PLAIN_PRICES, Streams(0)), Recording()
    simulation.oracle = recording.oracle(simulation.oracle)
    simulation.probe = recording.probe(simulation.probe)

    work = recording.activity(around([], tried(busy(10), STEP), []))
    assert (False, False) == result_of(simulation, work)
    assert 10 == simulation.time_ns


def test_while_exploring_there_is_no_mark() -> None:
    """Every order of the steps is gone through."""
    answers = []

    def keeping() -> Activity:
        answers.append((yield from tried(STEP)))

    execute([keeping(), keeping()], InTurn())

    assert [(False, False)] * 2 == answers
