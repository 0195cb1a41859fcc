"""Comparisons over several replications: summaries and paired differences."""

import json
from typing import Any

import pytest

from experiments.cli import main
from experiments.odds.replications import replicate

TIMES = {"base": [100, 110, 90, 100], "other": [103, 113, 92, 104], "fails": [50, 50, 50, 50]}


def made_up(strategy: str, replication: int) -> dict[str, Any]:
    """A run that took so long."""
    total = TIMES[strategy][replication]
    return {
        "strategy": strategy,
        "replication": replication,
        "outcome": "crash" if strategy == "fails" else "ok",
        "counts": {"traps": 7 if strategy == "base" else replication},
        "time_ns": {"total": total, "guest": 1},
    }


def test_records_are_the_first_of_each_with_a_summary() -> None:
    """Parts of the time have estimates of their own."""
    base, other = replicate(made_up, ["base", "other"], 4, "base")

    assert [("base", 0), ("other", 0)] == [
        (record["strategy"], record["replication"]) for record in (base, other)
    ]
    assert 100.0 == base["replications"]["time_ns"]["total"]["mean"]
    assert {"mean": 1.0, "low": 1.0, "high": 1.0} == base["replications"]["time_ns"]["guest"]


def test_difference_is_taken_pair_by_pair() -> None:
    """Each replication against the same one of the baseline: 3, 3, 2, 4."""
    base, other = replicate(made_up, ["base", "other"], 4, "base")
    difference = other["replications"]["difference_ns"]
    total = other["replications"]["time_ns"]["total"]

    assert 3.0 == difference["mean"]
    assert difference["high"] - difference["low"] < (total["high"] - total["low"]) / 4
    assert {"mean": 0.0, "low": 0.0, "high": 0.0} == base["replications"]["difference_ns"]


def test_boot_that_fails_has_no_difference() -> None:
    """It did not get to the end."""
    _, fails = replicate(made_up, ["base", "fails"], 4, "base")

    assert fails["replications"]["difference_ns"] is None


def test_counts_that_vary_are_told() -> None:
    """They are exact only where chance does not touch them."""
    base, other = replicate(made_up, ["base", "other"], 4, "base")

    assert (True, False) == (
        base["replications"]["counts_same"],
        other["replications"]["counts_same"],
    )


def test_comparison_with_replications(capsys: pytest.CaptureFixture[str]) -> None:
    """The same counts each time, and times that do not hide a difference of 0.1 %."""
    arguments = ["compare", "guest-512M", "--replications", "3", "--quiet", "--json"]
    assert 0 == main([*arguments, "--strategies", "tables-low,reserve-hook"])
    low, reserve = json.loads(capsys.readouterr().out)["rows"]

    assert "reserve-hook" == low["replications"]["baseline"]
    assert low["replications"]["counts_same"]
    assert reserve["replications"]["counts_same"]
    difference = low["replications"]["difference_ns"]
    assert difference["high"] - difference["low"] < low["time_ns"]["total"] / 100


def test_table_tells_the_baseline(capsys: pytest.CaptureFixture[str]) -> None:
    """Below the figures."""
    arguments = ["compare", "guest-512M", "--replications", "2", "--quiet"]
    main([*arguments, "--strategies", "tables-low,reserve-hook", "--baseline", "tables-low"])
    shown = " ".join(capsys.readouterr().out.split())

    assert "Means of 2 boots with 95 % intervals; the baseline is tables-low" in shown
    assert "mean of 2 (ms)" in shown


def test_baseline_must_be_compared(capsys: pytest.CaptureFixture[str]) -> None:
    """One line and status 2."""
    assert 2 == main(["compare", "--strategies", "tables-low", "--baseline", "reserve-hook"])
    assert (
        "pinlab: compare: baseline 'reserve-hook' is none of tables-low\n"
        == capsys.readouterr().err
    )
