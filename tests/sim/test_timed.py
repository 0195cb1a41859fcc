"""The clock: what takes how long, where it is booked, and in which order vCPUs are seen."""

import math

import numpy as np
import pytest

from sim.distributions import Constant, Exponential, Lognormal
from sim.effects import (
    ENTER_GUEST,
    ENTER_HYPERVISOR,
    STEP,
    Activity,
    Bulk,
    Draw,
    Effect,
    Note,
    Spend,
    Trap,
    WaitUntil,
)
from sim.environment import Deadlock
from sim.streams import Streams
from sim.timed import Price, Simulation
from tests.sim.timed_run import PRICES, busy, simulate


def performing(*effects: Effect) -> Activity:
    """These effects, one after the other; returns their answers."""
    answers = []
    for effect in effects:
        answer = yield effect
        answers.append(answer)
    return answers


def stepping(at_ns: int, what: str = "step") -> Activity:
    """One step at this time, noted."""
    yield busy(at_ns)
    yield STEP
    yield Note(what)


# -- time and accounts ------------------------------------------------------------------------


def test_units_of_a_cost_add_up() -> None:
    """Three units of 40 ns and one more."""
    prices = {"pin": Price(Constant(40.0))}

    simulation, _ = simulate(performing(Spend("pin", 3), Spend("pin")), prices=prices)

    assert simulation.time_ns == 160


def test_drawn_cost_is_the_sum_of_the_vcpus_own_stream() -> None:
    """One stream a vCPU, mode and cost: what is carried into the first unit, then its draws."""
    cost = Lognormal(500.0, 0.7)
    bits = Streams(5).bits("vcpu1", "guest", "pin")
    carried = bits.number(cost.fraction_bits)
    draws = np.empty(8, np.int64)
    cost.drawn_from(bits)(draws)
    expected = carried + int(draws[:7].sum()) >> cost.fraction_bits

    simulation, _ = simulate(
        performing(),
        performing(Spend("pin", 4), Spend("pin", 3)),
        prices={"pin": Price(cost)},
        seed=5,
    )

    assert expected == simulation.vcpus[1].local_ns


def test_other_vcpus_and_costs_do_not_disturb_a_cost() -> None:
    """The same work on the same vCPU takes the same time, whatever else there is."""
    prices = {"pin": Price(Exponential(500.0)), "map": Price(Exponential(500.0))}

    alone, _ = simulate(performing(Spend("pin", 9)), prices=prices)
    among, _ = simulate(
        performing(Spend("map", 5), Spend("pin", 9)),
        performing(Spend("pin", 100)),
        prices=prices,
    )

    pins = [simulation.vcpus[0].accounts.by_cost["pin"] for simulation in (alone, among)]
    assert pins[0] == pins[1]


def test_time_is_booked_on_the_mode_in_which_it_is_spent() -> None:
    """A vCPU begins in its guest."""
    simulation, _ = simulate(
        performing(busy(10), ENTER_HYPERVISOR, busy(200), ENTER_GUEST, busy(3000))
    )

    accounts = simulation.vcpus[0].accounts
    assert (3010, 200) == (accounts.guest, accounts.hypervisor)


def test_cost_with_a_heading_of_its_own_is_booked_there_in_either_mode() -> None:
    """The price says so, not who spends."""
    simulation, _ = simulate(
        performing(Spend("refill", 5), ENTER_HYPERVISOR, Spend("refill", 70), busy(1))
    )

    accounts = simulation.vcpus[0].accounts
    assert (0, 1, 75) == (accounts.guest, accounts.hypervisor, accounts.tlb)


def test_time_is_told_by_cost_over_both_modes() -> None:
    """What a whole run spent on one kind of work."""
    simulation, _ = simulate(performing(busy(5), ENTER_HYPERVISOR, busy(6), Spend("refill", 7)))

    assert {"ns": 11, "refill": 7} == simulation.vcpus[0].accounts.by_cost


def test_time_of_a_simulation_is_that_of_its_latest_vcpu() -> None:
    """VCPUs run side by side."""
    simulation, _ = simulate(performing(busy(70)), performing(busy(900)), performing(busy(2)))

    assert simulation.time_ns == 900


def test_unknown_cost_is_an_error_that_names_it() -> None:
    """A profile that lacks a price does not make the work free."""
    with pytest.raises(KeyError, match="pin_l5"):
        simulate(performing(Spend("pin_l5")))


# -- what an activity gets -------------------------------------------------------------------


