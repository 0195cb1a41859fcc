"""The timing log: what its files hold, and that no half of one is ever left behind."""

import json
from pathlib import Path

import msgspec
import polars as pl
import pytest

from experiments.errors import InputError
from experiments.record.events import METADATA, TimingLog, check_destination
from tests.experiments.records import MADE

COLUMNS = [
    "start_ns",
    "duration_ns",
    "vcpu",
    "kind",
    "op",
    "target",
    "value",
    "entries",
    "result",
]


@pytest.fixture
def log() -> TimingLog:
    """Three calls: one with target and value, one with a target alone, one that failed."""
    log = TimingLog()
    log.append(
        10, 330, 0, "update_va_mapping", "", 0xFFFF_8880_0FFF_F000, 0x8010_0000_2FF9_7065, 1, 0
    )
    log.append(340, 21_000, 0, "mmuext_op", "PIN_L1_TABLE", 0x2FF97, None, 1, 0)
    log.append(21_340, 700, 1, "mmuext_op", "PIN_L1_TABLE", 0xB1D89, None, 1, -22)
    return log


def test_json_lines_have_a_fixed_order_of_columns(log: TimingLog, tmp_path: Path) -> None:
    """Scripts that cut columns out of lines can rely on their order."""
    log.write(tmp_path / "calls.jsonl", MADE)

    first = (tmp_path / "calls.jsonl").read_text().splitlines()[0]
    assert COLUMNS == list(json.loads(first))


def test_json_lines_hold_a_row_each(log: TimingLog, tmp_path: Path) -> None:
    """Addresses are hexadecimal, what a call does not have is null."""
    log.write(tmp_path / "calls.jsonl", MADE)

    rows = [json.loads(line) for line in (tmp_path / "calls.jsonl").read_text().splitlines()]
    assert [
        ("0xffff88800ffff000", "0x801000002ff97065", 0),
        ("0x2ff97", None, 0),
        ("0xb1d89", None, -22),
    ] == [(row["target"], row["value"], row["result"]) for row in rows]


def test_parquet_holds_the_same_columns(log: TimingLog, tmp_path: Path) -> None:
    """The two formats differ in nothing but how they write addresses."""
    log.write(tmp_path / "calls.parquet", MADE)

    frame = pl.read_parquet(tmp_path / "calls.parquet")
    assert COLUMNS == frame.columns


def test_parquet_keeps_entries_with_the_top_bit(log: TimingLog, tmp_path: Path) -> None:
    """An entry with the no-execute bit needs all 64 bits."""
    log.write(tmp_path / "calls.parquet", MADE)

    frame = pl.read_parquet(tmp_path / "calls.parquet")
    assert [0x8010_0000_2FF9_7065, None, None] == frame["value"].to_list()


@pytest.mark.parametrize("name", ["calls.jsonl", "calls.parquet"])
def test_same_rows_make_the_same_bytes(log: TimingLog, tmp_path: Path, name: str) -> None:
    """Files of equal runs can be compared as they are."""
    (tmp_path / "again").mkdir()
    log.write(tmp_path / name, MADE)
    log.write(tmp_path / "again" / name, MADE)

    assert (tmp_path / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


@pytest.mark.parametrize("name", ["calls.jsonl", "calls.parquet"])
def test_log_without_rows_is_written(tmp_path: Path, name: str) -> None:
    """A run without a hypercall leaves an empty log, not none."""
    TimingLog().write(tmp_path / name, MADE)

    assert name in {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("name", ["calls.jsonl", "calls.parquet"])
def test_log_says_what_made_it(log: TimingLog, tmp_path: Path, name: str) -> None:
    """In the file, or beside one that has no place for it."""
    log.write(tmp_path / name, MADE)

    if name.endswith(".parquet"):
        told = pl.read_parquet_metadata(tmp_path / name)[METADATA]
        assert [name] == [path.name for path in tmp_path.iterdir()]
    else:
        told = (tmp_path / "calls.provenance.json").read_text()
    assert {"schema": "pinlab.log/1", "provenance": msgspec.to_builtins(MADE)} == json.loads(told)


def test_length_is_the_number_of_rows(log: TimingLog) -> None:
    """A run can tell how much it logged."""
    assert len(log) == 3


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("calls.csv", "its name ends in none of .jsonl, .parquet"),
        ("missing/calls.jsonl", "No such file or directory"),
        ("file/calls.jsonl", "Not a directory"),
        ("folder.jsonl", "it is a directory"),
        (f"{'x' * 300}.jsonl", "File name too long"),
    ],
)
def test_unusable_destination_is_refused(tmp_path: Path, name: str, complaint: str) -> None:
    """A log that could not be written is found out before the run."""
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "file").touch()

    with pytest.raises(InputError) as refusal:
        check_destination(tmp_path / name)

    assert f"cannot write a log to {tmp_path / name}: {complaint}" == str(refusal.value)


def test_checking_a_destination_leaves_nothing_there(tmp_path: Path) -> None:
    """The folder looks as before."""
    check_destination(tmp_path / "calls.jsonl")

    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_interrupted_write_keeps_the_older_log(
    log: TimingLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """There is the old file or the new one, never a part of one."""
    (tmp_path / "calls.jsonl").write_text("older")

    def fail(path: Path, content: bytes) -> None:
        with path.open("wb") as file:
            file.write(content[:10])
        raise error

    monkeypatch.setattr(Path, "write_bytes", fail)

    with pytest.raises((KeyboardInterrupt, InputError)):
        log.write(tmp_path / "calls.jsonl", MADE)

    found = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert {"calls.jsonl": "older"} == found
