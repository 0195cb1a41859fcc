"""Interrupts: they divide a guest's work, wait where they must, and are acknowledged at the end."""

from collections.abc import Callable

import pytest

from sim.distributions import Constant
from sim.effects import (
    AWAIT_ACKS,
    ENTER_GUEST,
    ENTER_HYPERVISOR,
    IRQS_OFF,
    IRQS_ON,
    STEP,
    Acquire,
    Activity,
    Effect,
    Note,
    Release,
    Send,
    Trap,
    WaitUntil,
)
from sim.environment import Deadlock
from sim.locks import SpinLock
from sim.timed import Price
from tests.sim.timed_run import PRICES, Notes, busy, simulate


def performing(*effects: Effect) -> Activity:
    """These effects, one after the other; their answers are dropped."""
    for effect in effects:
        _ = yield effect


def handling(ns: int = 10) -> Activity:
    """A handler that works for so long."""
    yield Note("handler begins")
    yield busy(ns)
    yield STEP
    yield Note("handler ends")


def sending(at_ns: int, *targets: int, handler_ns: int = 10, hypervisor: bool = False) -> Activity:
    """Interrupt these vCPUs at this time and wait until all have handled it."""
    yield busy(at_ns)
    yield Send("ipi", targets, lambda: handling(handler_ns), hypervisor=hypervisor)
    yield AWAIT_ACKS
    yield Note("acknowledged")


def work_in(mode: Effect, ns: int) -> list[Effect]:
    """Work in a mode, with nothing that another vCPU could see in it."""
    return [mode, busy(ns)]


def by_vcpu(notes: Notes, vcpu: int) -> list[tuple[int, object]]:
    """What one vCPU noted: (time in ns, what)."""
    return [(time_ns, what) for time_ns, number, what in notes.all if number == vcpu]


# -- dividing work ----------------------------------------------------------------------------


def test_interrupt_divides_a_guests_work() -> None:
    """The handler runs at the arrival, and the rest of the work is kept."""
    _, notes = simulate(sending(300, 1), performing(busy(1000), STEP, Note("done")))

    assert [(300, "handler begins"), (310, "handler ends"), (1010, "done")] == by_vcpu(notes, 1)


def test_divided_work_is_charged_once() -> None:
    """1000 ns of work and 10 of the handler."""
    simulation, _ = simulate(sending(300, 1), performing(busy(1000), STEP))

    assert 1010 == simulation.vcpus[1].accounts.guest == simulation.vcpus[1].local_ns


def test_work_may_be_divided_more_than_once() -> None:
    """Each handler puts off the rest by its own time."""
    _, notes = simulate(
        sending(300, 2), sending(600, 2, handler_ns=50), performing(busy(1000), STEP, Note("done"))
    )

    assert [300, 600] == notes.times("handler begins")
    assert [1060] == notes.times("done")


def test_latency_is_the_way_to_the_target() -> None:
    """The sender goes on meanwhile."""
    prices = PRICES | {"ipi": Price(Constant(70.0))}

    def sender() -> Activity:
        yield busy(300)
        yield Send("ipi", (1,), handling, latency="ipi")
        yield Note("sent")

    _, notes = simulate(sender(), performing(busy(1000), STEP), prices=prices)

    assert [300] == notes.times("sent")
    assert [370] == notes.times("handler begins")


def test_second_interrupt_is_handled_right_after_the_first() -> None:
    """Both arrive at once: a handler is not interrupted, and the work waits for both."""
    _, notes = simulate(
        sending(300, 2, handler_ns=20),
        sending(300, 2, handler_ns=20),
        performing(busy(1000), STEP, Note("done")),
    )

    assert [
        (300, "handler begins"),
        (320, "handler ends"),
        (320, "handler begins"),
        (340, "handler ends"),
        (1040, "done"),
    ] == by_vcpu(notes, 2)


def test_interrupt_that_arrives_during_a_handler_waits_for_its_end() -> None:
    """Interrupts are off in a handler."""
    _, notes = simulate(
        sending(300, 2, handler_ns=100), sending(350, 2), performing(busy(1000), STEP)
    )

    assert [300, 400] == notes.times("handler begins")


@pytest.mark.parametrize("handler", [handling, performing], ids=["works", "is empty"])
def test_no_interrupt_is_lost(handler: Callable[[], Activity]) -> None:
    """Ten at once are handled and acknowledged, however little their handler does."""

    def sender() -> Activity:
        yield busy(300)
        for _ in range(10):
            yield Send("ipi", (1,), handler)
        yield AWAIT_ACKS
        return "acknowledged"

    simulation, _ = simulate(sender(), performing(busy(1000), STEP))

    assert simulation.vcpus[0].result == "acknowledged"


# -- waiting for the target ---------------------------------------------------------------------


def test_interrupt_waits_while_interrupts_are_off() -> None:
    """It is taken where they are switched on."""
    target = [IRQS_OFF, busy(1000), STEP, IRQS_ON, busy(50), STEP]

    _, notes = simulate(sending(300, 1), performing(*target))

    assert [1000] == notes.times("handler begins")