def test_vcpu_keeps_what_its_activity_returned() -> None:
    """Answers of all vCPUs can be read after the run."""

    def activity(errno: int) -> Activity:
        yield STEP
        return errno

    simulation, _ = simulate(activity(0), activity(-22))

    assert [0, -22] == [vcpu.result for vcpu in simulation.vcpus]


def test_yielded_activity_is_a_call() -> None:
    """Its return value is the answer, and its time passes for the caller."""

    def inner() -> Activity:
        yield busy(30)
        yield STEP
        return 7

    def outer() -> Activity:
        yield busy(4)
        answer: int = yield inner()
        yield Note("back")
        return answer

    simulation, notes = simulate(outer())

    assert [34] == notes.times("back")
    assert simulation.vcpus[0].result == 7


def test_trap_is_the_hypervisors_time_and_its_answer() -> None:
    """The way in costs one unit; after it the vCPU is in its guest again."""

    def hypercall() -> Activity:
        yield busy(200)
        yield STEP
        return -22

    def guest() -> Activity:
        yield busy(10)
        answer: int = yield Trap(hypercall(), "entry")
        yield busy(3000)
        return answer

    simulation, _ = simulate(guest(), prices=PRICES | {"entry": Price(Constant(40.0))})

    vcpu = simulation.vcpus[0]
    assert (3010, 240, -22) == (vcpu.accounts.guest, vcpu.accounts.hypervisor, vcpu.result)


def test_trap_inside_the_hypervisor_ends_there() -> None:
    """The vCPU goes back to the mode in which it was."""

    def empty() -> Activity:
        yield STEP

    simulation, _ = simulate(
        performing(ENTER_HYPERVISOR, Trap(empty(), "ns"), busy(50), ENTER_GUEST, busy(4))
    )

    accounts = simulation.vcpus[0].accounts
    assert (4, 51) == (accounts.guest, accounts.hypervisor)


def test_draws_come_from_the_runs_streams() -> None:
    """Named by the model, seeded by the run."""
    gap = Exponential(50.0)
    expected = Streams(9).values(gap, "draw", "arrivals")

    simulation, _ = simulate(performing(Draw("arrivals", gap), Draw("arrivals", gap)), seed=9)

    assert [expected.next(), expected.next()] == simulation.vcpus[0].result


def test_notes_carry_vcpu_and_time() -> None:
    """In the order in which they happen."""
    _, notes = simulate(stepping(50, "b"), stepping(20, "a"))

    assert [(20, 1, "a"), (50, 0, "b")] == notes.all


def test_what_is_no_effect_is_refused() -> None:
    """A model's slip does not pass as free work."""

    def activity() -> Activity:
        yield "Spend"  # type: ignore[misc]

    with pytest.raises(TypeError, match="not an effect: 'Spend'"):
        simulate(activity())


class Crash(Exception):
    """A failure that cannot be copied from its arguments."""

    def __init__(self, pfn: int, *, message: str) -> None:
        super().__init__(message)
        self.pfn = pfn


def test_exception_of_an_activity_comes_out_as_itself() -> None:
    """The very object, with all that it carries and the cause it was raised from."""
    cause = ValueError("the page is mapped writable")
    crash = Crash(0xBACF7, message="kernel BUG")

    def activity() -> Activity:
        yield STEP
        raise crash from cause

    with pytest.raises(Crash) as caught:
        simulate(activity())

    assert crash is caught.value
    assert cause is caught.value.__cause__


def test_of_two_failures_the_earlier_one_ends_the_run() -> None:
    """Although the vCPU of the later one has run ahead of the clock."""

    def failing(at_ns: int) -> Activity:
        yield busy(at_ns)
        raise RuntimeError(f"at {at_ns} ns")

    with pytest.raises(RuntimeError, match="at 100 ns"):
        simulate(failing(500), failing(100), failing(900))


def test_time_of_a_failed_run_is_that_of_the_failure() -> None:
    """Another vCPU was in the middle of longer work, and one has ended before."""

    def failing() -> Activity:
        yield busy(100)
        raise RuntimeError("kernel BUG")

    simulation = Simulation(PRICES, Streams(0))
    for activity in (performing(busy(5000), STEP), failing(), performing(busy(7))):
        simulation.start(activity)
    with pytest.raises(RuntimeError, match="kernel BUG"):
        simulation.run()

    assert simulation.time_ns == 100


# -- the order in which vCPUs are seen -----------------------------------------------------------


