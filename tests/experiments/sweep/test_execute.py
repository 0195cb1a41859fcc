"""Carrying out a sweep in one process: what is computed, what is kept, what the results hold."""

import json
from pathlib import Path

import polars as pl
import pytest

from experiments.cells import carry_out, load_sweep, run_sweep
from experiments.cells.folder import owned_folder
from experiments.cells.results import files
from experiments.errors import InputError
from experiments.scenario.scenario import Scenario
from experiments.subjects import kinds
from tests.boots import run
from tests.experiments.sweep.small import FAULTY, FOUR, document


def test_row_is_the_record_of_a_run(tmp_path: Path) -> None:
    """With its settings in bytes and ns before it, and dotted names."""
    sweep = load_sweep(document(**FOUR, **{"machine.latency.hypercall_null": ["0.2us"]}), seed=5)
    frame = run_sweep(sweep, tmp_path / "out")
    record = run(sweep.cells[2].scenario, "reserve-hook", seed=5)

    row = frame.row(2, named=True)
    assert (3, None, 128 << 20, "reserve-hook", 200.0) == tuple(row.values())[:5]
    for group in ("time_ns", "counts", "pages", "hazard"):
        assert {key: value for key, value in record[group].items() if key != "by_vcpu"} == {
            name.partition(".")[2]: value
            for name, value in row.items()
            if name.startswith(f"{group}.")
        }
    for key in ("scenario", "scenario_hash", "strategy", "xen", "profile", "seed", "outcome"):
        assert record[key] == row[key]


def test_results_are_in_the_folder(tmp_path: Path) -> None:
    """The table as Parquet, and a manifest that tells what was swept."""
    sweep = load_sweep(document(**FOUR))
    frame = run_sweep(sweep, tmp_path / "new" / "out")

    where = files(tmp_path / "new" / "out")
    assert frame.equals(pl.read_parquet(where.results))
    manifest = json.loads(where.manifest.read_text())
    assert (sweep.text, sweep.code, 4) == (manifest["text"], manifest["code"], manifest["cells"])
    assert set(where) == set((tmp_path / "new" / "out").iterdir())


def test_nothing_is_computed_twice(tmp_path: Path) -> None:
    """The second time all cells come from the ledger, and the bytes are the same."""
    sweep = load_sweep(document(**FOUR))
    first = carry_out(sweep, tmp_path)
    results = files(tmp_path).results.read_bytes()
    second = carry_out(sweep, tmp_path)

    assert (4, 0) == (first.computed, first.reused)
    assert (0, 4) == (second.computed, second.reused)
    assert results == files(tmp_path).results.read_bytes()


def test_longer_list_costs_only_what_is_new(tmp_path: Path) -> None:
    """Cells are found by what they are, not by their number or the sweep's name."""
    carry_out(load_sweep(document(**FOUR)), tmp_path)
    longer = document(**FOUR | {"guest.ram": ["112MiB", "96MiB", "128MiB"]}) | {"name": "longer"}
    swept = carry_out(load_sweep(longer), tmp_path)

    assert (2, 4) == (swept.computed, swept.reused)
    assert {"longer"} == set(swept.frame["scenario"])


def test_edited_code_computes_all_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record is worth what the model was that made it."""
    carry_out(load_sweep(document(**FOUR)), tmp_path)
    for module in ("plan", "cell"):
        monkeypatch.setattr(f"experiments.cells.{module}.code_version", lambda: "edited")
    swept = carry_out(load_sweep(document(**FOUR)), tmp_path)

    assert (4, 0) == (swept.computed, swept.reused)


def test_worker_with_other_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its records would stand under a key that is not theirs."""
    sweep = load_sweep(document(strategies=["ro-window"]))
    monkeypatch.setattr("experiments.cells.cell.code_version", lambda: "older")
    (failed,) = carry_out(sweep, tmp_path).failed

    assert failed.error.startswith("RuntimeError: this worker has another version of PinLab's code")


