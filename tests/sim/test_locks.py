"""Locks: taken by the interpreter, waited for without spinning, charged to the one who waits."""

from functools import partial

import pytest

from sim.distributions import Constant
from sim.effects import (
    ENTER_HYPERVISOR,
    STEP,
    Acquire,
    Activity,
    Bulk,
    Note,
    Release,
    Send,
    WaitUntil,
)
from sim.environment import Deadlock
from sim.locks import SpinLock, TicketLock
from sim.metrics import LockFigures, LockTimes
from sim.streams import Streams
from sim.timed import Price, Simulation
from tests.sim.timed_run import PRICES, BriefLock, busy, simulate

HAND_OVER = PRICES | {"lock_handoff": Price(Constant(90.0))}


class RefusingLock(SpinLock):
    """There is nothing to be locked here."""

    def take(self) -> bool:
        """Refuse."""
        return False


def holding(lock: SpinLock | TicketLock, ns: int, *, after: int = 0) -> Activity:
    """Hold the lock for so long, from so late on; returns whether it was got."""
    yield busy(after)
    got = yield Acquire(lock)
    yield Note("got it")
    yield busy(ns)
    if got:
        yield Release(lock)
    return got


def taking_two(first: SpinLock, second: SpinLock) -> Activity:
    """Take two locks, with some work in between."""
    yield Acquire(first)
    yield busy(100)
    yield Acquire(second)
    yield Release(second)
    yield Release(first)


def test_spin_lock_is_busy_from_taking_to_release() -> None:
    """It is one word."""
    lock = SpinLock("pgd_lock")
    states = [lock.busy()]
    assert lock.take()
    states.append(lock.busy())
    lock.release()
    states.append(lock.busy())

    assert [False, True, False] == states


def test_second_taker_gets_the_lock_at_its_release() -> None:
    """Both want it at once; it is held for 250 ns."""
    lock = SpinLock("a")

    _, notes = simulate(holding(lock, 250), holding(lock, 250))

    assert [0, 250] == sorted(notes.times("got it"))


def test_time_waited_for_a_lock_is_charged_to_lock_wait() -> None:
    """Coming 100 ns into 250 means waiting for 150; the holder waits for nothing."""
    lock = SpinLock("a")

    simulation, _ = simulate(holding(lock, 250), holding(lock, 0, after=100))

    assert [0, 150] == [vcpu.accounts.lock_wait for vcpu in simulation.vcpus]


def test_time_waited_for_a_condition_is_charged_to_lock_wait() -> None:
    """As for a lock."""
    done: list[bool] = []

    def doer() -> Activity:
        yield busy(400)
        yield STEP
        done.append(True)

    def waiter() -> Activity:
        yield busy(150)
        yield WaitUntil("it is done", lambda: bool(done))

    simulation, _ = simulate(doer(), waiter())

    assert [0, 250] == [vcpu.accounts.lock_wait for vcpu in simulation.vcpus]


def test_hand_over_of_a_lock_is_charged_to_the_one_who_waited() -> None:
    """The cache line travels: 150 ns of waiting and 90 of hand-over, before it goes on."""
    lock = SpinLock("a")

    simulation, notes = simulate(holding(lock, 250), holding(lock, 0, after=100), prices=HAND_OVER)

    assert [0, 240] == [vcpu.accounts.lock_wait for vcpu in simulation.vcpus]
    assert [0, 340] == notes.times("got it")


def test_lock_got_without_waiting_has_no_hand_over() -> None:
    """Its cost is part of the work around it."""
    lock = SpinLock("a")

    simulation, _ = simulate(holding(lock, 50), holding(lock, 50, after=100), prices=HAND_OVER)

    assert [0, 0] == [vcpu.accounts.lock_wait for vcpu in simulation.vcpus]


def test_waiting_for_a_condition_has_no_hand_over() -> None:
    """No lock changes hands, and a free one taken afterwards costs nothing more."""
    lock = SpinLock("a")
    done: list[bool] = []

    def doer() -> Activity:
        yield busy(400)
        yield STEP
        done.append(True)

    def waiter() -> Activity:
        yield WaitUntil("it is done", lambda: bool(done))
        yield Acquire(lock)

    simulation, _ = simulate(doer(), waiter(), prices=HAND_OVER)

    assert [0, 400] == [vcpu.accounts.lock_wait for vcpu in simulation.vcpus]


