"""The ledger: what was computed is there, whatever happens afterwards."""

import sqlite3
from pathlib import Path

import pytest

from experiments.cells.cell import Computed
from experiments.cells.ledger import Ledger
from experiments.errors import InputError

DONE = Computed(key="a", record=b'{"outcome": "ok"}', wall_s=0.1, worker="here:1")
FAILED = Computed(key="b", error="ValueError: no room", wall_s=0.2, worker="here:1")


def test_record_and_failure_are_kept(tmp_path: Path) -> None:
    """Only the record counts as done."""
    path = tmp_path / "ledger.sqlite"
    with Ledger(path) as ledger:
        ledger.write(DONE)
        ledger.write(FAILED)

    with Ledger(path) as ledger:
        assert {"a"} == ledger.done(["a", "b", "c"])
        assert b'{"outcome": "ok"}' == ledger.record("a")
        assert (None, "ValueError: no room") == (ledger.record("b"), ledger.error("b"))
        assert (None, "") == (ledger.record("c"), ledger.error("c"))


def test_failure_gives_way_to_a_record_and_no_record_to_anything(tmp_path: Path) -> None:
    """A cell is tried again until it succeeds; attempts are counted."""
    path = tmp_path / "ledger.sqlite"
    with Ledger(path) as ledger:
        for computed in (FAILED, FAILED, Computed(key="b", record=b"1"), FAILED):
            ledger.write(computed)
        assert (b"1", "") == (ledger.record("b"), ledger.error("b"))

    with sqlite3.connect(path) as connection:
        assert [(3,)] == connection.execute("SELECT attempts FROM cells").fetchall()
    connection.close()


def test_rows_are_safe_while_the_ledger_is_open(tmp_path: Path) -> None:
    """Another process sees each as soon as it is written: it is in the write-ahead log."""
    path = tmp_path / "ledger.sqlite"
    with Ledger(path) as ledger:
        ledger.write(DONE)
        with Ledger(path, read_only=True) as other:
            assert {"a"} == other.done(["a"])
        assert {"ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"} == {
            file.name for file in tmp_path.iterdir()
        }


def test_looking_leaves_nothing_behind(tmp_path: Path) -> None:
    """Neither where there is a ledger, nor where there is none."""
    path = tmp_path / "ledger.sqlite"
    with Ledger(path, read_only=True) as ledger:
        assert set() == ledger.done(["a"])
    assert [] == list(tmp_path.iterdir())

    with Ledger(path) as ledger:
        ledger.write(DONE)
    before = path.read_bytes()
    with Ledger(path, read_only=True) as ledger:
        assert {"a"} == ledger.done(["a"])
        assert [path] == list(tmp_path.iterdir())
    assert before == path.read_bytes()


def test_other_file_in_its_place_is_refused(tmp_path: Path) -> None:
    """And stays what it is."""
    path = tmp_path / "ledger.sqlite"
    path.write_text("these are my notes, and no database at all\n" * 40)

    with pytest.raises(InputError, match="file is not a database"):
        Ledger(path)
    assert path.read_text().startswith("these are my notes")


def test_ledger_of_a_later_pinlab_is_refused(tmp_path: Path) -> None:
    """Its rows may mean something else."""
    path = tmp_path / "ledger.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 9")
    connection.close()

    with pytest.raises(InputError, match="its version is 9, and this PinLab knows 1"):
        Ledger(path)
