"""Failing executions made smaller, and what must stay as it is."""

from itertools import pairwise

import pytest

from sim.effects import STEP, Acquire, Activity, Choose, Release
from sim.explore.execution import Execution, Taping
from sim.explore.following import Repeating
from sim.explore.program import Finding, Program
from sim.explore.searches.depth_first import explore
from sim.explore.searches.random_order import RandomOrder
from sim.explore.shrink import Shrunk, Size, shrink, size_of
from sim.locks import SpinLock
from sim.tape import Diverged, Tape, parse_tape
from tests.sim.toy import Page, check_and_pin, map_and_unmap


def toy(mappers: int, private_steps: int) -> Program:
    """The pin race; its finding is a page that was pinned while somebody could write to it."""
    pages: list[Page] = []

    def begin() -> list[Activity]:
        pages[:] = [Page()]
        return [
            check_and_pin(pages[0], private_steps=private_steps),
            *(map_and_unmap(pages[0], private_steps=private_steps) for _ in range(mappers)),
        ]

    def judge(_: Execution) -> Finding | None:
        bad = pages[0].pinned_while_writable
        return Finding("pinned", "while somebody could write to it") if bad else None

    return Program(begin, judge)


def failing(program: Program, seeds: range) -> Tape:
    """The first of these random orders that fails."""
    for seed in seeds:
        taping = Taping(RandomOrder(seed))
        if program.judge(program.run(taping)) is not None:
            return taping.tape
    raise AssertionError("none of these orders fails")


def again(program: Program, shrunk: Shrunk) -> Finding | None:
    """What the shrunk tape leads to when it is followed to the letter."""
    repeating = Repeating(shrunk.tape, stopped=shrunk.stopped)
    finding = program.judge(program.run(repeating))
    repeating.end()
    return finding


@pytest.mark.parametrize("first_seed", [0, 50, 100])
def test_random_order_of_80_steps_becomes_two_switches(first_seed: int) -> None:
    """Check, map, pin: two switches are what the race takes, and the unmap is not needed."""
    program = toy(mappers=3, private_steps=18)
    tape = failing(program, range(first_seed, first_seed + 200))

    shrunk = shrink(program, tape)

    assert shrunk.before.switches > 40
    assert (4, 80) == shrunk.before[1:3]
    assert Size(switches=2, vcpus=2, steps=39, answers=0) == shrunk.after == size_of(shrunk.tape)
    assert shrunk.finding == again(program, shrunk)
    assert shrunk.runs < 150


def up_to_the_pin(schedule: tuple[int, ...]) -> tuple[int, int, int]:
    """Switches, vCPUs and steps of an order that ends with the pinner's second step."""
    pin = [place for place, vcpu in enumerate(schedule) if vcpu == 0][1]
    made = schedule[: pin + 1]
    return sum(a != b for a, b in pairwise(made)), len(set(made)), len(made)


def test_smallest_of_all_failing_orders_is_found() -> None:
    """Held against every order that there is."""
    program = toy(mappers=2, private_steps=0)
    smallest = min(
        up_to_the_pin(run.schedule) for run in explore(program) if program.judge(run) is not None
    )

    shrunk = shrink(program, failing(program, range(100)))

    assert smallest == shrunk.after[:3]


def test_deadlock_stays_one() -> None:
    """Two locks in two orders, and a vCPU that has no part in it."""

    def taking(first: SpinLock, second: SpinLock) -> Activity:
        yield from private(6)
        yield Acquire(first)
        yield Acquire(second)
        yield Release(second)
        yield Release(first)

    def private(n: int) -> Activity:
        for _ in range(n):
            yield STEP

    def begin() -> list[Activity]:
        a, b = SpinLock("a"), SpinLock("b")
        return [taking(a, b), taking(b, a), private(10)]

    program = Program(begin)
    shrunk = shrink(program, failing(program, range(100)))

    assert "deadlock" == shrunk.finding.kind
    assert shrunk.finding == again(program, shrunk)
    # The third has to end: as long as it can go on, nobody would call it a deadlock.
    assert (2, 3, 7 + 7 + 10) == shrunk.after[:3]


def test_only_findings_of_the_same_kind_count() -> None:
    """The shorter way to another failure is not taken."""

    def begin() -> list[Activity]:
        return [one(), two()]

    done: list[int] = []

    def one() -> Activity:
        done.clear()
        yield STEP
        yield STEP
        if not done:
            raise KeyError("nobody has been here")

    def two() -> Activity:
        yield STEP
        done.append(1)
        yield STEP
        raise ValueError("the end")

    program = Program(begin)
    shrunk = shrink(program, parse_tape("0/0,1 1/0,1 0/0,1 1/1"))

    assert "ValueError" == shrunk.finding.kind
    assert (0, 1, 2) == shrunk.after[:3]


def test_answers_that_do_not_matter_become_the_first() -> None:
    """One of three questions decides."""

    def asking() -> Activity:
        answers = []
        for name in ("left", "middle", "right"):
            yield STEP
            answers.append((yield Choose(name, (False, True))))
        if answers[1]:
            raise ValueError("middle")

    program = Program(lambda: [asking()])

    shrunk = shrink(program, parse_tape("0/0 left=1/2 0/0 middle=1/2 0/0 right=1/2"))

    assert "0/0 left=0/2 0/0 middle=1/2 0/0 right=0/2" == str(shrunk.tape)


def test_budget_of_runs_is_kept() -> None:
    """What was reached by then is the answer, and it fails still."""
    program = toy(mappers=3, private_steps=18)

    shrunk = shrink(program, failing(program, range(200)), at_most=10)

    assert 10 == shrunk.runs
    assert shrunk.after < shrunk.before
    assert shrunk.finding == again(program, shrunk)


def test_order_that_does_not_fail_cannot_be_shrunk() -> None:
    """Nor can a tape of another program."""
    program = toy(mappers=1, private_steps=0)

    with pytest.raises(ValueError, match="no finding"):
        shrink(program, parse_tape("0/0,1*2 1/1*2"))
    with pytest.raises(Diverged):
        shrink(program, parse_tape("0/0,1,2*2"))
