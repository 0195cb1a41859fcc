"""`pinlab sweep` as a user runs it: exit statuses, what goes where, and going on after a kill."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import experiments
from experiments.cells import load_sweep, run_sweep
from experiments.cells.results import files
from experiments.cli import main
from tests.experiments.sweep.small import FAULTY, toml

COMMAND = [
    sys.executable,
    "-c",
    "import sys; from experiments.cli import main; sys.exit(main())",
    "sweep",
]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(experiments.__file__).parents[1])}
FOUR = 'guest.ram = ["96MiB", "128MiB"]\nstrategies = ["reserve-hook", "tables-high"]'
LONG = f"{FOUR}\nreplications = 32"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command runs, with sweeps of 4 and of 128 cells."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "four.toml").write_text(toml(FOUR))
    (tmp_path / "long.toml").write_text(toml(LONG))
    return tmp_path


def document(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What was written to stdout, which is one JSON document."""
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """When each file was last written, and what it holds."""
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}


def test_dry_run_tells_what_would_be_done_and_writes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither on stderr nor in the folder."""
    before = set(folder.iterdir())

    assert 0 == main(["sweep", "four.toml", "--dry-run"])
    written = capsys.readouterr()
    assert "small: 4 cells, seed 0" in written.out
    assert '"reserve-hook", "tables-high"' in written.out
    assert "0 from the ledger, 4 to compute" in written.out
    assert "" == written.err
    assert before == set(folder.iterdir())


def test_dry_run_counts_what_the_ledger_has(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As plain data too."""
    run_sweep(load_sweep(folder / "four.toml"), folder / "four.sweep")
    before = contents(folder / "four.sweep")

    assert 0 == main(["sweep", "four.toml", "--dry-run", "--json"])
    found = document(capsys)
    assert (4, 4, 0) == (found["cells"], found["reused"], found["to_compute"])
    assert before == contents(folder / "four.sweep")


