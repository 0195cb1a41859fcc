"""Random priorities: how probable it is that they show a bug, counted exactly and drawn."""

import math
import random
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.estimate.intervals import clopper_pearson
from sim.explore.program import Program
from sim.explore.searches.lengths import Lengths
from sim.explore.searches.pct import Priorities, chance_to_find, chance_to_miss, draw_priorities
from tests.sim.hidden_bugs import (
    Ordering,
    after_everything,
    bug,
    free,
    holds,
    inside_a_window,
    opposite_locks,
    pin_race,
    share_of_priorities,
)


def lengths_of(*steps: int) -> Lengths:
    """Where every execution has so many steps of each vCPU."""
    return Lengths(steps, sum(steps))


def shows(program: Program) -> Callable[[Priorities], bool]:
    """Whether a scheduler makes the bug of this program show."""
    return lambda priorities: program.judge(program.run(priorities)) is not None


def order_of(priorities: Priorities, steps: tuple[int, ...]) -> list[int]:
    """The order of vCPUs that never wait, without an interpreter."""
    left = list(steps)
    order = []
    while ready := [vcpu for vcpu, n in enumerate(left) if n]:
        vcpu = priorities.pick(ready)
        left[vcpu] -= 1
        order.append(vcpu)
    return order


# -- the rule -----------------------------------------------------------------------------------


def test_highest_priority_goes_on_to_its_end() -> None:
    """Without changes, the vCPUs go one after the other."""
    orders = {
        free(2, 2, 1).run(draw_priorities(1, lengths_of(2, 2, 1), f"{seed}")).schedule
        for seed in range(100)
    }

    assert 6 == len(orders)
    assert {2} == {sum(a != b for a, b in pairwise(order)) for order in orders}


def test_change_puts_who_would_go_next_behind_all_others() -> None:
    """Before its step, not behind it."""
    priorities = Priorities([0, 1], [2], random.Random(0))

    assert (0, 1, 1, 0, 0) == free(3, 2).run(priorities).schedule


def test_changes_on_one_place_follow_each_other() -> None:
    """Who is selected instead is put back, too; where it is put does not depend on when."""
    order = [0, 1, 2]

    lower_first = Priorities(order, [2, 3], random.Random(0))
    higher_first = Priorities(order, [3, 2], random.Random(0))

    assert (0, 2, 1, 0) == free(2, 1, 1).run(lower_first).schedule
    assert (0, 2, 0, 1) == free(2, 1, 1).run(higher_first).schedule


def test_who_waits_is_passed_over() -> None:
    """Whatever the priorities and changes: only a deadlock of the program's own ends an order."""
    program = opposite_locks(1)
    drawn = [program.run(draw_priorities(3, lengths_of(5, 5), f"{seed}")) for seed in range(300)]

    assert all(run.deadlock or len(run.schedule) == 10 for run in drawn)
    assert {False, True} == {run.deadlock for run in drawn}


def test_depth_without_a_guarantee_is_refused() -> None:
    """With a sentence that says which have one."""
    for depth in (0, 5):
        with pytest.raises(ValueError, match="holds for 1 to 4"):
            draw_priorities(depth, lengths_of(2, 2), "0")


# -- the guarantee, counted over all that could be drawn ----------------------------------------


@pytest.mark.parametrize(
    ("program", "depth", "lengths", "expected"),
    [
        # vCPU 0 has the higher priority.
        (after_everything(20), 1, lengths_of(20, 20), Fraction(1, 2)),
        # ... and the one change comes at the one right place of 23.
        (inside_a_window(12), 2, lengths_of(12, 12), Fraction(1, 2 * 23)),
        # ... and both come at the right place of 16, the first one with the higher priority.
        (pin_race(3), 3, lengths_of(8, 8), Fraction(1, 2 * 16 * 15)),
    ],
    ids=["depth 1", "depth 2", "depth 3"],
)
def test_known_bugs_show_as_often_as_counted_by_hand(
    program: Program, depth: int, lengths: Lengths, expected: Fraction
) -> None:
    """Which is at least as often as is guaranteed."""
    assert expected == share_of_priorities(depth, lengths, shows(program))
    assert expected >= chance_to_find(depth, lengths.vcpus, lengths.longest)


