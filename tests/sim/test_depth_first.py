"""Every order and every choice of a small program, each once."""

from collections.abc import Callable, Sequence

import pytest

from sim.distributions import Uniform
from sim.effects import (
    AWAIT_ACKS,
    DECLINED,
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
    in_bulk,
)
from sim.explore.cpu import CannotExplore
from sim.explore.program import Program
from sim.explore.searches.depth_first import explore
from sim.locks import SpinLock


def results(build: Callable[[], Sequence[Activity]]) -> list[tuple[object, ...]]:
    """What the activities returned, execution by execution."""
    return [execution.results for execution in explore(Program(build))]


def ask(effect: Effect) -> Activity:
    """An activity that returns the answer to one effect."""
    return (yield effect)


def steps(n: int) -> Activity:
    """So many visible steps."""
    for _ in range(n):
        yield STEP


def test_activity_alone_has_one_order() -> None:
    """There is nothing to choose."""
    executions = list(explore(Program(lambda: [steps(3)])))

    assert [(0, 0, 0)] == [run.schedule for run in executions]


def test_activities_without_visible_steps_have_one_order() -> None:
    """Time alone is not visible."""

    def build() -> list[Activity]:
        return [ask(Spend("work", 5)), ask(Note("seen"))]

    assert [()] == [execution.schedule for execution in explore(Program(build))]


def test_orders_differ_from_each_other() -> None:
    """As many as five places can be given to two, two and one step."""
    program = Program(lambda: [steps(2), steps(2), steps(1)])
    schedules = [execution.schedule for execution in explore(program)]

    assert 30 == len(schedules) == len(set(schedules))


def test_every_option_of_a_choice_is_taken() -> None:
    """Also when two choices multiply."""

    def chooser() -> Activity:
        a = yield Choose("first", ("x", "y"))
        b = yield Choose("second", (1, 2, 3))
        return a, b

    assert [
        (("x", 1),),
        (("x", 2),),
        (("x", 3),),
        (("y", 1),),
        (("y", 2),),
        (("y", 3),),
    ] == results(lambda: [chooser()])


def test_choice_may_decide_what_else_there_is_to_choose() -> None:
    """The tree of decisions need not be regular."""

    def chooser() -> Activity:
        if (yield Choose("more", (False, True))):
            return (yield Choose("which", ("a", "b")))
        return None

    assert [(None,), ("a",), ("b",)] == results(lambda: [chooser()])


def test_preemption_check_is_answered_both_ways() -> None:
    """The hypervisor may be preempted or not."""
    assert [(False,), (True,)] == results(lambda: [ask(PREEMPT_POINT)])


def test_preemption_checks_in_a_row_are_answered_each_on_its_own() -> None:
    """Yes to the first, to the second, or to none."""
    assert [(2,), (1,), (0,)] == results(lambda: [ask(PreemptPoints(2))])


def test_draw_is_its_mean() -> None:
    """Delays are ignored; a number that is needed all the same is the expected one."""
    assert [(1.5,)] == results(lambda: [ask(Draw("gap", Uniform(1, 2)))])


def test_bulk_is_done_item_by_item() -> None:
    """Another vCPU sees every state in between."""

    def build() -> list[Activity]:
        done: list[int] = []

        def each(item: int) -> Activity:
            yield STEP
            done.append(item)

        def look() -> Activity:
            yield STEP
            return list(done)

        return [ask(Bulk((1, 2), each, lambda: done.extend((1, 2)))), look()]

    assert [[1, 2], [1], []] == [looked for _, looked in results(build)]


def test_bulk_ends_at_the_item_that_stops_it() -> None:
    """Its answer is what stopped it, and goes to the activity that asked."""

    def each(item: int) -> Activity:
        yield STEP
        return f"stopped at {item}" if item == 2 else None

    def build() -> list[Activity]:
        return [in_bulk((1, 2, 3), each, lambda: DECLINED)]

    executions = list(explore(Program(build)))

    assert [((0, 0), ("stopped at 2",))] == [(run.schedule, run.results) for run in executions]


def test_yielded_activity_is_a_call() -> None:
    """Its steps are visible and its return value is the answer."""

    def inner() -> Activity:
        yield STEP
        yield STEP
        return 7

    def outer() -> Activity:
        answer: int = yield inner()
        return answer + 1

    executions = list(explore(Program(lambda: [outer()])))

    assert [((0, 0), (8,))] == [(run.schedule, run.results) for run in executions]


def test_steps_of_a_trap_are_visible() -> None:
    """Other vCPUs may step between those of a hypercall; its return value is the answer."""

    def hypercall() -> Activity:
        yield STEP
        yield STEP
        return -22

    def guest() -> Activity:
        return (yield Trap(hypercall(), "hypercall_null"))

    executions = list(explore(Program(lambda: [guest(), steps(1)])))

    assert {(0, 0, 1), (0, 1, 0), (1, 0, 0)} == {run.schedule for run in executions}
    assert {(-22, None)} == {run.results for run in executions}