def test_one_waiter_of_three_goes_first_and_the_others_wait_on() -> None:
    """Each holds the lock for 100 ns; whoever is last has waited for the three before it."""
    lock = SpinLock("a")

    simulation, notes = simulate(*(holding(lock, 100) for _ in range(4)))

    assert [0, 100, 200, 300] == sorted(notes.times("got it"))
    assert [0, 100, 200, 300] == sorted(vcpu.accounts.lock_wait for vcpu in simulation.vcpus)


def test_refused_lock_answers_false() -> None:
    """The activity hears that there is nothing to be locked."""
    simulation, _ = simulate(holding(RefusingLock("a"), 0))

    assert [False] == [vcpu.result for vcpu in simulation.vcpus]


def test_deadlock_tells_who_waits_for_what_and_who_holds_it() -> None:
    """Two vCPUs take two locks in opposite orders."""
    mm, pgd = SpinLock("page_table_lock"), SpinLock("pgd_lock")

    with pytest.raises(Deadlock) as caught:
        simulate(taking_two(mm, pgd), taking_two(pgd, mm))

    assert {
        "vcpu0 waits for pgd_lock, held by vcpu1",
        "vcpu1 waits for page_table_lock, held by vcpu0",
    } == set(caught.value.waits)


def test_deadlock_of_a_condition_names_it() -> None:
    """Nobody holds a condition."""

    def waiter() -> Activity:
        yield WaitUntil("the type of mfn 5", lambda: False)

    with pytest.raises(Deadlock, match=r"^vcpu0 waits for the type of mfn 5$"):
        simulate(waiter())


def test_same_order_of_locks_does_not_deadlock() -> None:
    """Both get through."""
    mm, pgd = SpinLock("page_table_lock"), SpinLock("pgd_lock")

    simulation, _ = simulate(taking_two(mm, pgd), taking_two(mm, pgd))

    assert simulation.time_ns == 200


# -- fair and unfair --------------------------------------------------------------------------


def test_ticket_lock_is_locked_while_somebody_has_a_turn() -> None:
    """Two tickets are drawn; each turn lasts from the release before to its own."""
    lock = TicketLock("a")
    states = [lock.locked]
    assert lock.take()
    ticket = lock.draw_ticket()
    states.append(lock.serves(ticket))
    lock.release()
    states += [lock.serves(ticket), lock.busy()]
    lock.release()
    states.append(lock.locked)

    assert [False, False, True, True, False] == states


def order_of(lock: SpinLock | TicketLock, seed: int) -> list[int]:
    """Who got a lock, one after the other, when vCPU n asks for it at n times 10 ns."""
    vcpus = [holding(lock, 100, after=10 * number) for number in range(5)]
    _, notes = simulate(*vcpus, seed=seed)
    return [vcpu for _, vcpu, what in notes.all if what == "got it"]


def test_ticket_lock_is_handed_on_in_the_order_of_asking() -> None:
    """Whatever the seed."""
    assert [[0, 1, 2, 3, 4]] * 10 == [order_of(TicketLock("a"), seed) for seed in range(10)]


def test_spin_lock_is_got_by_any_of_those_who_wait() -> None:
    """Everybody but the first comes out at every place."""
    orders = [order_of(SpinLock("a"), seed) for seed in range(40)]

    assert {0} == {order[0] for order in orders}
    for place in range(1, 5):
        assert {1, 2, 3, 4} == {order[place] for order in orders}


def test_ticket_lock_of_an_interrupted_waiter_keeps_its_turn() -> None:
    """The handler takes another fair lock on top of the ticket, and gives it back."""
    lock, other = TicketLock("a"), TicketLock("b")

    def handler() -> Activity:
        yield from holding(other, 10)

    def sender() -> Activity:
        yield busy(50)
        yield Send("ipi", (1,), handler)

    _, notes = simulate(
        sender(), holding(lock, 100, after=10), holding(lock, 100), holding(lock, 100, after=20)
    )

    assert [(0, 2), (50, 1), (100, 1), (200, 3)] == [
        (time_ns, who) for time_ns, who, _ in notes.all
    ]


# -- waits and holds ---------------------------------------------------------------------------


def timed(*activities: Activity, names: dict[str, str] | None = None) -> LockTimes:
    """The waits and holds of the locks in a run."""
    times = LockTimes() if names is None else LockTimes(lambda key: names[str(key)])
    simulation = Simulation(HAND_OVER, Streams(0), lock_times=times)
    for activity in activities:
        simulation.start(activity)
    simulation.run()
    return times


