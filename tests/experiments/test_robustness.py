"""Rankings over the ranges of a latency profile."""

import json

import pytest

from experiments.cli import main
from experiments.odds.robustness import rank
from experiments.scenario.scenario import load
from models.profiles.catalogue import Cost, load_profile
from models.profiles.prices import prices, unit_prices, units_by_parameter
from sim.distributions import Constant
from sim.timed import Price
from tests.boots import run


def _cost(low: float, high: float) -> Cost:
    return Cost(
        value_ns=low,
        low_ns=low,
        high_ns=high,
        distribution="constant",
        status="estimated",
        confidence=0.5,
        sources=(),
    )


@pytest.mark.parametrize("strategy", ["reserve-hook", "mapped-only-3.10"])
def test_time_of_a_boot_is_what_it_counts_times_the_means(strategy: str) -> None:
    """The whole point: a boot with some price list takes exactly what the counts say."""
    scenario = load("guest-512M")
    profile = load_profile(scenario.machine.profile)
    values = {name: 2.0 * number + 501 for number, name in enumerate(profile.costs)}
    values["hypercall_null"] = 31.0
    counted = run(scenario, strategy, prices=unit_prices(profile))
    counts = units_by_parameter(counted["time_by_cost_ns"])
    bodies = set(prices(profile)) - set(profile.costs)
    composites = {
        body: (set(units_by_parameter({body: 1})) - {"hypercall_null"}) for body in bodies
    }
    table = {name: Price(Constant(value)) for name, value in values.items()} | {
        body: Price(Constant(values[min(keys)] - values["hypercall_null"]))
        for body, keys in composites.items()
    }
    timed = run(scenario, strategy, prices=table)

    assert timed["counts"] == counted["counts"]
    assert timed["time_ns"]["total"] == sum(counts[name] * values[name] for name in counts)


def test_strategy_that_does_less_of_everything_always_wins() -> None:
    """No price list can change that."""
    costs = {"a": _cost(1, 10), "b": _cost(1, 10)}
    ranking = rank({"more": {"a": 3, "b": 2}, "less": {"a": 2, "b": 2}}, costs, costs)

    assert {"less": 1.0, "more": 0.0} == ranking["wins"]
    assert ranking["open"] is False
    assert ["a"] == [index["parameter"] for index in ranking["decides"]]


def test_even_match_is_open() -> None:
    """An a for a b, of the same range: each wins half, and each latency decides as much."""
    costs = {"a": _cost(1, 10), "b": _cost(1, 10), "c": _cost(1, 10)}
    ranking = rank({"x": {"a": 1, "c": 5}, "y": {"b": 1, "c": 5}}, costs, costs)

    assert ranking["open"] is True
    assert ranking["wins"]["x"] == pytest.approx(0.5, abs=0.02)
    assert {"a", "b"} == {index["parameter"] for index in ranking["decides"]}
    for index in ranking["decides"]:
        assert index["first_order"] == pytest.approx(0.5, abs=0.1)
        assert index["total_order"] == pytest.approx(0.5, abs=0.1)


def test_fixed_latency_is_not_varied() -> None:
    """A known value is no question."""
    costs = {"a": _cost(5, 10), "b": _cost(1, 10)}
    ranking = rank({"x": {"a": 1}, "y": {"b": 1}}, costs, {"b": costs["b"]})

    assert ["b"] == [index["parameter"] for index in ranking["decides"]]
    # b, uniform in its logarithm over a decade, is above 5 in log10(2) of all cases.
    assert ranking["wins"]["x"] == pytest.approx(0.301, abs=0.005)


def test_equals_share_the_wins() -> None:
    """And nothing decides between them."""
    costs = {"a": _cost(1, 10)}
    ranking = rank({"x": {"a": 1}, "y": {"a": 1}}, costs, costs)

    assert {"x": 0.5, "y": 0.5} == ranking["wins"]
    assert [] == ranking["decides"]


def test_nobody_boots() -> None:
    """Then nobody is the fastest."""
    assert {} == rank({}, {}, {})["wins"]


def test_robust_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    """A strategy that crashes does not compete."""
    arguments = ["compare", "dom0-2011", "--robust", "--quiet"]
    arguments += ["--strategies", "tables-high,reserve-hook,tables-low"]
    assert 0 == main([*arguments, "--json"])
    ranking = json.loads(capsys.readouterr().out)["robustness"]
    main(arguments)
    shown = " ".join(capsys.readouterr().out.split())

    assert {"reserve-hook", "tables-low"} == set(ranking["wins"])
    assert 1 == pytest.approx(sum(ranking["wins"].values()))
    assert f"Of {ranking['samples']:,} price lists" in shown


def test_comparison_is_silent_of_it_otherwise(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody asked."""
    main(["compare", "guest-512M", "--strategies", "reserve-hook", "--quiet", "--json"])

    assert "robustness" not in json.loads(capsys.readouterr().out)
