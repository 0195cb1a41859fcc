"""Orders with few delays, counted by hand and held against all orders there are."""

import math
from collections.abc import Callable

import pytest

from sim.explore.attempts import attempts, taped
from sim.explore.program import Program
from sim.explore.searches import depth_first
from sim.explore.searches.delay_bounding import explore_few_delays
from sim.tape import Picked, Tape
from tests.sim.hidden_bugs import free, inside_a_window, opposite_locks


def delays_of(tape: Tape) -> int:
    """How many that could go on were passed over, from whoever went last on."""
    current = delays = 0
    for entry in tape.entries:
        if isinstance(entry, Picked):
            turn = sorted(entry.ready, key=lambda vcpu: (vcpu < current, vcpu))
            delays += turn.index(entry.vcpu)
            current = entry.vcpu
    return delays


def count_for_two(a: int, b: int, delays: int) -> int:
    """Orders of a and b steps with exactly so many delays.

    Each delay hands over to the other vCPU before one of the steps of the first: at i of the a
    places of vCPU 0, and between these at those of the b - 1 inner places of vCPU 1.
    """
    i, odd = divmod(delays, 2)
    return math.comb(a, i + odd) * math.comb(b - 1, i)


def test_without_delays_the_vcpus_take_turns() -> None:
    """One order."""
    assert [(0, 0, 1, 1, 1, 2)] == [run.schedule for run in explore_few_delays(free(2, 3, 1), 0)]


@pytest.mark.parametrize("delays", range(6))
def test_count_for_two_vcpus_is_that_of_the_formula(delays: int) -> None:
    """All with so many or fewer, each once."""
    schedules = [run.schedule for run in explore_few_delays(free(4, 3), delays)]

    assert sum(count_for_two(4, 3, n) for n in range(delays + 1)) == len(schedules)
    assert len(set(schedules)) == len(schedules)


def test_one_delay_can_come_before_any_step_but_those_of_the_last_vcpu() -> None:
    """Their number does not grow with the number of vCPUs, only with their steps."""
    assert 1 + (2 + 3) == len(list(explore_few_delays(free(2, 3, 4), 1)))
    assert 1 + (1 + 1 + 1 + 2) == len(list(explore_few_delays(free(1, 1, 1, 2, 4), 1)))


@pytest.mark.parametrize("delays", [0, 1, 2, 3, 20])
@pytest.mark.parametrize(
    "program", [lambda: free(2, 2, 1), lambda: opposite_locks(1)], ids=["free", "locks"]
)
def test_all_orders_with_so_few_delays_are_run(program: Callable[[], Program], delays: int) -> None:
    """Those of all orders that have so few, no more and no less; with twenty, all."""
    every = taped(program())
    expected = sorted(
        one.execution.schedule
        for one in attempts("all", depth_first.explore(every), every)
        if delays_of(one.tape) <= delays
    )

    assert expected == sorted(run.schedule for run in explore_few_delays(program(), delays))


def test_bug_needs_as_many_delays_as_switches_that_nobody_forces() -> None:
    """Into the window by a delay of vCPU 0; out of it since vCPU 1 has ended."""
    program = inside_a_window(6)
    found = [
        sum(program.judge(run) is not None for run in explore_few_delays(program, delays))
        for delays in (0, 1)
    ]

    assert [0, 1] == found
