"""One unchanged toy under the three interpreters: in turn, against the clock, in every order."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from sim.distributions import Distribution, Exponential, Lognormal
from sim.effects import Activity
from sim.explore.execution import Execution
from sim.explore.program import Program
from sim.explore.searches.depth_first import explore
from sim.instant import run_in_order
from sim.locks import SpinLock
from sim.streams import Streams
from sim.timed import Price, Simulation
from tests.sim.toy import Page, check_and_pin, map_and_unmap

RUNS = 3000


def merges(steps: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """All orders in which vCPUs can make so many steps each."""
    if not any(steps):
        yield ()
    for vcpu, left in enumerate(steps):
        if left:
            rest = [count - (number == vcpu) for number, count in enumerate(steps)]
            for tail in merges(rest):
                yield (vcpu, *tail)


def is_bad(schedule: Sequence[int], private_steps: int) -> bool:
    """Does this order of steps pin a writable page? vCPU 0 pins, the others map."""
    places = [
        [place for place, number in enumerate(schedule) if number == vcpu][private_steps:]
        for vcpu in sorted(set(schedule))
    ]
    (check, pin), mappings = places[0], places[1:]
    clean = not any(mapped < check < unmapped for mapped, unmapped in mappings)
    return clean and any(check < mapped < pin < unmapped for mapped, unmapped in mappings)


def every_order(
    mappers: int = 1, private_steps: int = 0, *, locked: bool = False
) -> list[tuple[Execution, Page]]:
    """All executions of a pinner and some mappers, each with what became of its page."""
    pages: list[Page] = []

    def build() -> list[Activity]:
        page = Page()
        pages.append(page)
        locks = [SpinLock("page")] if locked else []
        return [
            check_and_pin(page, private_steps=private_steps, locks=locks),
            *(
                map_and_unmap(page, private_steps=private_steps, locks=locks)
                for _ in range(mappers)
            ),
        ]

    executions = list(explore(Program(build)))
    return list(zip(executions, pages, strict=True))


def measured_share(durations: dict[str, Distribution]) -> float:
    """In which share of many seeds the two vCPUs take the bad order."""
    prices = {cost: Price(distribution) for cost, distribution in durations.items()}
    bad = 0
    for seed in range(RUNS):
        page = Page()
        simulation = Simulation(prices, Streams(seed))
        simulation.start(check_and_pin(page))
        simulation.start(map_and_unmap(page))
        simulation.run()
        bad += page.pinned_while_writable
    return bad / RUNS


def four_deviations(share: float) -> float:
    """How far a correct engine's measured share may lie from the expected one."""
    return 4 * math.sqrt(share * (1 - share) / RUNS)


# -- one vCPU after the other ---------------------------------------------------------------


def test_pinner_before_mapper_in_turn_is_safe() -> None:
    """The page is pinned, and the mapper finds it so."""
    page = Page()

    assert [True, False] == run_in_order([check_and_pin(page), map_and_unmap(page)])
    assert Page(pinned=True) == page


def test_mapper_before_pinner_in_turn_is_safe() -> None:
    """The mapping is gone when the pinner looks."""
    page = Page()

    assert [True, True] == run_in_order([map_and_unmap(page), check_and_pin(page)])
    assert Page(pinned=True) == page


# -- against the clock ----------------------------------------------------------------------


def test_timed_runs_take_the_bad_order_as_often_as_memoryless_delays_say() -> None:
    """Exponential delays forget their past, so the share is a product of three contests.

    The check comes before the map (1/2: equal means); of the map (mean 20 us) and the pin
    (20 us) the map comes first (1/2); of the pin (20 us) and the unmap (60 us) the pin (3/4).
    """
    share = measured_share(
        {
            "before_check": Exponential(20_000),
            "check_to_pin": Exponential(20_000),
            "before_map": Exponential(20_000),
            "map_to_unmap": Exponential(60_000),
        }
    )

    assert pytest.approx(3 / 16, abs=four_deviations(3 / 16)) == share