def test_hypervisors_interrupt_does_not_mind_the_guests_mask() -> None:
    """A guest that holds its own interrupts back still flushes for others."""
    target = [IRQS_OFF, busy(1000), STEP, IRQS_ON]

    _, notes = simulate(sending(300, 1, hypervisor=True), performing(*target))

    assert [300] == notes.times("handler begins")


def test_guests_interrupt_waits_while_its_target_is_in_the_hypervisor() -> None:
    """It is taken on the way back."""
    target = [*work_in(ENTER_HYPERVISOR, 1000), *work_in(ENTER_GUEST, 50), STEP]

    _, notes = simulate(sending(300, 1), performing(*target))

    assert [1000] == notes.times("handler begins")


def test_guests_interrupt_divides_the_work_before_a_hypercall() -> None:
    """The target is in its guest still, although its next visible step is the hypervisor's."""
    target = [busy(500), *work_in(ENTER_HYPERVISOR, 1000), STEP, ENTER_GUEST]

    _, notes = simulate(sending(300, 1), performing(*target))

    assert [300] == notes.times("handler begins")


def test_guests_interrupt_waits_for_the_end_of_a_hypercall() -> None:
    """It is taken before the guest goes on; the hypercall's answer is kept."""

    def hypercall() -> Activity:
        yield busy(1000)
        return -22

    def target() -> Activity:
        answer: int = yield Trap(hypercall(), "ns")
        yield Note("back")
        return answer

    simulation, notes = simulate(sending(300, 1), target())

    assert [1001] == notes.times("handler begins")
    assert [1011] == notes.times("back")
    assert -22 == simulation.vcpus[1].result


@pytest.mark.parametrize("at_ns", [300, 999, 1000])
def test_guests_interrupt_comes_before_a_hypercall_that_is_made_later(at_ns: int) -> None:
    """The work before the trap is divided, and the trap is as much later."""

    def hypercall() -> Activity:
        yield busy(100)
        yield STEP
        yield Note("stepped")

    target = performing(busy(1000), Trap(hypercall(), "ns"), Note("back"))

    simulation, notes = simulate(sending(at_ns, 1), target)

    assert [at_ns] == notes.times("handler begins")
    assert [1111] == notes.times("stepped")
    assert [1111] == notes.times("back")
    accounts = simulation.vcpus[1].accounts
    assert (1010, 101) == (accounts.guest, accounts.hypervisor)


def test_second_interrupt_is_held_back_by_a_hypercall_that_the_first_has_put_off() -> None:
    """The trap's new time decides: the guest's work ends at 1010 ns."""

    def hypercall() -> Activity:
        yield busy(100)
        yield STEP

    def handled(second_ns: int) -> list[int]:
        target = performing(busy(1000), Trap(hypercall(), "ns"), STEP)
        _, notes = simulate(sending(300, 2), sending(second_ns, 2), target)
        return notes.times("handler begins")

    assert [300, 1005] == handled(1005)
    assert [300, 1111] == handled(1015)


def test_interrupt_that_nobody_waits_for_is_taken_all_the_same() -> None:
    """Its sender has ended, and the target is alone when its hypercall ends."""

    def hypercall() -> Activity:
        yield busy(1000)
        yield STEP

    target = performing(Trap(hypercall(), "ns"), busy(50), STEP)

    _, notes = simulate(performing(busy(300), Send("ipi", (1,), handling)), target)

    assert [1001] == notes.times("handler begins")


def test_hypervisors_interrupt_does_not_wait_for_the_guest() -> None:
    """A flush is done in the middle of another vCPU's hypercall."""
    target = [*work_in(ENTER_HYPERVISOR, 1000), STEP, *work_in(ENTER_GUEST, 50), STEP]

    _, notes = simulate(sending(300, 1, hypervisor=True), performing(*target))

    assert [300] == notes.times("handler begins")


def test_handler_is_booked_on_its_own_mode() -> None:
    """A flush is the hypervisor's work, also where it divides the guest's, which goes on after."""
    simulation, _ = simulate(
        sending(300, 1, hypervisor=True), performing(busy(1000), STEP, busy(5))
    )

    accounts = simulation.vcpus[1].accounts
    assert (1005, 10) == (accounts.guest, accounts.hypervisor)


def test_vcpu_that_waits_for_a_lock_takes_interrupts() -> None:
    """The handler runs at once, and the vCPU then gets the lock as if nothing had been."""
    lock = SpinLock("a")

    def waiter() -> Activity:
        yield busy(100)
        yield Acquire(lock)
        yield Note("got it")

    holder = performing(Acquire(lock), busy(1000), Release(lock))

    simulation, notes = simulate(sending(300, 2), holder, waiter())

    assert [300] == notes.times("handler begins")
    assert [1000] == notes.times("got it")
    assert 900 - 10 == simulation.vcpus[2].accounts.lock_wait