def test_steps_happen_in_the_order_of_their_times() -> None:
    """Whoever asked first."""
    order: list[int] = []

    def at(*times: int) -> Activity:
        now = 0
        for time in times:
            yield busy(time - now)
            yield STEP
            order.append(time)
            now = time

    simulate(at(10, 500, 501), at(200, 450, 1000), at(11, 12, 999))

    assert [10, 11, 12, 200, 450, 500, 501, 999, 1000] == order


def test_bulk_is_one_step_at_its_time() -> None:
    """A vCPU that looks before it sees nothing of it, one that looks after it sees all."""
    done: list[int] = []
    seen: list[list[int]] = []

    def each(item: int) -> Activity:
        yield STEP
        done.append(item)

    def looking() -> Activity:
        for _ in range(2):
            yield busy(300)
            yield STEP
            seen.append(list(done))

    simulate(
        performing(busy(500), Bulk((1, 2, 3), each, lambda: done.extend((1, 2, 3)))), looking()
    )

    assert [[], [1, 2, 3]] == seen


@pytest.mark.parametrize("others", [0, 1])
def test_bulk_answers_what_its_vectorised_body_returns(others: int) -> None:
    """Whether the vCPU is alone or not."""

    def each(_: int) -> Activity:
        yield STEP

    simulation, _ = simulate(
        performing(Bulk((1, 2, 3), each, lambda: "done")),
        *(performing(busy(5), STEP) for _ in range(others)),
    )

    assert ["done"] == simulation.vcpus[0].result


def test_waiter_goes_on_when_its_condition_becomes_true() -> None:
    """At the time of the step that made it true."""
    words = [0]

    def counting() -> Activity:
        for _ in range(5):
            yield busy(100)
            yield STEP
            words[0] += 1

    def waiting() -> Activity:
        yield WaitUntil("three", lambda: words[0] == 3)
        yield Note("three")

    _, notes = simulate(waiting(), counting())

    assert [300] == notes.times("three")


def test_condition_that_holds_only_for_a_moment_may_be_missed() -> None:
    """It is looked at again when the waiter's turn comes: as on a machine, no flag is kept."""
    words = [0]

    def blinking() -> Activity:
        yield busy(100)
        yield STEP
        words[0] = 1
        yield STEP
        words[0] = 0

    def waiting() -> Activity:
        yield WaitUntil("the word", lambda: words[0] == 1)
        yield STEP
        return words[0]

    with pytest.raises(Deadlock, match="vcpu1 waits for the word"):
        simulate(blinking(), waiting(), seed=seed_where_first_vcpu_leads(at_ns=100))


def order_at(at_ns: int, seed: int, vcpus: int = 2) -> tuple[int, ...]:
    """The order in which vCPUs make a step that all of them make at the same nanosecond."""
    _, notes = simulate(*(stepping(at_ns) for _ in range(vcpus)), seed=seed)
    return tuple(vcpu for _, vcpu, _ in notes.all)


def seed_where_first_vcpu_leads(at_ns: int) -> int:
    """A seed whose draw for a tie at this time is won by vCPU 0 over vCPU 1."""
    return next(seed for seed in range(100) if order_at(at_ns, seed) == (0, 1))


def test_ties_are_broken_the_same_way_under_the_same_seed() -> None:
    """A run can be repeated."""
    for seed in range(20):
        assert order_at(100, seed, vcpus=4) == order_at(100, seed, vcpus=4)


def test_ties_are_broken_either_way_as_often_under_other_seeds() -> None:
    """Of 400 seeds half, within four deviations (10 each)."""
    first = sum(order_at(100, seed) == (0, 1) for seed in range(400))

    assert abs(first - 200) < 40


def test_ties_of_three_take_each_of_six_orders() -> None:
    """No vCPU has a fixed place: each order in a sixth of 600 seeds, within four deviations."""
    orders = [order_at(100, seed, vcpus=3) for seed in range(600)]

    assert 6 == len(set(orders))
    deviation = math.sqrt(600 * 1 / 6 * 5 / 6)
    assert all(abs(orders.count(order) - 100) < 4 * deviation for order in set(orders))


def test_ties_are_drawn_anew_at_every_time() -> None:
    """Under one seed one vCPU leads now and the other then."""
    leaders = {order_at(at_ns, seed=1)[0] for at_ns in range(1, 40)}

    assert {0, 1} == leaders


def test_start_of_a_run_is_a_tie_too() -> None:
    """The vCPU that was started first is not always seen first."""
    orders = {order_at(0, seed) for seed in range(40)}

    assert {(0, 1), (1, 0)} == orders
