"""A rare race by the time that its window is open, against waiting for hits."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pytest

from sim.distributions import Constant, Distribution, Exponential
from sim.effects import STEP, Activity, Spend
from sim.estimate.rare_events import (
    Conditions,
    TimeAverage,
    expected_hits,
    time_average,
)
from sim.estimate.ratios import per_opportunity
from sim.streams import Streams
from sim.timed import Price, Simulation

POISSON = Conditions(poisson_arrivals=True, independent_of_state=True)
US = 1000.0
WINDOW, GAP = 2 * US, 2000 * US
ODDS = WINDOW / (WINDOW + GAP)
"""A window of 2 us opens 2,000 us after it closed last: 9.99e-4 of the time it is open."""
PRICES = {
    "open": Exponential(WINDOW),
    "closed": Exponential(GAP),
    "between_arrivals": Exponential(58 * US),
}
RUNS = 60
CYCLES = 220


@dataclass
class Race:
    """A pinner's window, and mappers that arrive and may find it open."""

    open: bool = False
    ended: bool = False
    arrivals: int = 0
    hits: int = 0


def pin_again_and_again(race: Race) -> Activity:
    """Open and close the window."""
    for _ in range(CYCLES):
        yield Spend("closed")
        yield STEP
        race.open = True
        yield Spend("open")
        yield STEP
        race.open = False
    race.ended = True


def map_again_and_again(race: Race) -> Activity:
    """Arrive as long as the pinner works, whatever the window is."""
    while True:
        yield Spend("between_arrivals")
        yield STEP
        if race.ended:
            return
        race.arrivals += 1
        race.hits += race.open


def map_when_closed(race: Race) -> Activity:
    """Arrive as often, but look at the window first: a mapper that is not independent."""
    while True:
        yield Spend("between_arrivals")
        yield STEP
        if race.ended:
            return
        race.arrivals += 1


def run(
    replication: int, mapper: Callable[[Race], Activity], prices: Mapping[str, Distribution]
) -> tuple[float, ...]:
    """The time that the window was open, all time, hits and arrivals of one run."""
    race = Race()
    simulation = Simulation(
        {cost: Price(distribution) for cost, distribution in prices.items()},
        Streams(1, replication),
    )
    pinner = simulation.start(pin_again_and_again(race))
    simulation.start(mapper(race))
    simulation.run()
    return pinner.accounts.by_cost["open"], pinner.local_ns, race.hits, race.arrivals


Columns = tuple[list[float], list[float], list[int], list[int]]


def sample(
    mapper: Callable[[Race], Activity], prices: Mapping[str, Distribution] = PRICES
) -> Columns:
    """The columns of all runs."""
    opened, times, hits, arrivals = zip(
        *(run(replication, mapper, prices) for replication in range(RUNS)), strict=True
    )
    return (
        list(opened),
        list(times),
        [int(count) for count in hits],
        [int(count) for count in arrivals],
    )


@pytest.fixture(scope="module")
def columns() -> Columns:
    """Sixty runs of Poisson mappers."""
    return sample(map_again_and_again)


@pytest.fixture(scope="module")
def estimated(columns: Columns) -> TimeAverage:
    """Their odds."""
    return time_average(*columns, POISSON)


def test_both_estimators_hold_the_theory(columns: Columns, estimated: TimeAverage) -> None:
    """The share of time that an alternating renewal process is on: 2 of 2,002."""
    assert estimated.per_opportunity.low < ODDS < estimated.per_opportunity.high
    _, low, high = per_opportunity(columns[2], columns[3])
    assert low < ODDS < high


def test_time_average_is_the_more_precise_one(estimated: TimeAverage) -> None:
    """In a run 7,600 arrivals (sd 3.6e-4 to 3.7e-4) against 220 windows (sd 0.95e-4): 14 or 15.

    Variances of 60 runs are known to a third, so their ratio to a factor of two.
    """
    relative = 1.96 * np.sqrt(2 / (CYCLES * RUNS))
    width = estimated.per_opportunity.high - estimated.per_opportunity.low

    assert pytest.approx(2 * relative * ODDS, rel=0.25) == width
    assert estimated.variance_ratio is not None
    assert 7.5 < estimated.variance_ratio < 30


def test_rate_is_odds_times_arrivals(columns: Columns, estimated: TimeAverage) -> None:
    """One arrival in 58 us: 0.0000172 hits a us."""
    assert estimated.per_time.low < ODDS / (58 * US) < estimated.per_time.high
    assert pytest.approx(estimated.per_opportunity.mean * sum(columns[3])) == (
        estimated.expected_hits
    )


def test_plain_sampling_agrees_where_the_conditions_hold(estimated: TimeAverage) -> None:
    """Of 450 expected hits about as many are seen."""
    assert 400 < estimated.expected_hits < 500
    assert estimated.agrees


def test_plain_sampling_tells_of_arrivals_that_look_at_the_window() -> None:
    """Not one hit where hundreds were expected."""
    claimed = time_average(*sample(map_when_closed), POISSON)

    assert not claimed.agrees
    assert claimed.p_value < 1e-50
    assert claimed.variance_ratio is None