def test_lock_that_is_released_during_a_handler_was_waited_for() -> None:
    """Its hand-over is charged: 800 ns of waiting, and 90 when the handler has ended."""
    lock = SpinLock("a")
    prices = PRICES | {"lock_handoff": Price(Constant(90.0))}
    waiter = performing(busy(100), Acquire(lock), Note("got it"))
    holder = performing(Acquire(lock), busy(1000), Release(lock))

    simulation, notes = simulate(sending(900, 2, handler_ns=300), holder, waiter, prices=prices)

    assert [1290] == notes.times("got it")
    assert 800 + 90 == simulation.vcpus[2].accounts.lock_wait


def test_handler_pays_no_hand_over_for_the_lock_that_was_waited_for() -> None:
    """It takes a free one of its own."""
    lock, free = SpinLock("a"), SpinLock("b")
    prices = PRICES | {"lock_handoff": Price(Constant(90.0))}

    def handler() -> Activity:
        yield Acquire(free)
        yield Note("handler has it")
        yield Release(free)

    sender = performing(busy(900), Send("ipi", (2,), handler))
    holder = performing(Acquire(lock), busy(1000), Release(lock))

    _, notes = simulate(sender, holder, performing(Acquire(lock)), prices=prices)

    assert [900] == notes.times("handler has it")


def test_vcpu_that_waits_for_a_condition_takes_interrupts() -> None:
    """The handler may be what makes the condition true."""
    done: list[bool] = []

    def handler() -> Activity:
        yield busy(20)
        yield STEP
        done.append(True)

    def sender() -> Activity:
        yield busy(300)
        yield Send("ipi", (1,), handler)

    waiter = performing(WaitUntil("it is done", lambda: bool(done)), Note("done"))

    _, notes = simulate(sender(), waiter)

    assert [320] == notes.times("done")


def test_vcpu_that_waits_with_interrupts_off_takes_none() -> None:
    """Two that wait so for each other's acknowledgement are the classical deadlock."""

    def spinning_with_irqs_off(other: int) -> Activity:
        yield IRQS_OFF
        yield from sending(100, other)

    with pytest.raises(Deadlock) as caught:
        simulate(spinning_with_irqs_off(1), spinning_with_irqs_off(0))

    assert {
        "vcpu0 waits for 1 acknowledgements",
        "vcpu1 waits for 1 acknowledgements",
    } == set(caught.value.waits)


def test_vcpu_with_nothing_left_to_do_takes_interrupts() -> None:
    """It idles: its time stands still until the interrupt."""
    simulation, notes = simulate(sending(300, 1), performing(busy(100), STEP))

    assert [300] == notes.times("handler begins")
    assert [310] == notes.times("acknowledged")
    assert 110 == simulation.vcpus[1].accounts.guest


def test_vcpu_is_interrupted_in_its_last_work() -> None:
    """Although nothing visible follows on it."""
    simulation, notes = simulate(sending(300, 1), performing(busy(1000)))

    assert [300] == notes.times("handler begins")
    assert 1010 == simulation.vcpus[1].local_ns


# -- acknowledgements ------------------------------------------------------------------------------


def test_sender_waits_for_all_targets() -> None:
    """Until the slowest has handled it: its interrupts are off up to 800 ns."""
    slow = [IRQS_OFF, busy(800), STEP, IRQS_ON, busy(50), STEP]

    simulation, notes = simulate(
        sending(300, 1, 2), performing(busy(1000), STEP), performing(*slow)
    )

    assert [810] == notes.times("acknowledged")
    assert 510 == simulation.vcpus[0].accounts.lock_wait


def test_handler_that_has_not_ended_is_not_acknowledged() -> None:
    """Also when the sender looks while it runs, not before it began."""

    def sender() -> Activity:
        yield busy(300)
        yield Send("ipi", (1,), lambda: performing(busy(500)))
        yield busy(200)
        yield AWAIT_ACKS
        yield Note("acknowledged")

    _, notes = simulate(sender(), performing(busy(2000), STEP))

    assert [800] == notes.times("acknowledged")


def test_acknowledged_sender_does_not_wait() -> None:
    """It has done other work meanwhile."""

    def sender() -> Activity:
        yield from performing(Send("ipi", (1,), handling), busy(500), AWAIT_ACKS)
        yield Note("acknowledged")

    simulation, notes = simulate(sender(), performing(busy(2000), STEP))

    assert [500] == notes.times("acknowledged")
    assert simulation.vcpus[0].accounts.lock_wait == 0


def test_sender_that_waits_for_acknowledgements_takes_interrupts() -> None:
    """Two vCPUs may interrupt each other."""
    simulation, notes = simulate(sending(300, 1), sending(300, 0))

    assert 2 == len(notes.times("acknowledged")) == len(notes.times("handler begins"))
    assert [10, 10] == [vcpu.accounts.guest - 300 for vcpu in simulation.vcpus]
