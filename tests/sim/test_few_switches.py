"""Orders by the number of forced switches, held against all orders there are."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest

from sim.effects import STEP, Acquire, Activity, PreemptPoint, Release
from sim.explore.program import Program
from sim.explore.searches.depth_first import explore
from sim.explore.searches.few_switches import explore_few_switches
from sim.locks import SpinLock


def steps(n: int) -> Activity:
    """So many visible steps."""
    for _ in range(n):
        yield STEP


def under_a_lock(lock: SpinLock, n: int) -> Activity:
    """So many visible steps with a lock held."""
    yield Acquire(lock)
    yield from steps(n)
    yield Release(lock)


def build_free() -> Sequence[Activity]:
    """Three CPUs that mind nobody."""
    return [steps(2), steps(3), steps(1)]


def build_locked() -> Sequence[Activity]:
    """Two CPUs that want the same lock, and one that does not."""
    lock = SpinLock("lock")
    return [under_a_lock(lock, 1), under_a_lock(lock, 1), steps(2)]


def forced(schedule: tuple[int, ...], length: Sequence[int]) -> int:
    """How often a CPU that has steps left is taken off; for CPUs that never wait."""
    left = list(length)
    switches = 0
    for before, after in pairwise(schedule):
        left[before] -= 1
        switches += after != before and left[before] > 0
    return switches


@pytest.mark.parametrize("build", [build_free, build_locked])
def test_with_enough_switches_all_orders_are_tried(
    build: Callable[[], Sequence[Activity]],
) -> None:
    """Each once."""
    expected = sorted(execution.schedule for execution in explore(Program(build)))

    assert expected == sorted(run.schedule for run in explore_few_switches(Program(build), 20))


@pytest.mark.parametrize("switches", [0, 1, 2])
def test_bound_is_on_switches_away_from_a_cpu_that_could_go_on(switches: int) -> None:
    """Those of all orders that have so few of them, no more and no less."""
    expected = {
        run.schedule
        for run in explore(Program(build_free))
        if forced(run.schedule, (2, 3, 1)) <= switches
    }

    assert expected == {run.schedule for run in explore_few_switches(Program(build_free), switches)}


def test_who_waits_for_a_lock_is_left_for_nothing() -> None:
    """Without any forced switch a CPU that finds the lock held lets another one go on."""
    assert not any(run.deadlock for run in explore_few_switches(Program(build_locked), 0))


def test_hypervisor_finds_no_reason_to_be_preempted() -> None:
    """Its checks would double the orders at every entry of a multicall."""

    def ask() -> Activity:
        return (yield PreemptPoint())

    assert [(False,)] == [
        run.results for run in explore_few_switches(Program(lambda: [ask()], preempts=False), 2)
    ]
