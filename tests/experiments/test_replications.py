"""Comparisons over several replications: summaries and paired differences."""

import json

import pytest
from msgspec.structs import replace

from experiments.cli import main
from experiments.odds.replications import replicate
from experiments.record.record import Interval, Record, Replications
from tests.experiments.records import made_up_record

TIMES = {"base": [100, 110, 90, 100], "other": [103, 113, 92, 104], "fails": [50, 50, 50, 50]}


def made_up(strategy: str, replication: int) -> Record:
    """A run that took so long."""
    total = TIMES[strategy][replication]
    record = made_up_record(
        strategy, "crash" if strategy == "fails" else "ok", replication=replication
    )
    traps = 7 if strategy == "base" else replication
    assert record.time_ns is not None
    return replace(
        record,
        counts=replace(record.counts, traps=traps),
        time_ns=replace(record.time_ns, total=total, guest=1),
    )


def summary(record: Record) -> Replications:
    """What the replications came to."""
    assert record.replications is not None
    return record.replications


def test_records_are_the_first_of_each_with_a_summary() -> None:
    """Parts of the time have estimates of their own."""
    base, other = replicate(made_up, ["base", "other"], 4, "base")

    assert [("base", 0), ("other", 0)] == [
        (record.strategy, record.replication) for record in (base, other)
    ]
    assert 100.0 == summary(base).time_ns.total.mean
    assert Interval(1.0, 1.0, 1.0) == summary(base).time_ns.guest


def test_difference_is_taken_pair_by_pair() -> None:
    """Each replication against the same one of the baseline: 3, 3, 2, 4."""
    base, other = replicate(made_up, ["base", "other"], 4, "base")
    difference = summary(other).difference_ns
    total = summary(other).time_ns.total

    assert difference is not None
    assert 3.0 == difference.mean
    assert difference.high - difference.low < (total.high - total.low) / 4
    assert Interval(0.0, 0.0, 0.0) == summary(base).difference_ns


def test_boot_that_fails_has_no_difference() -> None:
    """It did not get to the end."""
    _, fails = replicate(made_up, ["base", "fails"], 4, "base")

    assert summary(fails).difference_ns is None


def test_counts_that_vary_are_told() -> None:
    """They are exact only where chance does not touch them."""
    base, other = replicate(made_up, ["base", "other"], 4, "base")

    assert (True, False) == (
        summary(base).counts_same,
        summary(other).counts_same,
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
