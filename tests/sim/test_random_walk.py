"""The uniform walk: every interleaving as probable as any other, if nobody waits."""

import math
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from typing import Any, cast

import pytest
from scipy import stats

from sim.estimate.intervals import clopper_pearson
from sim.explore.execution import Execution, Scheduler
from sim.explore.program import Program
from sim.explore.searches import depth_first
from sim.explore.searches.paths import Decide, every_path
from sim.explore.searches.random_order import RandomOrder
from sim.explore.searches.random_walk import RandomWalk
from tests.sim.hidden_bugs import free, opposite_locks, pin_race

STEPS = (3, 2, 1)
ORDERS = 60


def probabilities(program: Program, expected: tuple[int, ...]) -> dict[tuple[int, ...], Fraction]:
    """The exact probability of each order: the sum over all numbers that could be drawn."""
    drawn: list[int] = []

    def follow(decide: Decide) -> Execution:
        drawn.clear()

        class Chance:
            def randrange(self, alternatives: int) -> int:
                drawn.append(alternatives)
                return decide(alternatives) if alternatives > 1 else 0

        walk = RandomWalk(expected, 0)
        walk._random = cast("Any", Chance())
        return program.run(walk)

    shares: dict[tuple[int, ...], Fraction] = {}
    for execution in every_path(follow):
        before = shares.get(execution.schedule, Fraction(0))
        shares[execution.schedule] = before + Fraction(1, math.prod(drawn))
    return shares


def drawn_orders(scheduler: Callable[[int], Scheduler], runs: int) -> Counter[tuple[int, ...]]:
    """How often each order of independent vCPUs is drawn."""
    program = free(*STEPS)
    return Counter(program.run(scheduler(seed)).schedule for seed in range(runs))


def hit_rate(program: Program, scheduler: Callable[[int], Scheduler], runs: int) -> int:
    """In how many executions the bug shows."""
    return sum(program.judge(program.run(scheduler(seed))) is not None for seed in range(runs))


def test_each_interleaving_is_exactly_as_probable_as_any_other() -> None:
    """One sixtieth."""
    assert {Fraction(1, ORDERS)} == set(probabilities(free(*STEPS), STEPS).values())
    assert ORDERS == len(probabilities(free(*STEPS), STEPS))


def test_wrong_numbers_of_steps_leave_no_order_out() -> None:
    """Too few and too many: probabilities differ, and none is zero."""
    shares = probabilities(free(*STEPS), (1, 4, 1))

    assert ORDERS == len(shares)
    assert 1 == sum(shares.values())
    assert len(set(shares.values())) > 1


def test_waits_leave_no_order_out() -> None:
    """What is said of uniformity does not hold then."""
    program = opposite_locks(0)
    expected = {execution.schedule for execution in depth_first.explore(program)}

    shares = probabilities(program, (4, 4))

    assert expected == shares.keys()
    assert len(set(shares.values())) > 1


def test_drawn_orders_are_uniform() -> None:
    """By the chi-square test, which the random order fails."""
    runs = 3000
    limit = stats.chi2.ppf(0.999, ORDERS - 1)

    walks = drawn_orders(lambda seed: RandomWalk(STEPS, seed), runs)
    orders = drawn_orders(RandomOrder, runs)

    assert ORDERS == len(walks)
    assert stats.chisquare(list(walks.values())).statistic < limit
    assert stats.chisquare([*orders.values(), *[0] * (ORDERS - len(orders))]).statistic > limit


def test_narrow_window_is_met_as_often_as_orders_meet_it() -> None:
    """Twenty steps each: the random order meets it more rarely.

    A bad order is one of C(19, 9) ways to the pin (before the check any of the mapper's private
    steps, behind it the rest of these and the map), and one of C(19, 9) on from there.
    """
    exact = math.comb(19, 9) ** 2 / math.comb(40, 20)
    runs = 2000
    program = pin_race(9)

    walks = hit_rate(program, lambda seed: RandomWalk((20, 20), seed), runs)
    orders = hit_rate(program, RandomOrder, runs)

    assert pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / runs)) == walks / runs
    assert clopper_pearson(orders, runs).high < exact