def test_deadlock_by_opposite_locks_shows_as_often_as_guaranteed() -> None:
    """Whoever has its first lock is held back before the second one: either of the two."""
    share = share_of_priorities(2, lengths_of(6, 6), shows(opposite_locks(2)))

    # Whoever is first, it is held back at the fourth of eleven places.
    assert Fraction(1, 11) == share
    assert share >= chance_to_find(2, 2, 12)


def test_vcpu_whose_first_step_comes_last_can_be_held_back() -> None:
    """It must not begin before vCPU 0 has gone on behind vCPU 1: a place before a first step."""
    orderings = [((0, 0), (1, 0)), ((1, 1), (0, 1)), ((0, 1), (2, 0))]

    share = share_of_priorities(3, lengths_of(2, 2, 1), shows(bug((2, 2, 1), orderings)))

    assert share >= chance_to_find(3, 3, 5)


@st.composite
def bugs(draw: st.DrawFn) -> tuple[tuple[int, ...], list[Ordering]]:
    """Some vCPUs with a few steps, and one to four orderings that hold in some order of these."""
    steps = tuple(draw(st.lists(st.integers(1, 3), min_size=2, max_size=3)))
    order = draw(st.permutations([vcpu for vcpu, n in enumerate(steps) for _ in range(n)]))
    made = [0] * len(steps)
    walked = []
    for vcpu in order:
        walked.append((vcpu, made[vcpu]))
        made[vcpu] += 1
    pairs = [(a, b) for i, a in enumerate(walked) for b in walked[i + 1 :] if a[0] != b[0]]
    return steps, draw(st.lists(st.sampled_from(pairs), min_size=1, max_size=4, unique=True))


@settings(max_examples=60, deadline=None)
@given(bugs(), st.integers(0, 1))
def test_any_bug_shows_as_often_as_guaranteed(
    found: tuple[tuple[int, ...], list[Ordering]], deeper: int
) -> None:
    """Also one that is less deep than what is looked for: all draws are counted."""
    steps, orderings = found
    depth = min(len(orderings) + deeper, 4)

    share = share_of_priorities(
        depth,
        lengths_of(*steps),
        lambda priorities: holds(order_of(priorities, steps), orderings),
    )

    assert share >= Fraction(1, len(steps) * sum(steps) ** (depth - 1))


# -- the guarantee, as drawn --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "depth", "lengths", "runs", "exact"),
    [
        (after_everything(20), 1, lengths_of(20, 20), 1000, 1 / 2),
        (inside_a_window(12), 2, lengths_of(12, 12), 2500, 1 / 46),
        (pin_race(3), 3, lengths_of(8, 8), 6000, 1 / 480),
    ],
    ids=["depth 1, 40 steps", "depth 2, 24 steps", "depth 3, 16 steps"],
)
def test_drawn_priorities_meet_their_bound(
    program: Program, depth: int, lengths: Lengths, runs: int, exact: float
) -> None:
    """The hits lie where the exact probability puts them; the bound is not contradicted."""
    hits = sum(
        shows(program)(draw_priorities(depth, lengths, f"{depth} {seed}")) for seed in range(runs)
    )

    assert pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / runs)) == hits / runs
    assert clopper_pearson(hits, runs).high >= chance_to_find(depth, lengths.vcpus, lengths.longest)
    assert hits > 0


def test_too_small_a_depth_is_no_use_at_all() -> None:
    """The pin race needs two changes."""
    assert 0 == share_of_priorities(2, lengths_of(8, 8), shows(pin_race(3)))


# -- what is said of misses -----------------------------------------------------------------------


def test_chance_to_miss_is_that_of_all_executions_missing() -> None:
    """Of two vCPUs with ten steps, one execution shows a bug of depth 3 once in 200."""
    assert 1 == chance_to_miss(3, 2, 10, 0)
    assert pytest.approx(199 / 200) == chance_to_miss(3, 2, 10, 1)
    assert pytest.approx((199 / 200) ** 1000) == chance_to_miss(3, 2, 10, 1000)


def test_vcpu_alone_hides_no_bug_of_order() -> None:
    """One execution is enough."""
    assert 0 == chance_to_miss(1, 1, 10, 1)