def test_plain_sampling_tells_of_arrivals_in_step_with_the_window() -> None:
    """Three arrivals a period of 1 ms, the last of them in the window that is open for a tenth."""
    fixed = {
        "open": Constant(100 * US),
        "closed": Constant(900 * US),
        "between_arrivals": Constant(333_333),
    }
    shifting = fixed | {"open": Exponential(100 * US)}

    assert not time_average(*sample(map_again_and_again, fixed), POISSON).agrees
    assert time_average(*sample(map_again_and_again, shifting), POISSON).agrees


def test_false_alarms_are_as_rare_as_said() -> None:
    """Windows of alternating exponential times; few hits and many, in clumps of some arrivals."""
    generator = np.random.default_rng(12)
    alarms = dict.fromkeys((20, 200, 4000), 0)
    for arrivals in alarms:
        for _ in range(400):
            opened = generator.gamma(50, 0.02, 40)
            times = opened + generator.gamma(50, 1.98, 40)
            among = generator.poisson(arrivals * times / times.mean())
            hits = generator.binomial(among, opened / times)
            columns = (opened.tolist(), times.tolist(), hits.tolist(), among.tolist())
            alarms[arrivals] += not time_average(*columns, POISSON).agrees

    assert max(alarms.values()) / 400 < 0.03


@pytest.mark.parametrize(
    ("conditions", "complaint"),
    [
        (Conditions(poisson_arrivals=False, independent_of_state=True), "not a Poisson process$"),
        (Conditions(poisson_arrivals=True, independent_of_state=False), "depend on whether"),
        (Conditions(poisson_arrivals=False, independent_of_state=False), "process and arrivals"),
    ],
)
def test_unmet_condition_is_refused(conditions: Conditions, complaint: str) -> None:
    """With the reason; whatever the numbers are."""
    with pytest.raises(ValueError, match=complaint):
        time_average([1.0, 2.0], [10.0, 10.0], [0, 1], [5, 5], conditions)


def test_window_that_never_opened_gives_no_odds() -> None:
    """A share of zero time has no interval."""
    with pytest.raises(ValueError, match="positive"):
        time_average([0.0, 0.0], [10.0, 10.0], [0, 0], [5, 5], POISSON)


# -- attempts that take time ----------------------------------------------------------------------

REST, WORK, LASTS = 20.0, 1.0, 2.0
"""Mean rest between attempts, time of an attempt, mean length of a window: all exponential."""
SURVIVES = LASTS / (LASTS + WORK)
"""How often the rest of a window, which forgets, outlasts an attempt."""


def one_window(generator: np.random.Generator) -> tuple[float, bool, bool]:
    """A run of one window: its length, whether an attempt in it hits, and whether one from before.

    The actor rests when the window opens in four runs of five, and is at its attempt else.
    """
    length = float(generator.exponential(LASTS))
    rests = bool(generator.random() < 0.8)
    begins = float(generator.exponential(REST)) if rests else 0.0
    hits = begins + float(generator.exponential(WORK)) < length
    return length, rests and hits, not rests and hits


def test_expected_hits_of_attempts_that_begin_in_a_window_are_those_that_come() -> None:
    """The rest ends in the window at a rate of 1 / 20, and the window must last for the attempt."""
    generator = np.random.default_rng(5)
    runs = [one_window(generator) for _ in range(20_000)]
    # An actor at rest begins at t with density exp(-t / REST) / REST; one that takes w hits if
    # t + w < length. Integrated over both by hand.
    expected = [0.8 * _begins_in_time(length) for length, _, _ in runs]
    hits = [int(own or other) for _, own, other in runs]
    others = [int(other) for _, _, other in runs]
    ones = [1] * len(runs)
    found = expected_hits(expected, others, [1.0] * len(runs), hits, ones, POISSON)
    truth = 0.8 * (LASTS / (LASTS + REST)) * SURVIVES + 0.2 * SURVIVES

    assert found.agrees
    assert found.per_opportunity.low < truth < found.per_opportunity.high
    assert pytest.approx(sum(hits), rel=0.05) == found.expected_hits
    assert found.variance_ratio is not None
    assert found.variance_ratio > 1


def _begins_in_time(length: float) -> float:
    """The probability that a rest and an attempt end within so much time (REST and WORK differ)."""
    return 1.0 - float(
        (REST * np.exp(-length / REST) - WORK * np.exp(-length / WORK)) / (REST - WORK)
    )


def test_expectation_that_does_not_come_true_is_found_out() -> None:
    """Ten times as many expected as came."""
    hits = [1] * 20 + [0] * 80
    found = expected_hits([2.0] * 100, [0] * 100, [1.0] * 100, hits, [5] * 100, POISSON)

    assert not found.agrees
    assert 200 == found.expected_hits


def test_hits_of_earlier_attempts_are_counted_as_they_are() -> None:
    """Nothing is expected of them."""
    others = [1, 0] * 50
    found = expected_hits([0.1] * 100, others, [2.0] * 100, others, [5] * 100, POISSON)

    assert pytest.approx((50 + 10) / 500) == found.per_opportunity.mean
    assert pytest.approx((50 + 10) / 200) == found.per_time.mean


def test_expected_hits_need_their_conditions() -> None:
    """Arrivals that know of the window are not expected by its length."""
    unmet = Conditions(poisson_arrivals=True, independent_of_state=False)
    with pytest.raises(ValueError, match="depend on whether"):
        expected_hits([1.0, 1.0], [0, 0], [1.0, 1.0], [0, 1], [1, 1], unmet)