def test_waits_and_holds_of_a_lock_are_kept() -> None:
    """Held for 250 ns and for 100; waited for from 100 to 250 ns, and the hand-over of 90."""
    lock = SpinLock("a")

    times = timed(holding(lock, 250), holding(lock, 100, after=100))

    expected = LockFigures(
        taken=2,
        waited=1,
        wait_total_ns=240,
        wait_max_ns=240,
        hold_total_ns=350,
        hold_max_ns=250,
    )
    assert {"a": expected} == times.by_name


def test_holds_are_known_for_a_vcpu_alone_too() -> None:
    """And of a lock that is held for a moment, at whose release the time is charged."""
    times = timed(holding(BriefLock("page"), 250))

    assert (1, 0, 250) == (
        times.by_name["page"].taken,
        times.by_name["page"].waited,
        times.by_name["page"].hold_max_ns,
    )


def test_locks_may_be_counted_together() -> None:
    """One name for the locks of all pages."""
    names = {"page 1": "page", "page 2": "page"}

    times = timed(holding(SpinLock("page 1"), 10), holding(SpinLock("page 2"), 20), names=names)

    assert (2, 30) == (times.by_name["page"].taken, times.by_name["page"].hold_total_ns)


# -- locks that are held for a moment ---------------------------------------------------------


def writing_under(lock: SpinLock, word: list[int]) -> Activity:
    """From 100 ns to 400 ns, set the word to 1 and then to 2, with work between."""
    yield busy(100)
    yield ENTER_HYPERVISOR
    yield Acquire(lock)
    for value in (1, 2):
        yield busy(100)
        yield STEP
        word[0] = value
    yield busy(100)
    yield Release(lock)
    yield Note("released")


def looking(word: list[int], seen: list[int]) -> Activity:
    """Look at the word every 20 ns without a lock, for half a microsecond."""
    for _ in range(25):
        yield busy(20)
        yield STEP
        seen.append(word[0])


def test_nobody_sees_inside_a_brief_lock() -> None:
    """What is done under it appears as one change, though time passes."""
    word, seen = [0], list[int]()

    simulate(writing_under(BriefLock("page_lock"), word), looking(word, seen))

    assert {0, 2} == set(seen)


def test_nobody_sees_bulk_work_inside_a_brief_lock() -> None:
    """It is no more visible than a step."""
    word, seen = [0], list[int]()

    def each(item: int) -> Activity:
        yield STEP
        word[0] = item

    def writing() -> Activity:
        lock = BriefLock("page_lock")
        yield Acquire(lock)
        for value in (1, 2):
            yield busy(100)
            yield Bulk((value,), each, partial(word.__setitem__, 0, value))
        yield busy(100)
        yield Release(lock)

    simulate(writing(), looking(word, seen))

    assert 1 not in seen


def test_others_see_inside_a_lock_that_is_not_brief() -> None:
    """Its steps are steps like any other: 0 up to 200 ns, 1 up to 300, then 2.

    At 200 and 300 ns both vCPUs step at once, in an order that is drawn.
    """
    word, seen = [0], list[int]()

    simulate(writing_under(SpinLock("mm"), word), looking(word, seen))

    assert [0] * 9 == seen[:9]
    assert [1] * 4 == seen[10:14]
    assert [2] * 10 == seen[15:]


def test_time_under_a_brief_lock_is_over_at_its_release() -> None:
    """Another vCPU gets the lock when the work under it is done, not when it is begun."""
    lock, word = BriefLock("page_lock"), [0]

    simulation, notes = simulate(writing_under(lock, word), holding(lock, 0, after=150))

    assert [400] == notes.times("released")
    assert [400] == notes.times("got it")
    assert [0, 250] == [vcpu.accounts.lock_wait for vcpu in simulation.vcpus]


def test_time_under_a_brief_lock_is_booked_as_what_it_was() -> None:
    """100 ns of the guest and 300 of the hypervisor."""
    simulation, _ = simulate(writing_under(BriefLock("page_lock"), [0]))

    accounts = simulation.vcpus[0].accounts
    assert (100, 300, 0) == (accounts.guest, accounts.hypervisor, accounts.lock_wait)


def test_brief_lock_saves_the_events_of_the_steps_under_it() -> None:
    """Beside a busy vCPU, a hundred steps under it post no more events than one."""

    def events(steps: int) -> int:
        lock = BriefLock("page_lock")

        def locking() -> Activity:
            yield busy(1000)
            yield Acquire(lock)
            for _ in range(steps):
                yield busy(100 // steps)
                yield STEP
            yield Release(lock)

        simulation, _ = simulate(locking(), looking([0], []))
        return simulation.env.events_posted

    assert events(1) == events(100)