def test_document_has_every_record_with_its_settings(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The schema pinlab.sweep/1; the results lie in a folder named after the file."""
    assert 0 == main(["sweep", "four.toml", "--json", "--quiet", "--seed", "3"])
    found = document(capsys)

    assert {
        "schema": "pinlab.sweep/1",
        "cells": 4,
        "computed": 4,
        "reused": 0,
        "failed": 0,
        "results": "four.sweep/results.parquet",
    }.items() <= found.items()
    assert [("pinlab.run/1", 3, "tables-high")] == [
        (row["schema"], row["seed"], row["strategy"])
        for row in found["rows"]
        if row["settings"] == {"guest.ram": "128MiB", "guest.strategy": "tables-high"}
    ]
    assert (folder / found["results"]).is_file()


def test_table_has_a_line_a_cell(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And logs go to stderr, one record a cell."""
    assert 0 == main(["sweep", "four.toml", "--out", "here"])
    written = capsys.readouterr()

    assert "4  128MiB  tables-high   ok" in written.out
    assert "4 cells: 0 from the ledger, 4 computed, 0 failed" in written.out
    assert "results: here/results.parquet" in written.out
    events = [json.loads(line)["event"] for line in written.err.splitlines()]
    assert ["sweep started", *["cell finished"] * 4, "sweep finished"] == events


def test_many_cells_are_summed_up(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A hundred and twenty-eight lines say less than two."""
    assert 0 == main(["sweep", "long.toml", "--quiet"])

    assert ["reserve-hook", "ok", "64"] in [
        line.split() for line in capsys.readouterr().out.splitlines()
    ]


def test_failed_cell_is_named_and_the_status_is_1(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Even under --quiet; the others are done."""
    (folder / "faulty.py").write_text(FAULTY)
    (folder / "faulty.toml").write_text(toml('strategies = ["faulty.py:raising", "ro-window"]'))

    assert 1 == main(["sweep", "faulty.toml", "--quiet", "--json"])
    written = capsys.readouterr()
    assert (
        'pinlab: cell 1 (guest.strategy = "faulty.py:raising", replication 0) could not be '
        "computed: ValueError: no room anywhere\n"
    ) == written.err
    found = json.loads(written.out)
    assert (1, 1, 1) == (found["computed"], found["failed"], len(found["rows"]))
    assert ["ValueError: no room anywhere"] == [cell["error"] for cell in found["failures"]]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["missing.toml"], "cannot read sweep missing.toml: No such file or directory"),
        (["bad.toml"], 'bad.toml: cell 2 (guest.ram = "1"): guest.ram = "1" has no unit'),
        (["four.toml", "--jobs", "0"], "--jobs"),
        (["four.toml", "--jobs", "2", "--dask", "tcp://x:1"], "give one"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing_behind(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
) -> None:
    """Status 2, before anything has run."""
    (folder / "bad.toml").write_text(toml('guest.ram = ["96MiB", "1"]'))
    before = set(folder.iterdir())

    assert 2 == main(["sweep", *arguments])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("pinlab: ")
    assert complaint in line
    assert before == set(folder.iterdir())


def test_shipped_sweeps_can_be_run() -> None:
    """Each is planned; they are too long for more."""
    names = [path.stem for path in (Path(experiments.__file__).parent / "sweeps").glob("*.toml")]

    assert {"guest-sizes": 25, "latencies": 96} == {
        name: len(load_sweep(name).cells) for name in names
    }


def started(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """The command on the long sweep, once its ledger has some rows."""
    process = subprocess.Popen(
        [*COMMAND, "long.toml", *arguments],
        cwd=folder,
        env=ENVIRONMENT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    while process.poll() is None and rows(folder) < 5:
        time.sleep(0.02)
    return process


def rows(folder: Path) -> int:
    """Of the ledger; none before there is one."""
    path = folder / "long.sweep" / "ledger.sqlite"
    if not path.exists():
        return 0
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    try:
        found: int = connection.execute("SELECT count(*) FROM cells").fetchone()[0]
    except sqlite3.OperationalError:
        found = 0
    finally:
        connection.close()
    return found


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_killed_sweep_goes_on_where_it_was(folder: Path, jobs: str) -> None:
    """Killed in the middle, the same command computes the rest, and the bytes are the same."""
    with started(folder, "--quiet", "--jobs", jobs) as process:
        process.kill()
        process.communicate()
    kept = rows(folder)

    again = subprocess.run(
        [*COMMAND, "long.toml", "--quiet", "--json"],
        cwd=folder,
        env=ENVIRONMENT,
        text=True,
        capture_output=True,
        check=True,
    )
    found = json.loads(again.stdout)
    assert 5 <= kept < 128
    assert (kept, 128 - kept, 0) == (found["reused"], found["computed"], found["failed"])
    assert set(files(folder / "long.sweep")) == set((folder / "long.sweep").iterdir())

    run_sweep(load_sweep("long.toml"), folder / "whole")
    assert (
        files(folder / "whole").results.read_bytes()
        == files(folder / "long.sweep").results.read_bytes()
    )


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_interrupt_keeps_the_ledger(folder: Path, jobs: str) -> None:
    """Ctrl-C is no crash: status 130, one line, and no half of a table."""
    (folder / "long.toml").write_text(toml(f"{FOUR}\nreplications = 1000"))
    with started(folder, "--quiet", "--jobs", jobs) as process:
        process.send_signal(signal.SIGINT)
        output, complaint = process.communicate()

    assert (130, "", "pinlab: interrupted\n") == (process.returncode, output, complaint)
    assert 5 <= rows(folder) < 4000
    assert {"ledger.sqlite", "manifest.json"} == {
        path.name
        for path in (folder / "long.sweep").iterdir()
        if not path.name.startswith("ledger.sqlite-")
    }


WRITTEN_BEFORE = Path(__file__).parent / "data" / "version-1"
"""A sweep of two boots, swept by the code whose draws were numpy's own."""


@pytest.mark.parametrize("how", ["--dry-run", "--quiet"])
def test_ledger_of_other_code_is_named_and_its_cells_are_computed_anew(
    how: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line on stderr; the old records stay in the ledger, and none is taken for a new one."""
    shutil.copytree(WRITTEN_BEFORE, tmp_path, dirs_exist_ok=True)
    dry = how == "--dry-run"

    assert 0 == main(
        ["sweep", str(tmp_path / "two-boots.toml"), "--out", str(tmp_path), "--json", how]
    )

    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert (2, 0) == (found["to_compute" if dry else "computed"], found["reused"])
    [line] = [line for line in captured.err.splitlines() if line.startswith("pinlab:")]
    assert "the ledger was filled by other code (52d641a1f14158a0, this is " in line
    assert "each cell is computed anew" in line
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as ledger:
        assert (2 if dry else 4,) == ledger.execute("SELECT count(*) FROM cells").fetchone()


def test_ledger_of_this_code_is_not_spoken_of(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever goes on with a sweep is told nothing."""
    run_sweep(load_sweep("four.toml"), folder / "four.sweep")

    assert 0 == main(["sweep", "four.toml", "--dry-run"])

    assert "other code" not in capsys.readouterr().err
