"""Odds of a small race, check-and-pin against a mapper, whose odds can be written down."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from scipy import integrate

from experiments.odds.estimate import (
    NS_PER_HOUR,
    Odds,
    difference,
    odds,
    parse_precision,
    seen,
)
from experiments.record.trial import Trial
from sim.distributions import Constant, Distribution, Exponential
from sim.effects import STEP, Activity, Note, Spend
from sim.estimate.intervals import Estimate
from sim.estimate.rare_events import Conditions
from sim.estimate.sequential import Precision
from sim.streams import Streams
from sim.timed import Price, Simulation
from tests.sim.timed_run import Notes
from tests.sim.toy import Page, check_and_pin, map_and_unmap

MEANS = {
    "before_check": 40_000.0,
    "check_to_pin": 5_000.0,
    "before_map": 30_000.0,
    "map_to_unmap": 15_000.0,
}
DELAYS: dict[str, Distribution] = {cost: Exponential(mean) for cost, mean in MEANS.items()}
TEN_PER_CENT = Precision(relative=0.1)
POISSON = Conditions(poisson_arrivals=True, independent_of_state=True)


def toy(delays: dict[str, Distribution]) -> Callable[[int, int], Trial]:
    """A race of one pinner and one mapper; its window stands open from the check to the pin.

    A near miss is a mapping that comes and goes again while the window is open.
    """
    prices = {cost: Price(distribution) for cost, distribution in delays.items()}

    def trial(seed: int, replication: int) -> Trial:
        page = Page()
        simulation = Simulation(prices, Streams(seed, replication))
        simulation.start(check_and_pin(page))
        simulation.start(map_and_unmap(page))
        simulation.run()
        pinner, mapper = (vcpu.accounts for vcpu in simulation.vcpus)
        check, window = pinner.by_cost["before_check"], pinner.by_cost["check_to_pin"]
        mapped, lasted = mapper.by_cost["before_map"], mapper.by_cost["map_to_unmap"]
        return Trial(
            hit=page.pinned_while_writable,
            opportunities=1,
            time_ns=simulation.time_ns,
            near_misses=int(check < mapped and mapped + lasted < check + window),
            window_ns=(window,),
        )

    return trial


def numerically(*, unmapped_later: bool) -> float:
    """The integral over check and map, of being mapped when the pin comes, or unmapped again."""

    def density(delay: float, cost: str) -> float:
        return math.exp(-delay / MEANS[cost]) / MEANS[cost]

    def until_the_map(gap: float, check: float) -> float:
        # From the map on, the pin (if it is still to come) and the unmap are a contest.
        pin_to_come = math.exp(-gap / MEANS["check_to_pin"])
        pin_first = integrate.quad(
            lambda ns: density(ns, "check_to_pin") * math.exp(-ns / MEANS["map_to_unmap"]), 0, 3e5
        )[0]
        later: float = pin_first if unmapped_later else 1 - pin_first
        joint = density(check, "before_check") * density(check + gap, "before_map")
        return joint * pin_to_come * later

    value: float = integrate.dblquad(until_the_map, 0, 6e5, 0, 2e5, epsabs=1e-7)[0]
    return value


def counting(hits_at: set[int], *, opportunities: int = 1) -> Callable[[int, int], Trial]:
    """Trials that hit in these replications, and nothing else about them."""

    def trial(_: int, replication: int) -> Trial:
        return Trial(replication in hits_at, opportunities, time_ns=1_000_000)

    return trial


# -- a race whose odds are known --------------------------------------------------------------


@pytest.fixture(scope="module")
def known() -> Odds:
    """What sampling says of the toy, to 15 %."""
    return odds(toy(DELAYS), precision=Precision(relative=0.15), most=100_000, seed=2)


@pytest.fixture(scope="module")
def exact() -> tuple[float, float]:
    """Hits and near misses of the toy, integrated numerically."""
    return numerically(unmapped_later=True), numerically(unmapped_later=False)


def test_integral_is_the_product_of_three_contests(exact: tuple[float, float]) -> None:
    """Exponential delays forget: check before map 3/7, map before pin 1/7, pin before unmap 3/4."""
    assert pytest.approx((3 / 7 * 1 / 7 * 3 / 4, 3 / 7 * 1 / 7 * 1 / 4), rel=1e-4) == exact


def test_odds_of_the_toy_are_those_of_the_integral(known: Odds, exact: tuple[float, float]) -> None:
    """Within the interval, which is as narrow as asked for."""
    hit, near = exact

    assert known.precise
    assert known.per_opportunity is not None
    assert known.per_run.low < hit < known.per_run.high
    assert known.per_opportunity == pytest.approx(known.per_run)
    assert known.per_run.high < 1.15 * known.per_run.mean
    deviation = math.sqrt(near * (1 - near) / known.runs)
    assert pytest.approx(near, abs=4 * deviation) == known.near_misses / known.runs


def test_rate_of_the_toy_is_its_odds_over_its_time(known: Odds, exact: tuple[float, float]) -> None:
    """A run takes as long as the slower of the two, on average as long as numpy says."""
    generator = np.random.default_rng(4)
    check, pin, mapped, unmapped = (generator.exponential(mean, 10**6) for mean in MEANS.values())
    run_ns = float(np.maximum(check + pin, mapped + unmapped).mean())

    assert known.per_hour.low < exact[0] / run_ns * NS_PER_HOUR < known.per_hour.high


def test_windows_have_the_quantiles_of_their_distribution(known: Odds) -> None:
    """Of an exponential one of 5 us; the 90 % quantile is 2.3 means."""
    assert known.windows is not None
    assert known.runs == known.windows.count
    assert pytest.approx(5_000, rel=0.08) == known.windows.mean_ns
    assert pytest.approx(5_000 * math.log(2), rel=0.08) == known.windows.quantiles["p50_ns"]
    assert pytest.approx(5_000 * math.log(10), rel=0.08) == known.windows.quantiles["p90_ns"]
    assert known.windows.quantiles["p99_ns"] < known.windows.quantiles["max_ns"]


def test_same_seed_gives_the_same_answer() -> None:
    """Bit for bit; another seed another one."""
    first, again, other = (
        odds(toy(DELAYS), precision=Precision(relative=0.5), most=1_000, seed=seed)
        for seed in (5, 5, 6)
    )

    assert first == again
    assert first.record() == again.record()
    assert first.per_run != other.per_run


def test_sampling_that_was_broken_off_comes_to_the_same_answer() -> None:
    """With 400 trials made before, which is between two looks."""
    made: list[int] = []

    def counted(seed: int, replication: int) -> Trial:
        made.append(replication)
        return toy(DELAYS)(seed, replication)

    precision = Precision(relative=0.4)
    whole = odds(toy(DELAYS), precision=precision, most=50_000, seed=7)
    earlier = [toy(DELAYS)(7, replication) for replication in range(400)]
    resumed = odds(counted, precision=precision, most=50_000, seed=7, earlier=earlier)

    assert whole == resumed
    assert list(range(400, whole.runs)) == made


def test_longer_window_is_told_from_a_shorter_one_by_common_seeds() -> None:
    """Check-to-pin of 6 us instead of 5: 1/6 of maps come first instead of 1/7 (and 5/7, 3/4)."""
    longer = toy(DELAYS | {"check_to_pin": Exponential(6_000.0)})
    told = difference(longer, toy(DELAYS), runs=1_500, seed=8)
    expected = 3 / 7 * (1 / 6 * 5 / 7 - 1 / 7 * 3 / 4)

    assert told.difference.low < expected < told.difference.high
    assert told.variance_ratio is not None
    assert told.variance_ratio > 3


# -- stopping and saying ----------------------------------------------------------------------


def test_race_that_is_never_hit_is_bounded() -> None:
    """The mapper is always too late; nothing but a bound can be said."""
    late: dict[str, Distribution] = DELAYS | {"before_map": Constant(1e9)}
    known = odds(toy(late), precision=TEN_PER_CENT, most=500, seed=0)

    assert (500, 0, False) == (known.runs, known.hits, known.precise)
    assert known.sentence == "not seen in 500 runs, p < 0.006 at 95 %"
    assert pytest.approx(1 - 0.05 ** (1 / 500)) == known.per_run.high


@pytest.mark.parametrize(
    ("hits", "runs", "sentence"),
    [
        (0, 4096, "not seen in 4,096 runs, p < 0.00074 at 95 %"),
        (12, 4096, "seen in 12 of 4,096 runs: p = 0.0029 (0.0015 to 0.0051)"),
        (4096, 4096, "seen in all 4,096 runs, p > 0.99926 at 95 %"),
        (500_000, 1_000_000, "seen in 500,000 of 1,000,000 runs: p = 0.5 (0.499 to 0.501)"),
        (1, 10, "seen in 1 of 10 runs: p = 0.1 (0.0025 to 0.45)"),
    ],
)
def test_sentence_says_how_often_and_what_follows(hits: int, runs: int, sentence: str) -> None:
    """Bounds by hand: 1 - 0.05 ** (1 / 4096) = 0.000731, rounded to the safe side."""
    assert sentence == seen(hits, runs)


@pytest.mark.parametrize("runs", [2, 3, 17, 64, 1000, 4096, 123_456])
def test_bound_in_words_promises_no_more_than_it_holds(runs: int) -> None:
    """Rounding goes up, by less than one of its last digits."""
    said = float(seen(0, runs).split("p < ")[1].split()[0])

    assert 1 - 0.05 ** (1 / runs) <= said < 1.1 * (1 - 0.05 ** (1 / runs))


def tells(estimate: Estimate, truth: float) -> bool:
    """Does an estimate tell the truth? One of twenty 95 % intervals misses it, by a little."""
    return (
        estimate.mean - 2 * (estimate.mean - estimate.low)
        < truth
        < estimate.mean + 2 * (estimate.high - estimate.mean)
    )


def test_precision_is_of_the_probability_per_opportunity() -> None:
    """Nearly every run hits, but only after 50 opportunities or so: 400 hits are needed still."""

    def trial(seed: int, replication: int) -> Trial:
        share = Streams(seed, replication).bits("first").share()
        first = 1 + int(math.log1p(-share) / math.log1p(-0.02))  # geometric, by inversion
        return Trial(hit=first <= 400, opportunities=min(first, 400), time_ns=1_000)

    known = odds(trial, precision=TEN_PER_CENT, most=10_000, seed=9)

    assert known.per_run.mean > 0.99
    assert 384 < known.hits < 700
    assert known.per_opportunity is not None
    assert tells(known.per_opportunity, 0.02)


def test_race_without_opportunities_is_measured_per_run() -> None:
    """There is nothing else to divide by; a hit without an opportunity is a fault of the trial."""
    unseen = odds(counting(set(), opportunities=0), precision=TEN_PER_CENT, most=80, seed=0)

    assert unseen.per_opportunity is None
    assert unseen.best == unseen.per_run
    with pytest.raises(ValueError, match="more hits than opportunities"):
        odds(counting({3, 5}, opportunities=0), precision=TEN_PER_CENT, most=80, seed=0)


@pytest.mark.parametrize("most", [0, 1])
def test_one_run_gives_no_odds(most: int) -> None:
    """It has no spread."""
    with pytest.raises(ValueError, match="two runs"):
        odds(counting(set()), precision=TEN_PER_CENT, most=most, seed=0)


def test_more_trials_than_asked_for_are_concluded_from_as_they_are() -> None:
    """Nothing is thrown away, and nothing is run."""
    earlier = [counting({3})(0, replication) for replication in range(100)]
    known = odds(counting(set()), precision=TEN_PER_CENT, most=50, seed=0, earlier=earlier)

    assert (100, 1) == (known.runs, known.hits)


# -- the time that the window is open ---------------------------------------------------------


@dataclass
class Race:
    """A window that opens again and again, until somebody has hit it."""

    open: bool = False
    hit: bool = False
    ended: bool = False
    arrivals: int = 0


def open_and_close(race: Race) -> Activity:
    """A window of 20 us after each 980 us, thirty times."""
    for _ in range(30):
        yield Spend("closed")
        yield STEP
        race.open = not race.hit
        yield Note("open")
        yield Spend("open")
        yield STEP
        race.open = False
        yield Note("closed")
        if race.hit:
            return
    race.ended = True
    yield Note("end")


def arrive(race: Race, *, careful: bool) -> Activity:
    """Look in every 750 us; a careful one looks whether the window is open and then does not."""
    while True:
        yield Spend("between_arrivals")
        yield STEP
        if race.ended:
            return
        race.arrivals += 1
        if race.open and not careful:
            race.hit = True
            yield Note("end")
            return


def poisson(*, careful: bool = False) -> Callable[[int, int], Trial]:
    """Trials of that race, which end with the first hit: also the window that was open then."""
    means = {"open": 20_000.0, "closed": 980_000.0, "between_arrivals": 750_000.0}
    prices = {cost: Price(Exponential(mean)) for cost, mean in means.items()}

    def trial(seed: int, replication: int) -> Trial:
        race, notes = Race(), Notes()
        simulation = Simulation(prices, Streams(seed, replication), probe=notes)
        simulation.start(open_and_close(race))
        simulation.start(arrive(race, careful=careful))
        simulation.run()
        (end,) = notes.times("end")
        windows = zip(notes.times("open"), notes.times("closed"), strict=True)
        lengths = [min(closed, end) - opened for opened, closed in windows if opened < end]
        return Trial(race.hit, race.arrivals, end, window_ns=tuple(lengths))

    return trial


def test_time_average_is_precise_after_fewer_runs() -> None:
    """The window is open for 0.02 of the time; an arrival in 750 us makes 96,000 hits an hour."""
    by_time = odds(poisson(), precision=TEN_PER_CENT, most=10_000, seed=10, conditions=POISSON)
    plain = odds(poisson(), precision=TEN_PER_CENT, most=10_000, seed=10)
    average = by_time.time_average

    assert average is not None
    assert average.agrees
    assert (True, True) == (by_time.precise, plain.precise)
    assert by_time.runs < plain.runs / 5
    assert tells(by_time.best, 0.02)
    assert tells(plain.best, 0.02)
    assert tells(average.per_time, 96_000)
    assert tells(plain.per_hour, 96_000)
    assert "; by the time that the window is open, p = 0.0" in by_time.sentence


def test_time_average_that_plain_sampling_contradicts_is_not_believed() -> None:
    """A mapper that looks first is not independent of the window, whatever its model says."""
    known = odds(
        poisson(careful=True), precision=TEN_PER_CENT, most=300, seed=11, conditions=POISSON
    )

    assert known.time_average is not None
    assert not known.time_average.agrees
    assert known.per_opportunity == known.best
    assert (0, False, 300) == (known.hits, known.precise, known.runs)
    assert known.sentence.startswith("not seen in 300 runs, p < 0.01 at 95 %; by the time that")
    assert known.sentence.endswith("not independent of it, and plain sampling counts")


@pytest.mark.parametrize(
    "conditions", [None, Conditions(poisson_arrivals=False, independent_of_state=True)]
)
def test_race_that_does_not_meet_the_conditions_has_no_time_average(
    conditions: Conditions | None,
) -> None:
    """It is sampled plainly."""
    known = odds(
        poisson(), precision=Precision(relative=0.5), most=500, seed=0, conditions=conditions
    )

    assert known.time_average is None
    assert known.record()["time_average"] is None


def test_window_that_never_opened_has_no_time_average() -> None:
    """Its share of the time is not known at all."""
    known = odds(counting(set()), precision=TEN_PER_CENT, most=80, seed=0, conditions=POISSON)

    assert known.time_average is None
    assert known.windows is None


def test_record_is_plain_json() -> None:
    """With everything that was asked for, and the estimates as mean, low and high."""
    known = odds(poisson(), precision=TEN_PER_CENT, most=100, seed=1, conditions=POISSON)
    record = json.loads(json.dumps(known.record(), allow_nan=False))

    assert known.record() == record
    assert {"mean", "low", "high"} == set(record["per_hour"])
    assert {"count", "mean_ns", "p10_ns", "p50_ns", "p90_ns", "p99_ns", "max_ns"} == set(
        record["window"]
    )
    assert record["time_average"]["agrees"]
    assert known.sentence == record["sentence"]


# -- what is asked for ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "precision"),
    [
        ("10%", Precision(relative=0.1)),
        ("2.5 %", Precision(relative=0.025)),
        ("0.001", Precision(absolute=0.001)),
        ("1e-5", Precision(absolute=1e-5)),
    ],
)
def test_precision_is_read_as_it_is_written(text: str, precision: Precision) -> None:
    """In per cent it is relative."""
    assert precision == parse_precision(text)


@pytest.mark.parametrize("text", ["", "0%", "0", "-1%", "ten", "10", "120%", "%", "1e5", "nan"])
def test_what_is_no_precision_is_refused(text: str) -> None:
    """With what would be right."""
    with pytest.raises(ValueError, match='is not a precision; write "10%"'):
        parse_precision(text)
