"""The study of races on shared pCPUs and with dearer hypercalls, on a small grid."""

from pathlib import Path
from xml.etree import ElementTree as ET

import polars as pl
import pytest

from experiments.errors import InputError
from experiments.studies import where_races_live
from experiments.studies.where_races_live import Cell, carry_out, cells, main, settings
from experiments.subjects.race_settings import race_named, settings_of

GRID = cells({"R4": 24, "R16": 12})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the study was carried out on that grid."""
    where = tmp_path_factory.mktemp("where_races_live")
    carry_out(GRID, where)
    return where


def test_every_point_is_in_the_numbers_and_the_figures(folder: Path) -> None:
    """With its interval, and text that can be searched."""
    numbers = pl.read_csv(folder / "numbers.csv")

    assert len(GRID) == numbers.height
    assert {1.0, 2.0, 3.0} == set(numbers["vcpus_per_pcpu"])
    for name in ("shared_pcpus", "hypercall_cost"):
        root = ET.parse(folder / f"{name}.svg").getroot()  # noqa: S314 - written just now
        text = "".join(root.itertext())
        assert (folder / f"{name}.png").stat().st_size > 10_000
        assert all(race in text for race in ("R4", "R16"))


def test_study_goes_on_where_it_was(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was computed is not computed again; a torn last line is."""
    ledger = folder / "cells.jsonl"
    before = (folder / "numbers.csv").read_bytes()
    lines = ledger.read_bytes().splitlines(keepends=True)
    ledger.write_bytes(b"".join(lines[:-1]) + lines[-1][:40] + b"\n")
    told: list[str] = []

    carry_out(GRID, folder, tell=told.append)
    assert 1 == len(told)
    assert before == (folder / "numbers.csv").read_bytes()

    monkeypatch.setattr(where_races_live, "_compute", None)
    carry_out(GRID, folder)


def test_answer_says_what_moved_and_what_is_open(folder: Path) -> None:
    """A line for each race along each axis."""
    lines = carry_out(GRID, folder).sentences

    assert 2 == sum(line.startswith("R4, hits per opportunity by") for line in lines)
    assert all(
        any(word in line for word in ("probable)", "(open)", "(not seen)"))
        for line in lines
        if " by " in line
    )


def test_dearer_hypercall_makes_all_that_contains_it_dearer() -> None:
    """What a pin costs beside the way into Xen stays as it is."""
    own, dear = (
        settings_of(race_named("R1"), settings(Cell("R1", 0, ns, 10))).priced.costs
        for ns in (140, 300)
    )

    assert 300 == dear["hypercall_null"].value_ns
    for cost in ("update_va_mapping", "pin_l1_fixed", "new_baseptr"):
        assert own[cost].value_ns + 160 == dear[cost].value_ns


def test_folder_that_cannot_be_used_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And status 2."""
    file = tmp_path / "file"
    file.write_text("in the way")

    with pytest.raises(InputError, match="cannot be used"):
        carry_out(GRID, file / "below")
    assert 2 == main(["--jobs", "0"])
    assert 1 == capsys.readouterr().err.count("\n")
