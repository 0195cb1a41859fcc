"""The interpreter without a clock: what each effect means when nobody else runs."""

import pytest

from sim.distributions import Uniform
from sim.effects import (
    AWAIT_ACKS,
    ENTER_GUEST,
    ENTER_HYPERVISOR,
    IRQS_OFF,
    IRQS_ON,
    PREEMPT_POINT,
    STEP,
    Acquire,
    Activity,
    Bulk,
    Choose,
    Draw,
    Effect,
    Note,
    PreemptPoints,
    Release,
    Send,
    Spend,
    Trap,
    WaitUntil,
)
from sim.instant import Stuck, drain, run_in_order
from sim.locks import SpinLock
from sim.oracle import ScriptedOracle


def ask(*effects: Effect) -> Activity:
    """An activity that returns the answers to these effects."""
    answers = []
    for effect in effects:
        answer = yield effect
        answers.append(answer)
    return answers


class RefusingLock(SpinLock):
    """There is nothing to be locked here."""

    def take(self) -> bool:
        """Refuse."""
        return False


def test_activity_gives_its_return_value() -> None:
    """The answer of a hypercall is what its activity returns."""

    def activity() -> Activity:
        yield STEP
        return -22

    assert -22 == drain(activity())


@pytest.mark.parametrize(
    "effect",
    [
        STEP,
        Spend("anything", 512),
        ENTER_HYPERVISOR,
        ENTER_GUEST,
        IRQS_OFF,
        IRQS_ON,
        AWAIT_ACKS,
        Note("seen"),
    ],
    ids=lambda effect: type(effect).__name__,
)
def test_effects_that_need_a_clock_mean_nothing(effect: Effect) -> None:
    """Work takes no time and has no price; the activity goes on with no answer."""
    assert [None] == drain(ask(effect))


def test_free_lock_is_taken() -> None:
    """The lock word is set by the interpreter, when the activity gets there."""
    lock = SpinLock("a")

    assert [True] == drain(ask(Acquire(lock)))
    assert lock.locked


def test_released_lock_is_free() -> None:
    """The next one can take it."""
    lock = SpinLock("a")

    drain(ask(Acquire(lock), Release(lock)))

    assert not lock.locked


def test_refused_lock_answers_false() -> None:
    """The activity hears that there is nothing to be locked."""
    assert [False] == drain(ask(Acquire(RefusingLock("a"))))


def test_held_lock_is_an_error_that_names_it() -> None:
    """Nobody else runs, so nobody would ever release it."""
    lock = SpinLock("pgd_lock")
    lock.take()

    with pytest.raises(Stuck, match="pgd_lock is held"):
        drain(ask(Acquire(lock)))


def test_false_condition_is_an_error_that_names_it() -> None:
    """Nobody else runs, so nobody would ever make it true."""
    with pytest.raises(Stuck, match="waiting for the type of mfn 5"):
        drain(ask(WaitUntil("the type of mfn 5", lambda: False)))


def test_true_condition_is_passed() -> None:
    """There is nothing to wait for."""
    assert [None] == drain(ask(WaitUntil("now", lambda: True)))


def test_bulk_is_done_at_once() -> None:
    """Nobody could look in between."""
    seen: list[int] = []

    def each(item: int) -> Activity:
        yield STEP
        seen.append(item)

    assert ["done"] == drain(ask(Bulk(range(3), each, lambda: "done")))
    assert [] == seen


def test_yielded_activity_is_a_call() -> None:
    """Its return value is the answer, at any depth."""

    def inner() -> Activity:
        yield STEP
        return 7

    def middle() -> Activity:
        answer: int = yield inner()
        return answer + 1

    def outer() -> Activity:
        answer: int = yield middle()
        yield STEP
        return answer * 2

    assert 16 == drain(outer())


def test_trap_answers_what_the_hypervisor_returns() -> None:
    """The way there costs nothing here."""

    def hypercall() -> Activity:
        yield STEP
        return -22

    assert [-22] == drain(ask(Trap(hypercall(), "hypercall_null")))


def test_script_answers_preemption_checks() -> None:
    """One answer a check, and no preemption once the script is used up."""
    oracle = ScriptedOracle([False, True])

    assert [False, True, False] == drain(ask(*[PREEMPT_POINT] * 3), oracle)


def test_row_of_preemption_checks_ends_with_the_first_yes() -> None:
    """The answer is how many were no; the checks behind it take the answers that are left."""
    oracle = ScriptedOracle([False, False, True, True])

    assert [2, 0, 5] == drain(ask(*[PreemptPoints(5)] * 3), oracle)


def test_first_option_is_chosen_without_a_script() -> None:
    """Drained activities are deterministic."""
    assert ["stale"] == drain(ask(Choose("tlb entry", ("stale", "gone"))))


def test_mean_is_drawn_without_a_script() -> None:
    """Drained activities are deterministic."""
    assert [15.0] == drain(ask(Draw("gap", Uniform(10, 20))))


def test_interrupt_is_handled_at_once_by_every_target() -> None:
    """Its handlers have run when the sender goes on."""
    handled: list[str] = []

    def handler() -> Activity:
        yield STEP
        handled.append("flushed")

    def sender() -> Activity:
        yield Send("flush", (1, 2), handler)
        return list(handled)

    assert ["flushed", "flushed"] == drain(sender())


def test_activities_run_to_their_end_in_the_given_order() -> None:
    """One vCPU after the other."""
    order: list[str] = []

    def vcpu(name: str) -> Activity:
        for _ in range(2):
            yield STEP
            order.append(name)
        return name

    assert ["b", "a"] == run_in_order([vcpu("b"), vcpu("a")])
    assert ["b", "b", "a", "a"] == order


def test_exception_of_an_activity_comes_out_as_itself() -> None:
    """A guest's crash ends the run."""
    crash = RuntimeError("kernel BUG")

    def activity() -> Activity:
        yield STEP
        raise crash

    with pytest.raises(RuntimeError) as caught:
        drain(activity())

    assert crash is caught.value