def test_waiting_vcpu_makes_no_step() -> None:
    """It is offered once its condition holds, so one order is left."""

    def build() -> list[Activity]:
        flag = [False]

        def setter() -> Activity:
            yield STEP
            flag[0] = True

        def waiter() -> Activity:
            yield WaitUntil("the flag", lambda: flag[0])
            return flag[0]

        return [waiter(), setter()]

    executions = list(explore(Program(build)))

    assert [((1, 0), (True, None))] == [(run.schedule, run.results) for run in executions]


def test_held_lock_keeps_others_out() -> None:
    """What is done under it is done in one row."""

    def build() -> list[Activity]:
        lock = SpinLock("a")

        def locked() -> Activity:
            yield Acquire(lock)
            yield STEP
            yield Release(lock)

        return [locked(), locked()]

    assert {(0, 0, 0, 1, 1, 1), (1, 1, 1, 0, 0, 0)} == {
        run.schedule for run in explore(Program(build))
    }


def test_wait_without_end_is_a_deadlock() -> None:
    """Somebody still waits and nobody can go on."""
    executions = list(explore(Program(lambda: [ask(WaitUntil("never", lambda: False)), steps(1)])))

    assert [((1,), True)] == [(run.schedule, run.deadlock) for run in executions]


def test_failure_of_an_order_is_its_outcome() -> None:
    """Other orders are explored all the same."""

    def build() -> list[Activity]:
        seen: list[int] = []

        def first() -> Activity:
            yield STEP
            seen.append(0)

        def second() -> Activity:
            yield STEP
            if not seen:
                raise RuntimeError("too early")

        return [first(), second()]

    executions = {run.schedule: run for run in explore(Program(build))}

    assert {(0, 1), (1,)} == executions.keys()
    assert executions[0, 1].failure is None
    assert str(executions[(1,)].failure) == "too early"
    assert not executions[(1,)].deadlock


def test_program_with_hidden_choices_is_refused() -> None:
    """What differs between two runs of one prefix cannot be explored: loud, not a finding."""
    runs = 0

    def build() -> list[Activity]:
        nonlocal runs
        runs += 1
        return [steps(2), steps(2), steps(runs - 1)]

    with pytest.raises(CannotExplore, match="decision 0 offered 2 alternatives before and 3 now"):
        list(explore(Program(build)))


def test_program_that_ends_early_the_second_time_is_refused() -> None:
    """Decisions that were there before and are gone now are told, too."""
    runs = 0

    def build() -> list[Activity]:
        nonlocal runs
        runs += 1
        return [steps(2), steps(2)] if runs == 1 else [steps(2)]

    with pytest.raises(CannotExplore, match="ended after 0 of 2 known decisions"):
        list(explore(Program(build)))


def test_interrupts_of_the_hypervisor_are_refused() -> None:
    """A search that left handlers out would prove what is not so."""
    effect = Send("flush", (0,), lambda: steps(1), hypervisor=True)

    with pytest.raises(CannotExplore, match="interrupt"):
        list(explore(Program(lambda: [ask(effect)])))


def test_hypervisors_interrupt_that_only_takes_time_is_no_part_of_any_order() -> None:
    """As a flush of other CPUs: what it comes to is its sender's step."""

    def busy() -> Activity:
        yield Spend("flush_ipi_target")

    def sender() -> Activity:
        yield Send("flush", (1,), busy, hypervisor=True)
        yield AWAIT_ACKS
        yield STEP
        return "flushed"

    executions = list(explore(Program(lambda: [sender(), steps(1)])))

    assert [("flushed", None)] * 2 == [execution.results for execution in executions]


def test_interrupt_is_taken_between_any_two_steps_of_its_target() -> None:
    """The handler's one step comes before, between or after the target's two; the sender waits."""
    seen: set[str] = set()

    def build() -> list[Activity]:
        told: list[str] = []

        def handle() -> Activity:
            yield STEP
            told.append("h")

        def send() -> Activity:
            yield STEP
            yield Send("look", (1,), handle)
            yield AWAIT_ACKS
            told.append("a")
            seen.add("".join(told))

        def work() -> Activity:
            for _ in range(2):
                yield STEP
                told.append("w")

        return [send(), work()]

    list(explore(Program(build)))

    # What comes after the acknowledgement is cut off by the sender's end.
    assert {"ha", "hwa", "hwwa", "wha", "whwa", "wwha"} == seen


def test_interrupt_waits_until_its_target_takes_interrupts() -> None:
    """Who waits for an answer may hold what the target wants with interrupts off: a deadlock."""

    def build() -> list[Activity]:
        lock = SpinLock("lock")

        def send() -> Activity:
            yield Acquire(lock)
            yield Send("look", (1,), lambda: steps(1))
            yield AWAIT_ACKS
            yield Release(lock)

        def work() -> Activity:
            yield IRQS_OFF
            yield Acquire(lock)
            yield Release(lock)
            yield IRQS_ON

        return [send(), work()]

    assert {False, True} == {execution.deadlock for execution in explore(Program(build))}
