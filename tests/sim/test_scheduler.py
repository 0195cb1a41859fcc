"""Who runs where and when: slices, priorities, boosts, rate limits, and interrupts meanwhile."""

from collections.abc import Callable, Iterator

import pytest

from sim.cpus.credit1 import Credit1
from sim.cpus.credit2 import Credit2
from sim.cpus.task import Policy
from sim.distributions import Constant
from sim.effects import (
    AWAIT_ACKS,
    ENTER_GUEST,
    ENTER_HYPERVISOR,
    IRQS_OFF,
    PREEMPT_POINT,
    STEP,
    Acquire,
    Activity,
    Block,
    Note,
    Release,
    Send,
    Spend,
    Trap,
)
from sim.environment import Deadlock
from sim.locks import SpinLock, TicketLock
from sim.metrics import LockTimes
from sim.oracle import ScriptedOracle
from sim.streams import Streams
from sim.timed import Price, Simulation
from tests.sim.timed_run import PRICES, Notes

MS = 1_000_000
TABLE = PRICES | {"ms": Price(Constant(float(MS))), "us": Price(Constant(1000.0))}
ALIGNED1 = Credit1(ratelimit_ns=0, begins="aligned")
ALIGNED2 = Credit2(begins="aligned")


def simulate(
    *activities: Activity,
    pcpus: int = 1,
    policy: Policy = ALIGNED1,
    prices: dict[str, Price] = TABLE,
    seed: int = 0,
    loaded: Callable[[int, int], None] | None = None,
    lock_times: LockTimes | None = None,
) -> tuple[Simulation, Notes]:
    """Run one activity a vCPU on these pCPUs: the simulation, and what was noted in it."""
    notes = Notes()
    simulation = Simulation(
        prices,
        Streams(seed),
        probe=notes,
        oracle=ScriptedOracle(),
        pcpus=pcpus,
        scheduler=policy,
        loaded=loaded,
        lock_times=lock_times,
    )
    for activity in activities:
        simulation.start(activity)
    simulation.run()
    return simulation, notes


def working(ms: int, *, noting: bool = False) -> Activity:
    """A guest that works for so long, and notes the middle of each millisecond."""
    for _ in range(ms):
        yield Spend("us", 500)
        yield STEP
        if noting:
            yield Note("ms")
        yield Spend("us", 500)


def first_loads(vcpus: int, pcpus: int, seed: int) -> list[tuple[int, int]]:
    """Which vCPU each pCPU begins with."""
    loads: list[tuple[int, int]] = []
    idlers = [nothing() for _ in range(vcpus)]
    simulate(*idlers, pcpus=pcpus, seed=seed, loaded=lambda *load: loads.append(load))
    return loads[:pcpus]


def seed_where_first(*numbers: int, vcpus: int = 2) -> int:
    """A seed with which these vCPUs, in this order, have the first pCPUs."""
    for seed in range(1000):
        if first_loads(vcpus, len(numbers), seed) == list(enumerate(numbers)):
            return seed
    raise AssertionError(numbers)