def test_timed_runs_take_the_bad_order_as_often_as_plain_sampling() -> None:
    """Lognormal delays, sampled once by the engine and once by numpy alone."""
    means = {
        "before_check": 9_000.0,
        "check_to_pin": 5_000.0,
        "before_map": 12_000.0,
        "map_to_unmap": 4_000.0,
    }
    sigma = 0.6
    rng = np.random.default_rng(1)
    check, to_pin, mapped, to_unmap = (
        rng.lognormal(math.log(mean) - sigma**2 / 2, sigma, 200_000) for mean in means.values()
    )
    pin, unmapped = check + to_pin, mapped + to_unmap
    expected = float(np.mean((check < mapped) & (mapped < pin) & (pin < unmapped)))

    share = measured_share({cost: Lognormal(mean, sigma) for cost, mean in means.items()})

    assert 0.1 < expected < 0.9
    assert pytest.approx(expected, abs=four_deviations(expected)) == share


# -- every order ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mappers", "private_steps", "orders"),
    [
        (1, 0, math.comb(4, 2)),
        (1, 1, math.comb(6, 3)),
        (1, 3, math.comb(10, 5)),
        (2, 0, math.factorial(6) // 2**3),
        (2, 1, math.factorial(9) // 6**3),
    ],
)
def test_exploring_makes_each_order_once(mappers: int, private_steps: int, orders: int) -> None:
    """The executions are the interleavings: as many as the multinomial coefficient says."""
    schedules = [execution.schedule for execution, _ in every_order(mappers, private_steps)]

    assert orders == len(schedules)
    assert set(merges([private_steps + 2] * (mappers + 1))) == set(schedules)


@pytest.mark.parametrize(("mappers", "private_steps"), [(1, 0), (1, 1), (1, 3), (2, 0), (2, 1)])
def test_exploring_finds_exactly_the_bad_orders(mappers: int, private_steps: int) -> None:
    """What the page says of an order agrees with the places of its steps."""
    outcomes = {
        execution.schedule: page.pinned_while_writable
        for execution, page in every_order(mappers, private_steps)
    }

    assert True in outcomes.values()
    assert {order: is_bad(order, private_steps) for order in outcomes} == outcomes


def test_one_of_six_orders_of_two_steps_each_is_bad() -> None:
    """Check, map, pin, unmap."""
    bad = [execution.schedule for execution, page in every_order() if page.pinned_while_writable]

    assert [(0, 1, 0, 1)] == bad


def test_lock_leaves_no_bad_order() -> None:
    """With the check and the pin under one lock, no order pins a writable page."""
    pages = [page for _, page in every_order(mappers=2, private_steps=1, locked=True)]

    assert not any(page.pinned_while_writable for page in pages)


def test_lock_leaves_the_orders_that_it_allows() -> None:
    """Whoever takes the lock first makes its private step and its four locked ones in a row.

    The other's private step has six places in that row. Each vCPU may be the first.
    """
    assert 6 + 6 == len(every_order(private_steps=1, locked=True))


def test_locks_taken_in_opposite_orders_deadlock_in_two_of_six_orders() -> None:
    """Both take their first lock: in either order. Otherwise one is through before the other.

    It then gives back the lock that the other wants first, and only its last release and the
    other's first acquisition can change places: two orders for each of the two.
    """

    def build() -> list[Activity]:
        page, table = SpinLock("page"), SpinLock("table")
        shared = Page()
        return [
            check_and_pin(shared, locks=[page, table]),
            map_and_unmap(shared, locks=[table, page]),
        ]

    executions = list(explore(Program(build)))

    assert 6 == len(executions)
    assert {(0, 1), (1, 0)} == {
        execution.schedule for execution in executions if execution.deadlock
    }


def test_deadlocked_activities_have_no_result() -> None:
    """A vCPU that never ended is told from one that returned."""

    def build() -> list[Activity]:
        page, table = SpinLock("page"), SpinLock("table")
        return [
            check_and_pin(Page(), locks=[page, table]),
            map_and_unmap(Page(), locks=[table, page]),
        ]

    results = {execution.results for execution in explore(Program(build)) if execution.deadlock}

    assert {(None, None)} == results
