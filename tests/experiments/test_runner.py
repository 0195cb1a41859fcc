"""Whole runs: what may change a record, and that its parts and the timing log agree."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from experiments.record.events import Row, TimingLog
from experiments.scenario.scenario import load, shipped
from models.strategies.catalogue import strategy_names
from tests.boots import Record, record_of, run
from tests.experiments.records import MADE

# 64 GiB are booted by the tests of published counts, and what recombines a strategy by those of
# wrong orders.
SCENARIOS = [
    scenario.name
    for scenario in shipped()
    if scenario.name != "guest-64G"
    and not load(scenario.name).strategy
    and load(scenario.name).workload.kind == "boot"
]

# It takes a fault a leaf, each simulated: golden counts boot it in every test run, these on demand.
STRATEGIES = [
    pytest.param(name, marks=pytest.mark.long if name == "ptwr-fill" else ())
    for name in strategy_names()
]

# A boot of each kind: both shapes of the walk, 1:1 pages, a crash in Xen and one in the kernel.
KINDS = [
    ("guest-512M", "reserve-hook"),
    ("dom0-256M-6.1", "mapped-only-6.1"),
    ("dom0-2011", "tables-high"),
    ("domU-7.5GiB-2011", "ro-window"),
]
# All of these boots is measured: nothing happens between the direct map and its epilogue.
MEASURED = [
    pytest.param(
        *("guest-512M", *strategy.values, "guest.early_mapping_after=false"), marks=strategy.marks
    )
    for strategy in STRATEGIES
]


def in_bytes(record: Record) -> str:
    """The record as it would be written, key by key in its order."""
    return json.dumps(record)


def without_times(value: object) -> Any:  # noqa: ANN401 - as much of the record as is left
    """What is left of a record, or of a part of it, without all that tells of time or seed."""
    if not isinstance(value, dict):
        return value
    timed = {"time_ns", "time_by_cost_ns", "open_ns_total", "open_ns_max"}
    changed = timed | {"seed", "replication", "explanation"}
    return {key: without_times(part) for key, part in value.items() if key not in changed}


# -- what may change a record ---------------------------------------------------------------------


@pytest.mark.parametrize(("scenario", "strategy"), KINDS)
def test_same_seed_gives_the_same_bytes(scenario: str, strategy: str) -> None:
    """Nothing from outside gets into a record, nor anything of a run made before."""
    again = run(load(scenario), strategy, seed=0)

    assert in_bytes(record_of(scenario, strategy)) == in_bytes(again)


@pytest.mark.parametrize("changed", [{"seed": 1}, {"replication": 1}])
@pytest.mark.parametrize(("scenario", "strategy"), KINDS)
def test_other_seed_gives_other_times_and_the_same_counts(
    scenario: str, strategy: str, changed: dict[str, int]
) -> None:
    """With one vCPU, chance decides how long things take and nothing else."""
    first = record_of(scenario, strategy)
    other = run(load(scenario), strategy, **changed)

    assert first["time_ns"]["total"] != other["time_ns"]["total"]
    assert without_times(first) == without_times(other)


@pytest.mark.parametrize(
    ("scenario", "strategy"),
    [
        *KINDS,
        *(pytest.param("guest-512M", *name.values, marks=name.marks) for name in STRATEGIES),
    ],
)
def test_an_event_for_each_hypercall_changes_nothing(scenario: str, strategy: str) -> None:
    """Running ahead of the clock saves events; the record is the same to the byte."""
    every_event = run(load(scenario), strategy, every_event=True)

    assert in_bytes(record_of(scenario, strategy)) == in_bytes(every_event)


@pytest.mark.parametrize(("scenario", "strategy"), KINDS)
def test_log_changes_nothing(scenario: str, strategy: str) -> None:
    """Whoever looks on takes no part."""
    logged = run(load(scenario), strategy, log=TimingLog())

    assert in_bytes(record_of(scenario, strategy)) == in_bytes(logged)


# -- what holds of every record -------------------------------------------------------------------


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_run_comes_out_as_known_with_all_counts_of_xen_correct(
    scenario: str, strategy: str
) -> None:
    """After each boot, every type and reference count is the number of uses.

    The two guests of 2011 crash as they did; and a table that maps itself or its like, since
    nobody looked when its leaves were written, is refused on any guest.
    """
    crashes = {
        ("dom0-2011", "tables-high"),
        ("dom0-2011", "deferred-ro-early"),
        ("domU-7.5GiB-2011", "tables-high"),
        ("domU-7.5GiB-2011", "deferred-ro-early"),
        ("domU-7.5GiB-2011", "ro-window"),
    }
    too_late = strategy in ("alloc-only", "deferred-ro", "hook-walk-literal")

    expected = "crash" if too_late or (scenario, strategy) in crashes else "ok"
    assert expected == record_of(scenario, strategy)["outcome"]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_all_time_of_a_boot_is_spent_on_a_cost_with_a_name(scenario: str, strategy: str) -> None:
    """One vCPU is never idle and never waits."""
    record = record_of(scenario, strategy)

    assert 0 < record["time_ns"]["total"] == sum(record["time_by_cost_ns"].values())


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_hypercalls_add_up(scenario: str, strategy: str) -> None:
    """Each is a trap of its own or an entry of a multicall."""
    counts = record_of(scenario, strategy)["counts"]

    calls = ("update_va_mapping", "mmuext_op", "mmu_update", "multicall")
    assert counts["traps"] == sum(counts[call] for call in calls) - counts["multicall_entries"]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_reserve_hook_opens_no_hazard_window(scenario: str) -> None:
    """A page that is set aside for tables is mapped read-only from the start."""
    hazard = record_of(scenario, "reserve-hook")["hazard"]

    expected = {"windows": 0, "unreachable": 0, "open_ns_total": 0, "open_ns_max": 0}
    assert expected == hazard


@pytest.mark.parametrize("strategy", ["mapped-only-3.10", "mapped-only-6.1"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_mapped_only_opens_a_hazard_window_for_each_table(scenario: str, strategy: str) -> None:
    """Its page was mapped writable when it was taken; each window closes before the end."""
    record = record_of(scenario, strategy)

    hazard = record["hazard"]
    assert (record["pages"]["tables"], 0) == (hazard["windows"], hazard["unreachable"])
    assert 0 < hazard["open_ns_max"] <= hazard["open_ns_total"]
    assert hazard["open_ns_max"] < record["time_ns"]["total"]


# -- the timing log -------------------------------------------------------------------------------


def logged_run(scenario: str, strategy: str, *settings: str) -> tuple[Record, list[Row]]:
    """A record, and the rows of its log."""
    log = TimingLog()
    record = run(load(scenario, settings), strategy, log=log)
    return record, list(log.rows())


@pytest.mark.parametrize(("scenario", "strategy", "setting"), MEASURED)
def test_log_has_a_row_for_each_trap_and_emulated_store(
    scenario: str, strategy: str, setting: str
) -> None:
    """Whatever is in a multicall, it is one row. A fault of other ways of paging is one, too."""
    record, rows = logged_run(scenario, strategy, setting)

    kinds = [row.kind for row in rows]
    counters = record["xen_counters"]
    faults = {
        "ptwr": record["counts"]["ptwr"],
        "shadow": counters.get("shadow", {}).get("write_faults", 0),
        "ept": counters.get("nested", {}).get("ept_violations", 0),
    }
    expected = {**counters.get("hypercalls_direct", {}), **faults}
    assert {kind: n for kind, n in expected.items() if n} == {
        kind: kinds.count(kind) for kind in set(kinds)
    }
    assert len(rows) == record["counts"]["traps"] + sum(faults.values())


@pytest.mark.parametrize(("scenario", "strategy", "setting"), MEASURED)
def test_log_accounts_for_all_time_in_the_hypervisor(
    scenario: str, strategy: str, setting: str
) -> None:
    """What Xen does it does during a hypercall or an emulated store, TLB work included.

    A guest with tables of its own flushes its TLB itself.
    """
    record, rows = logged_run(scenario, strategy, setting)

    time_ns = record["time_ns"]
    tlb_ns = 0 if strategy == "auto-translated" else time_ns["tlb"]
    assert time_ns["hypervisor"] + tlb_ns == sum(row.duration_ns for row in rows)


@pytest.mark.parametrize(("scenario", "strategy", "setting"), MEASURED)
def test_rows_of_the_log_follow_each_other(scenario: str, strategy: str, setting: str) -> None:
    """Each lasts, none begins before the last one has ended, and all lie within the run."""
    record, rows = logged_run(scenario, strategy, setting)

    assert all(row.duration_ns > 0 for row in rows)
    ends = [row.start_ns + row.duration_ns for row in rows]
    assert all(end <= later.start_ns for end, later in zip(ends, rows[1:], strict=False))
    assert all(0 <= row.start_ns for row in rows)
    assert all(end <= record["time_ns"]["total"] for end in ends)


def test_last_row_of_a_crash_is_the_call_that_was_refused() -> None:
    """The pin of mfn b1d89 gave EINVAL; all before it succeeded."""
    _, rows = logged_run("dom0-2011", "tables-high")

    expected = ("mmuext_op", "PIN_L1_TABLE", "0xb1d89", -22)
    last = rows[-1]
    assert expected == (last.kind, last.op, last.target, last.result)
    assert {0} == {row.result for row in rows[:-1]}


def test_both_formats_of_the_log_hold_the_same_data(tmp_path: Path) -> None:
    """JSON lines write target and value in hexadecimal, Parquet as integers."""
    log = TimingLog()
    run(load("dom0-256M-6.1"), "mapped-only-6.1", log=log)
    log.write(tmp_path / "calls.jsonl", MADE)
    log.write(tmp_path / "calls.parquet", MADE)

    lines = [json.loads(line) for line in (tmp_path / "calls.jsonl").read_text().splitlines()]
    rows = pl.read_parquet(tmp_path / "calls.parquet").to_dicts()
    for row in rows:
        for key in ("target", "value"):
            row[key] = None if row[key] is None else hex(row[key])
    assert len(log) == len(lines)
    assert lines == rows


def test_times_of_the_log_are_those_of_the_record() -> None:
    """A later seed shifts both."""
    _, rows = logged_run("guest-512M", "reserve-hook")
    log = TimingLog()
    run(load("guest-512M"), "reserve-hook", seed=1, log=log)

    assert all(a.kind == b.kind for a, b in zip(rows, log.rows(), strict=True))
    assert [row.start_ns for row in rows] != [row.start_ns for row in log.rows()]
    assert all(a.start_ns < b.start_ns for a, b in pairwise(log.rows()))
