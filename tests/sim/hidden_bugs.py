"""Programs with one bug each, which shows only in some orders; and all that chance can draw."""

import random
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import permutations

from sim.effects import STEP, Acquire, Activity, Release
from sim.explore.execution import Execution
from sim.explore.program import Finding, Program
from sim.explore.searches.lengths import Lengths
from sim.explore.searches.pct import Priorities, places
from sim.locks import SpinLock
from tests.sim.toy import Page, check_and_pin, map_and_unmap

Place = tuple[int, int]
"""A step: of which vCPU, and which of its own steps, from 0."""
Ordering = tuple[Place, Place]
"""The first before the second."""

FOUND = Finding("bug", "this order is bad")


def steps(n: int) -> Activity:
    """So many visible steps."""
    for _ in range(n):
        yield STEP


def free(*lengths: int) -> Program:
    """As many vCPUs, with so many steps, that mind nobody."""
    return Program(lambda: [steps(n) for n in lengths])


def holds(schedule: Sequence[int], orderings: Sequence[Ordering]) -> bool:
    """Are these steps in this order?"""
    at: dict[Place, int] = {}
    made: dict[int, int] = {}
    for place, vcpu in enumerate(schedule):
        at[vcpu, made.get(vcpu, 0)] = place
        made[vcpu] = made.get(vcpu, 0) + 1
    return all(at[first] < at[then] for first, then in orderings)


def bug(lengths: Sequence[int], orderings: Sequence[Ordering]) -> Program:
    """As many vCPUs, with so many steps, and a bug that shows if all of these orderings hold."""

    def judge(execution: Execution) -> Finding | None:
        return FOUND if holds(execution.schedule, orderings) else None

    return Program(free(*lengths).begin, judge)


def after_everything(n: int) -> Program:
    """The first step of vCPU 1 comes after the last of vCPU 0: depth 1."""
    return bug((n, n), [((0, n - 1), (1, 0))])


def inside_a_window(n: int) -> Program:
    """All of vCPU 1 comes between two neighbouring steps of vCPU 0: depth 2."""
    return bug((n, n), [((0, n // 2 - 1), (1, 0)), ((1, n - 1), (0, n // 2))])


def pin_race(private_steps: int, mappers: int = 1) -> Program:
    """A page is checked, mapped, pinned and unmapped, in this order: depth 3.

    The steps that matter have so many private ones before and behind them.
    """
    pages: list[Page] = []

    def padded(activity: Activity) -> Activity:
        yield from activity
        yield from steps(private_steps)

    def begin() -> list[Activity]:
        page = Page()
        pages[:] = [page]
        return [
            padded(check_and_pin(page, private_steps=private_steps)),
            *(padded(map_and_unmap(page, private_steps=private_steps)) for _ in range(mappers)),
        ]

    return Program(begin, lambda _: FOUND if pages[0].pinned_while_writable else None)


def opposite_locks(private_steps: int) -> Program:
    """Two vCPUs take two locks, each the other's first one last: depth 2."""

    def taking(first: SpinLock, then: SpinLock) -> Activity:
        yield from steps(private_steps)
        yield Acquire(first)
        yield Acquire(then)
        yield Release(then)
        yield Release(first)

    def begin() -> list[Activity]:
        a, b = SpinLock("a"), SpinLock("b")
        return [taking(a, b), taking(b, a)]

    return Program(begin)


def all_priorities(depth: int, lengths: Lengths) -> Iterator[Priorities]:
    """Every scheduler that could be drawn, each as probable as any other."""
    for order in permutations(range(lengths.vcpus)):
        for changes in permutations(places(depth, lengths.longest), depth - 1):
            yield Priorities(order, changes, random.Random(0))


def share_of_priorities(
    depth: int, lengths: Lengths, hits: Callable[[Priorities], bool]
) -> Fraction:
    """The exact probability with which a scheduler that is drawn makes the bug show."""
    found = [hits(priorities) for priorities in all_priorities(depth, lengths)]
    return Fraction(sum(found), len(found))