def running(notes: Notes, *, of: int) -> Iterator[tuple[int, int]]:
    """The stretches in which a vCPU noted each millisecond, in ms: (first, last)."""
    times = [time_ns // MS for time_ns, vcpu, what in notes.all if vcpu == of and what == "ms"]
    first = times[0]
    for earlier, later in zip(times, [*times[1:], None], strict=True):
        if later != earlier + 1:
            yield first, earlier
            first = later or 0


# -- sharing a pCPU ----------------------------------------------------------------------------


def test_two_vcpus_take_turns_in_slices() -> None:
    """30 ms each, in drawn order; the one that is through leaves the pCPU to the other."""
    _, notes = simulate(working(70, noting=True), working(70, noting=True))

    stretches = sorted([*running(notes, of=0), *running(notes, of=1)])
    assert [(0, 29), (30, 59), (60, 89), (90, 119), (120, 129), (130, 139)] == stretches


def test_time_without_a_pcpu_is_steal() -> None:
    """Each has worked for 70 ms; the rest of the time the other one ran."""
    simulation, _ = simulate(working(70), working(70))

    for vcpu in simulation.vcpus:
        assert 70 * MS == vcpu.accounts.guest
        assert vcpu.local_ns - 70 * MS == vcpu.accounts.steal
    assert 140 * MS == simulation.time_ns


def test_local_time_of_a_preempted_vcpu_stands_still() -> None:
    """A piece of work of 50 ms is divided by the other's slice and not shortened."""

    def in_one_piece() -> Activity:
        yield Spend("ms", 50)
        yield STEP
        yield Note("done")

    _, notes = simulate(in_one_piece(), in_one_piece())

    assert [80 * MS, 100 * MS] == notes.times("done")


def test_switching_costs_what_the_profile_says() -> None:
    """It is the hypervisor's work, for whoever comes on; the first one is there already."""
    prices = TABLE | {"vcpu_context_switch": Price(Constant(3000.0))}

    simulation, _ = simulate(working(70), working(70), prices=prices)

    switches = [vcpu.accounts.by_cost["vcpu_context_switch"] for vcpu in simulation.vcpus]
    # Slices of 30 ms less the way in: six stretches of running, the first without a switch.
    assert 5 * 3000 == sum(switches) == sum(v.accounts.hypervisor for v in simulation.vcpus)
    assert 140 * MS + 5 * 3000 == simulation.time_ns


def test_as_many_pcpus_as_vcpus_need_no_scheduler() -> None:
    """Everybody has one, and nothing is stolen."""
    simulation, _ = simulate(working(70), working(70), pcpus=2)

    assert simulation.scheduler is None
    assert [70 * MS, 70 * MS] == [vcpu.local_ns for vcpu in simulation.vcpus]


@pytest.mark.parametrize("policy", [Credit1(), Credit2()], ids=["credit1", "credit2"])
def test_pcpus_are_shared_out_equally(policy: Policy) -> None:
    """Three busy vCPUs on two pCPUs: each has two thirds of one, to within a slice or two."""
    simulation, _ = simulate(*(working(600) for _ in range(3)), pcpus=2, policy=policy)

    first_ns = min(vcpu.local_ns for vcpu in simulation.vcpus)
    assert 900 * MS - 60 * MS <= first_ns <= 900 * MS
    assert 900 * MS <= simulation.time_ns <= 900 * MS + 60 * MS


def test_no_pcpu_idles_while_somebody_could_run() -> None:
    """A pCPU whose vCPUs are through takes over another's."""
    simulation, _ = simulate(working(10), working(10), working(90), working(90), pcpus=2)

    assert 100 * MS <= simulation.time_ns <= 130 * MS


def test_pcpu_loads_the_state_of_whoever_comes_on() -> None:
    """Once for each switch; a vCPU that goes on keeps its own."""
    loads: list[tuple[int, int]] = []

    simulate(working(40), working(40), loaded=lambda *load: loads.append(load))

    first = loads[0][1]
    assert [(0, first), (0, 1 - first), (0, first), (0, 1 - first)] == loads


def test_run_may_begin_within_a_slice() -> None:
    """The first turn is then shorter, by a draw; later ones are whole."""
    ends = set()
    for seed in range(5):
        _, notes = simulate(
            working(70, noting=True), working(70, noting=True), policy=Credit1(), seed=seed
        )
        ends.add(min([*running(notes, of=0), *running(notes, of=1)])[1])

    assert len(ends) > 1
    assert all(end < 30 for end in ends)


# -- where a vCPU can be preempted -------------------------------------------------------------


def test_hypervisor_is_not_preempted_between_its_points() -> None:
    """A hypercall of 50 ms without any ends before the other gets its turn."""

    def calling() -> Activity:
        yield ENTER_HYPERVISOR
        yield Spend("ms", 50)
        yield STEP
        yield ENTER_GUEST
        yield STEP
        yield Note("called")

    seed = seed_where_first(0)
    simulation, notes = simulate(calling(), working(1, noting=True), seed=seed)

    assert [50 * MS + MS // 2] == notes.times("ms")
    assert 50 * MS == simulation.vcpus[0].accounts.hypervisor


def test_preemption_point_says_that_the_scheduler_wants_the_pcpu() -> None:
    """The call is ended there, others run, and its continuation finds nobody in its way."""
    answers: list[tuple[int, bool]] = []

    def calling() -> Activity:
        for n in range(1, 5):
            yield Spend("ms", 20)
            wanted = yield PREEMPT_POINT
            answers.append((n, wanted))
            if wanted:
                yield ENTER_GUEST
                yield ENTER_HYPERVISOR
        yield STEP

    def guest() -> Activity:
        yield Trap(calling(), "ns")
        yield Note("called")

    simulation, notes = simulate(guest(), guest())

    # Asked at 20 and at 40 ms of each turn of 30.
    assert [(1, False), (1, False), (2, True), (2, True), (3, False), (3, False)] == sorted(
        answers
    )[:6]
    assert 2 == len(notes.times("called"))
    assert simulation.vcpus[0].accounts.steal >= 40 * MS


def test_guests_interrupt_makes_a_preemption_point_answer_yes() -> None:
    """An event that the guest would take is a reason to leave a long call."""

    def calling() -> Activity:
        yield Spend("us", 5)
        yield Note((yield PREEMPT_POINT))
        yield Spend("us", 20)
        yield Note((yield PREEMPT_POINT))
        yield ENTER_GUEST
        yield ENTER_HYPERVISOR
        yield Note((yield PREEMPT_POINT))

    def handler() -> Activity:
        yield Note("handled")

    def sender() -> Activity:
        yield Spend("us", 10)
        yield Send("ipi", (0,), handler)

    def guest() -> Activity:
        yield Trap(calling(), "ns")

    _, notes = simulate(guest(), sender(), pcpus=2)

    assert [False, True, "handled", False] == [what for _, _, what in notes.all]


# -- blocking and waking -----------------------------------------------------------------------


def waking(at_ms: int, target: int) -> Activity:
    """Work for ever, and interrupt a vCPU at that time."""
    yield Spend("ms", at_ms)
    yield Send("ipi", (target,), handling)
    yield from working(100)


def handling() -> Activity:
    """Note when the interrupt is taken."""
    yield STEP
    yield Note("handled")


def nothing() -> Activity:
    """Be idle from the start."""
    yield STEP


def test_vcpu_with_nothing_to_do_leaves_its_pcpu_and_its_time_is_no_steal() -> None:
    """The idle one wakes for the interrupt only."""
    simulation, notes = simulate(waking(20, 1), nothing(), seed=seed_where_first(1))

    [handled_ns] = notes.times("handled")
    idler = simulation.vcpus[1]
    assert 20 * MS == handled_ns == idler.local_ns
    assert idler.local_ns == idler.idle_ns + idler.accounts.steal
    assert 120 * MS == simulation.time_ns


def test_credit1_boosts_who_wakes() -> None:
    """It has used no credit: it preempts the other at once, in the middle of its slice."""
    _, notes = simulate(waking(5, 1), nothing(), seed=seed_where_first(1))

    assert [5 * MS] == notes.times("handled")


def test_credit1_does_not_boost_who_has_used_up_its_credit() -> None:
    """It was busy until just before it blocked: it waits until the slice of the other ends."""

    def busy_then_idle() -> Activity:
        yield from working(100)

    def sender() -> Activity:
        yield from working(100)
        yield Send("ipi", (0,), handling)
        yield from working(40)

    for seed in range(8):
        simulation, notes = simulate(busy_then_idle(), sender(), working(300), seed=seed)
        if simulation.vcpus[0].idle_ns:
            break
    [handled_ns] = notes.times("handled")

    assert handled_ns - simulation.vcpus[0].idle_ns >= 100 * MS
    assert simulation.vcpus[0].accounts.steal > 0


def test_rate_limit_lets_a_vcpu_run_for_a_while_before_a_boosted_one() -> None:
    """It came on 200 us before: the woken one waits until it has run for 1 ms."""
    policy = Credit1(begins="aligned")

    def sender() -> Activity:
        yield Spend("us", 200)
        yield Send("ipi", (1,), handling)
        yield from working(100)

    _, notes = simulate(sender(), nothing(), policy=policy, seed=seed_where_first(1))

    assert [MS] == notes.times("handled")


def test_credit2_lets_who_wakes_with_more_credit_run_first() -> None:
    """The other has burned 5 ms of its own."""
    seed = seed_where_first(1)
    _, notes = simulate(waking(5, 1), nothing(), policy=ALIGNED2, seed=seed)

    assert [5 * MS] == notes.times("handled")


def test_credit2_looks_again_when_the_other_has_as_much_credit() -> None:
    """Busy vCPUs take turns of 0.5 ms to 10 ms, never 30."""
    _, notes = simulate(working(70, noting=True), working(70, noting=True), policy=ALIGNED2)

    for vcpu in (0, 1):
        lengths = [last - first + 1 for first, last in running(notes, of=vcpu)]
        assert max(lengths[:-1]) <= 10


def test_blocked_vcpu_wakes_when_its_condition_holds() -> None:
    """It has left its pCPU meanwhile, and nothing was stolen from either."""
    done: list[bool] = []
    asked: list[bool] = []

    def is_done() -> bool:
        asked.append(True)
        return bool(done)

    def blocking() -> Activity:
        yield Block("it is done", is_done)
        yield Note("woken")

    def doing() -> Activity:
        yield Spend("ms", 12)
        yield STEP
        done.append(bool(asked))
        yield Spend("ms", 3)

    # Who runs first is drawn: a seed with which the other has not had the pCPU before.
    for seed in range(20):
        done.clear()
        asked.clear()
        simulation, notes = simulate(blocking(), doing(), seed=seed)
        if done == [True]:
            break

    assert [True] == done
    assert [12 * MS] == notes.times("woken")
    assert 12 * MS == simulation.vcpus[0].idle_ns
    assert 0 == simulation.vcpus[0].accounts.lock_wait


# -- interrupts of guests and of the hypervisor ------------------------------------------------


def interrupting(at_ms: int, target: int, *, hypervisor: bool) -> Activity:
    """Interrupt a vCPU, or pCPU, and wait until it is handled."""
    yield Spend("ms", at_ms)
    yield Send("ipi", (target,), flushing, hypervisor=hypervisor)
    yield AWAIT_ACKS
    yield Note("acknowledged")


def flushing() -> Activity:
    """A handler of 40 ns that is booked under ``tlb``."""
    yield Spend("refill", 40)
    yield STEP


@pytest.mark.parametrize("seed", range(6))
def test_guests_interrupt_waits_for_a_preempted_target(seed: int) -> None:
    """Its sender spins until the target has a pCPU again; that can be most of a slice."""
    sender = interrupting(40, 1, hypervisor=False)

    simulation, notes = simulate(sender, working(200), working(200), seed=seed)

    waited_ns = simulation.vcpus[0].accounts.lock_wait + simulation.vcpus[0].accounts.steal
    assert notes.times("acknowledged")
    assert waited_ns > 10 * MS


@pytest.mark.parametrize("seed", range(6))
def test_hypervisors_interrupt_does_not_wait_for_a_preempted_vcpu(seed: int) -> None:
    """Whoever runs on the pCPU takes it: four vCPUs on two pCPUs, and 40 ns of waiting at most."""
    waits: list[int] = []

    def sender() -> Activity:
        for pcpu in (0, 1) * 20:
            yield Spend("ms")
            yield ENTER_HYPERVISOR
            yield STEP
            before = simulation.vcpus[0].accounts.lock_wait
            yield Send("flush", (pcpu,), flushing, hypervisor=True)
            yield AWAIT_ACKS
            waits.append(simulation.vcpus[0].accounts.lock_wait - before)
            yield ENTER_GUEST

    simulation = Simulation(TABLE, Streams(seed), pcpus=2, scheduler=ALIGNED1)
    for activity in (sender(), working(100), working(100), working(100)):
        simulation.start(activity)
    simulation.run()

    assert 40 == len(waits)
    assert max(waits) <= 40
    assert 40 * 40 == sum(vcpu.accounts.tlb for vcpu in simulation.vcpus)
    assert simulation.vcpus[0].accounts.steal > 0


def test_idle_pcpu_takes_the_hypervisors_interrupts_itself() -> None:
    """The vCPU that ran there last is not woken."""
    simulation, notes = simulate(
        interrupting(5, 1, hypervisor=True),
        nothing(),
        nothing(),
        pcpus=2,
        seed=seed_where_first(0, 1, vcpus=3),
    )

    assert [5 * MS + 40] == notes.times("acknowledged")
    assert simulation.scheduler is not None
    assert 40 == sum(vcpu.accounts.tlb for vcpu in [*simulation.scheduler.idle, *simulation.vcpus])
    assert 0 == sum(vcpu.accounts.tlb for vcpu in simulation.vcpus[1:])


def test_interrupt_wakes_an_idle_target_only_where_it_can_be_taken() -> None:
    """A guest that ended with its interrupts off stays idle."""

    def deaf() -> Activity:
        yield IRQS_OFF

    with pytest.raises(Deadlock, match="vcpu0 waits for 1 acknowledgements"):
        simulate(interrupting(5, 1, hypervisor=False), deaf(), seed=seed_where_first(1))


# -- locks of preempted holders ----------------------------------------------------------------


def critical(lock: SpinLock | TicketLock, after_us: int, hold_us: int, what: str) -> Activity:
    """Take a lock for a while, and note when it was got."""
    yield Spend("us", after_us)
    yield Acquire(lock)
    yield Note(what)
    yield Spend("us", hold_us)
    yield Release(lock)
    yield Note(f"{what} released")


def test_waiting_for_a_preempted_holder_burns_the_waiters_slice() -> None:
    """The holder loses its pCPU in the middle; the other spins for its whole slice."""
    lock, times = SpinLock("mm"), LockTimes()

    simulation, _ = simulate(
        critical(lock, 20_000, 20_000, "a"), critical(lock, 20_000, 20_000, "b"), lock_times=times
    )

    # 20 of work and 10 under the lock; 20 of work and 10 of spinning; 10 more under the lock ...
    assert [10 * MS] == [
        vcpu.accounts.lock_wait for vcpu in simulation.vcpus if vcpu.accounts.lock_wait
    ]
    figures = times.by_name["mm"]
    assert (2, 1) == (figures.taken, figures.waited)
    assert 20 * MS == figures.wait_max_ns == figures.wait_total_ns  # 10 spinning, 10 preempted
    assert 50 * MS + 20 * MS == figures.hold_total_ns
    assert 50 * MS == figures.hold_max_ns


def crowded_lock(lock: SpinLock | TicketLock, seed: int) -> int:
    """Four vCPUs on two pCPUs take a lock for 100 us, a hundred times each; the time of it all."""

    def user() -> Activity:
        for n in range(100):
            yield from critical(lock, 10, 100, f"{n}")

    simulation, _ = simulate(
        user(), user(), user(), user(), pcpus=2, policy=Credit1(), prices=TABLE, seed=seed
    )
    return simulation.time_ns


def test_preempted_waiter_whose_turn_it_is_keeps_all_others_waiting() -> None:
    """A fair lock goes to somebody without a pCPU; an unfair one to whoever can take it."""
    unfair_ns = sum(crowded_lock(SpinLock("mm"), seed) for seed in range(3))
    fair_ns = sum(crowded_lock(TicketLock("mm"), seed) for seed in range(3))

    assert fair_ns > 3 * unfair_ns


def test_deadlock_of_preempted_spinners_ends_the_run() -> None:
    """Their slices would go on for ever."""
    mm, pgd = SpinLock("mm"), SpinLock("pgd")

    def taking(first: SpinLock, second: SpinLock) -> Activity:
        yield Acquire(first)
        yield Spend("ms", 40)
        yield Acquire(second)

    with pytest.raises(Deadlock) as caught:
        simulate(taking(mm, pgd), taking(pgd, mm))

    assert {
        "vcpu0 waits for pgd, held by vcpu1",
        "vcpu1 waits for mm, held by vcpu0",
    } == set(caught.value.waits)


def test_hypervisor_that_spins_for_a_preempted_guest_hangs() -> None:
    """It never leaves the pCPU that the holder needs."""
    lock = SpinLock("mm")

    def holder() -> Activity:
        yield Acquire(lock)
        yield Spend("ms", 40)
        yield Release(lock)

    def spinner() -> Activity:
        yield ENTER_HYPERVISOR
        yield Acquire(lock)
        yield Release(lock)
        yield ENTER_GUEST

    with pytest.raises(Deadlock) as caught:
        simulate(holder(), spinner(), seed=seed_where_first(0))

    assert {
        "vcpu0 waits for a pCPU",
        "vcpu1 waits for mm, held by vcpu0",
    } == set(caught.value.waits)