def test_cell_that_fails_is_recorded_and_the_others_go_on(tmp_path: Path) -> None:
    """Its row has the reason, and no figures; the table's columns are the same."""
    (tmp_path / "faulty.py").write_text(FAULTY)
    faulty = f"{tmp_path / 'faulty.py'}:raising"
    swept = carry_out(
        load_sweep(document(strategies=["ro-window", faulty, "tables-low"])), tmp_path / "out"
    )

    assert ["ok", None, "ok"] == swept.frame["outcome"].to_list()
    assert [None, "ValueError: no room anywhere", None] == swept.frame["error"].to_list()
    assert (2, 0, [2]) == (
        swept.computed,
        swept.reused,
        [row.cell.number for row in swept.failed],
    )


def test_cell_that_failed_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the next call it may succeed."""
    sweep = load_sweep(document(**FOUR))

    def broken(*_: object, **__: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("experiments.cells.cell.run", broken)
        assert ["MemoryError"] * 4 == [row.error for row in carry_out(sweep, tmp_path).failed]
    swept = carry_out(sweep, tmp_path)

    assert (4, 0, []) == (swept.computed, swept.reused, list(swept.failed))
    assert 4 == swept.frame["error"].null_count()


def test_columns_do_not_depend_on_outcomes(tmp_path: Path) -> None:
    """Where nothing crashes, the columns of failures are there and empty."""
    plain = run_sweep(load_sweep(document(strategies=["ro-window"])), tmp_path / "plain")
    crashing = run_sweep(load_sweep(document(strategies=["alloc-only"])), tmp_path / "crashing")

    fixed = plain.columns.index("hazard.open_ns_max") + 1
    assert ["ok", "crash"] == [*plain["outcome"], *crashing["outcome"]]
    assert dict(list(plain.schema.items())[:fixed]) == dict(list(crashing.schema.items())[:fixed])
    assert [[None], ["pin"]] == [frame["failure.kind"].to_list() for frame in (plain, crashing)]
    assert crashing["failure.console"][0][-1].endswith(crashing["failure.mfn"][0][2:])


def test_cells_that_are_the_same_machine_are_computed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However their settings are written; each has its row."""
    runs: list[str] = []
    real = kinds.run

    def counted(scenario: Scenario, *, seed: int, replication: int) -> object:
        runs.append(scenario.guest.strategy)
        return real(scenario, seed=seed, replication=replication)

    monkeypatch.setattr("experiments.cells.cell.run", counted)
    swept = carry_out(load_sweep(document(**{"guest.ram": ["96MiB", "0x6000000"]})), tmp_path)

    assert (1, 2, 2) == (len(runs), swept.computed, swept.frame.height)


def test_interrupted_sweep_keeps_what_it_has(tmp_path: Path) -> None:
    """Whatever ends it: here, an error of whoever watches the second cell."""
    sweep = load_sweep(document(**FOUR))
    seen: list[int] = []

    def watch(cell: object, computed: object) -> None:
        seen.append(1)
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carry_out(sweep, tmp_path, watch=watch)
    assert not files(tmp_path).results.exists()

    swept = carry_out(sweep, tmp_path)
    assert (2, 2) == (swept.computed, swept.reused)
    run_sweep(sweep, tmp_path / "whole")
    assert files(tmp_path / "whole").results.read_bytes() == files(tmp_path).results.read_bytes()


def test_two_sweeps_in_one_folder_are_refused(tmp_path: Path) -> None:
    """The second would compute the same cells again."""
    sweep = load_sweep(document(**FOUR))

    with owned_folder(tmp_path), pytest.raises(InputError, match="another sweep is at work in"):
        carry_out(sweep, tmp_path)
    assert [] == list(tmp_path.iterdir())


def test_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """It is a file."""
    (tmp_path / "out").write_text("")

    with pytest.raises(InputError, match=r"cannot use the folder .*out: File exists"):
        carry_out(load_sweep(document(**FOUR)), tmp_path / "out")
