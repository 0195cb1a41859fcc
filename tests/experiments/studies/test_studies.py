"""Every study on a tiny grid: what it writes, where its numbers come from, how it goes on."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

import msgspec
import polars as pl
import pytest

from experiments.cells import load_sweep
from experiments.errors import InputError
from experiments.scenario.scenario import validated
from experiments.scenario.strategies import strategy_names
from experiments.studies import (
    batching,
    cost_of_a_fix,
    parallel_boot,
    verdict_map,
    what_the_thread_could_have_known,
)
from experiments.studies.study import Answer, Study, carry_out, main
from tests.boots import run
from tests.experiments.studies.recordings import conformance_vectors

MIB = 1 << 20

# Guests of 1040 MiB are the smallest on which tables-high can crash.
_ENDS, _UNDER = (96 * MIB, 1040 * MIB), (0, 4 * MIB)
_SMALL = what_the_thread_could_have_known.MemoryMap(((0, 96 * MIB),), 20 * MIB)
_CRASHING = what_the_thread_could_have_known.MemoryMap(
    ((0, 1036 * MIB), (1039 * MIB, 1040 * MIB)), 20 * MIB
)

GRIDS: Mapping[str, tuple[Study, Mapping[str, Any]]] = {
    "verdict_map": (
        verdict_map.STUDY,
        verdict_map.document(
            [
                *(("tables-high", "none", end, under) for end in _ENDS for under in _UNDER),
                *(("reserve-hook", "none", end, under) for end in _ENDS for under in _UNDER),
                ("tables-high", "none", 1040 * MIB, 8 * MIB),
            ]
        ),
    ),
    "cost_of_a_fix": (
        cost_of_a_fix.STUDY,
        cost_of_a_fix.document(
            ["alloc-only", "reserve-hook", "offline-pin", "auto-translated"],
            [96 * MIB, 192 * MIB],
            ["nehalem-2011", "modern-2023"],
        ),
    ),
    "what_the_thread_could_have_known": (
        what_the_thread_could_have_known.STUDY,
        what_the_thread_could_have_known.document([_SMALL, _CRASHING]),
    ),
    "batching": (
        batching.STUDY,
        batching.document("128MiB", ["reserve-hook", "tables-low"], ["nehalem-2011"], [1, 32]),
    ),
    "parallel_boot": (
        parallel_boot.STUDY,
        parallel_boot.document(
            "1280MiB", ["reserve-hook", "tables-high"], ["lock", "unlocked"], [1, 8]
        ),
    ),
}
LABELS = {
    "verdict_map": {
        "verdict_map": ["tables-high", "reserve-hook", "pin", "end of RAM", "1040 MiB"],
        "verdict_boundary": ["crash: a pin is refused"],
    },
    "cost_of_a_fix": {
        "hypercalls": ["reserve-hook", "offline-pin", "hypercalls", "end of RAM, GiB"],
        "time": ["nehalem-2011", "modern-2023", "time, ms"],
        "breakdown": ["pins, validation", "the guest's own work", "time, ms"],
    },
    "what_the_thread_could_have_known": {
        "patches": ["crashes under tables-high", "patched leaves"],
        "hypercalls": ["hypercalls saved, %"],
    },
    "batching": {
        "traps": ["reserve-hook", "tables-low", "none", "traps"],
        "time": ["nehalem-2011", "entries of the multicall buffer"],
    },
    "parallel_boot": {
        "verdicts": ["reserve-hook", "latent", "vCPUs", "... filled under a lock"],
        "gain": ["reserve-hook", "times as fast as on one vCPU"],
    },
}


class Carried(NamedTuple):
    """A study that was carried out on its tiny grid."""

    study: Study
    document: Mapping[str, Any]
    folder: Path
    answer: Answer


@pytest.fixture(scope="module")
def carried(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Carried]:
    """Gives a study by name, each carried out once."""

    @cache
    def carry(name: str) -> Carried:
        study, document = GRIDS[name]
        folder = tmp_path_factory.mktemp(name)
        return Carried(study, document, folder, carry_out(study, load_sweep(document), folder))

    return carry


@pytest.mark.parametrize("name", GRIDS)
def test_figures_are_written_with_their_labels(
    name: str, carried: Callable[[str], Carried]
) -> None:
    """Each as a picture and as a well-formed SVG whose text can be searched."""
    _, _, folder, answer = carried(name)

    assert set(LABELS[name]) == set(answer.figures)
    for figure, labels in LABELS[name].items():
        root = ET.parse(folder / f"{figure}.svg").getroot()  # noqa: S314 - written just now
        texts = {"".join(element.itertext()).strip() for element in root.iter() if element.text}
        assert [] == [label for label in labels if label not in texts]
        assert b"\x89PNG" == (folder / f"{figure}.png").read_bytes()[:4]


@pytest.mark.parametrize("name", GRIDS)
def test_ledger_makes_a_second_run_compute_nothing(
    name: str, carried: Callable[[str], Carried], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The figures and numbers are made again, byte for byte, from what was kept."""
    study, document, folder, _ = carried(name)
    written = {
        path: path.read_bytes() for path in folder.iterdir() if path.suffix in (".svg", ".csv")
    }

    def no_boot(*_: object, **__: object) -> None:
        raise AssertionError("a cell was computed again")

    monkeypatch.setattr("experiments.cells.cell.run", no_boot)
    carry_out(study, load_sweep(document), folder)

    assert written == {path: path.read_bytes() for path in written}


@pytest.mark.parametrize("name", GRIDS)
def test_numbers_are_those_of_single_runs(name: str, carried: Callable[[str], Carried]) -> None:
    """The last cell of each sweep, run by itself, gives the record in the table."""
    _, document, folder, _ = carried(name)
    cell = load_sweep(document).cells[-1]
    row = pl.read_parquet(folder / "results.parquet").row(-1, named=True)
    record = run(cell.scenario, cell.scenario.guest.strategy)

    assert record["outcome"] == row["outcome"]
    for group in ("counts", "time_ns"):
        for key, value in record[group].items():
            if key == "by_vcpu":
                continue  # a list has no column
            assert value == row[f"{group}.{key}"]


def test_map_has_the_verdict_of_each_boot(carried: Callable[[str], Carried]) -> None:
    """tables-high crashes when a hole pushes its tables into an earlier region; else it boots."""
    answer = carried("verdict_map").answer
    found = {
        (row["panel"], row["end_bytes"] // MIB, row["under_bytes"] // MIB): row["verdict"]
        for row in answer.numbers.iter_rows(named=True)
    }

    assert {
        ("tables-high", 96, 0): "ok",
        ("tables-high", 96, 4): "ok",
        ("tables-high", 1040, 0): "ok",
        ("tables-high", 1040, 4): "pin",
        ("tables-high", 1040, 8): "pin",
        ("reserve-hook", 96, 0): "ok",
        ("reserve-hook", 96, 4): "ok",
        ("reserve-hook", 1040, 0): "ok",
        ("reserve-hook", 1040, 4): "ok",
    } == found


def test_parts_of_the_cost_are_all_of_the_time(carried: Callable[[str], Carried]) -> None:
    """Nothing a boot spends is left out of the bars, and strategies that crash are named."""
    answer = carried("cost_of_a_fix").answer
    parts = [column for column in answer.numbers.columns if column.endswith(", ns")]

    assert {"reserve-hook", "offline-pin", "auto-translated"} == set(answer.numbers["strategy"])
    assert "left out, because they crash: alloc-only (from 96 MiB)" in answer.sentences
    assert (
        answer.numbers["time_ns"].to_list()
        == answer.numbers.select(pl.sum_horizontal(parts)).to_series().to_list()
    )


def test_every_cost_that_a_boot_spends_has_a_part() -> None:
    """``other`` is for what a profile may hold one day."""
    scenario = validated(
        {"name": "x", "guest": {"ram": "96MiB", "kernel_end": "20MiB"}, "machine": {}}
    )
    named = {cost for _, costs in cost_of_a_fix.PARTS.values() for cost in costs}
    records = [run(scenario, strategy) for strategy in strategy_names()]
    spent = {
        cost
        for record in records
        if record["outcome"] == "ok"
        for cost in record["time_by_cost_ns"]
    }

    assert set() == spent - named


def test_patches_make_the_crashing_guest_boot(carried: Callable[[str], Carried]) -> None:
    """As many entries are changed as there are tables whose leaf no walk can find."""
    _, _, folder, answer = carried("what_the_thread_could_have_known")
    small, crashing = answer.numbers.iter_rows(named=True)
    unreachable = pl.read_parquet(folder / "results.parquet").filter(
        (pl.col("strategy") == "patch-alias") & (pl.col("guest.e820").str.contains(str(1040 * MIB)))
    )["hazard.unreachable"]

    assert ("ok", "ok", 0) == (
        small["tables-high outcome"],
        small["patch-alias outcome"],
        small["patches"],
    )
    assert ("crash", "ok") == (crashing["tables-high outcome"], crashing["patch-alias outcome"])
    assert [crashing["patches"]] == unreachable.to_list()
    assert crashing["patches"] > 0


def test_model_answers_as_recorded() -> None:
    """All of the study's recordings, on both recorded versions, and the whole sequence."""
    lines = what_the_thread_could_have_known.recorded()
    programs = [line for line in lines if not line.startswith(" ")]

    assert 10 == len(programs)
    assert [] == [line for line in programs if not line.endswith(": the model answers alike")]
    assert "    mmu_update 0x1e92c000 0x1e92d065 gives 0; 1e92d e400000000000000" in lines


def test_recordings_of_the_study_are_those_of_the_conformance_tests() -> None:
    """What is called recorded is a copy, bit for bit."""
    own = msgspec.json.decode(what_the_thread_could_have_known.RECORDINGS.read_bytes())["vectors"]
    real = [vector for vector in own if vector["origin"] == "real"]

    assert 8 == len(real)
    assert [] == [vector for vector in real if vector not in conformance_vectors()]


def test_fewer_traps_the_larger_the_buffer(carried: Callable[[str], Carried]) -> None:
    """A buffer of one entry saves none; one of 32 entries nearly all."""
    answer = carried("batching").answer
    traps = {
        (row["strategy"], row["buffer_entries"]): row["traps"]
        for row in answer.numbers.iter_rows(named=True)
    }

    for strategy in ("reserve-hook", "tables-low"):
        assert traps[strategy, 0] == traps[strategy, 1]
        assert traps[strategy, 0] > 20 * traps[strategy, 32]


def test_lost_half_of_a_table_is_no_gain(carried: Callable[[str], Carried]) -> None:
    """A boot that has lost part of its map counts as failed, however fast it was."""
    answer = carried("parallel_boot").answer
    found = {
        (row["strategy"], row["shared_tables"], row["vcpus"]): (row["verdict"], row["gain"])
        for row in answer.numbers.iter_rows(named=True)
    }

    assert ("ok", 1) == found["reserve-hook", "lock", 1]
    assert "ok" == found["reserve-hook", "lock", 8][0]
    assert found["reserve-hook", "lock", 8][1] > 1.5
    assert ("latent", None) == found["reserve-hook", "unlocked", 8]
    assert any(line.startswith("no precaution: reserve-hook fails") for line in answer.sentences)


@pytest.mark.parametrize("name", GRIDS)
def test_study_tells_how_it_is_run(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Its question and its options."""
    study = GRIDS[name][0]

    assert 0 == main(study, ["--help"])
    told = capsys.readouterr().out
    assert "--jobs" in told
    assert "--out" in told
    assert study.question.split()[0] in told


def test_study_is_a_command() -> None:
    """``python -m experiments.studies.NAME``."""
    done = subprocess.run(
        [sys.executable, "-m", "experiments.studies.batching", "--help"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (0, "") == (done.returncode, done.stderr)
    assert "experiments.studies.batching" in done.stdout


def test_default_sweeps_hold_what_the_studies_ask_about() -> None:
    """Every cell of the shipped grids is a valid scenario, and all keys vary."""
    for study, _ in GRIDS.values():
        sweep = load_sweep(study.sweep())

        assert set(study.keys) <= {key for axis in sweep.axes for key in axis.keys}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--jobs", "0"], "jobs"),
        (["--sweep", "nowhere.toml"], "cannot read sweep nowhere.toml"),
        (["--nonsense"], "nonsense"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Status 2, and nothing is written."""
    status = main(batching.STUDY, ["--out", str(tmp_path / "out"), *arguments])
    captured = capsys.readouterr()

    assert (2, "") == (status, captured.out)
    assert 1 == len(captured.err.splitlines())
    assert told in captured.err
    assert not (tmp_path / "out").exists()


def test_sweep_that_varies_something_else_is_refused(tmp_path: Path) -> None:
    """The line names what is missing."""
    document = {
        "guest": {"ram": "96MiB", "kernel_end": "20MiB"},
        "sweep": {"guest.strategy": ["reserve-hook"]},
    }

    with pytest.raises(InputError, match=r"machine\.profile, strategy\.batching must vary"):
        carry_out(batching.STUDY, load_sweep(document), tmp_path)


def test_study_refuses_a_sweep_without_what_it_compares_with(tmp_path: Path) -> None:
    """No boot without a buffer; a guest that was not booted under all three strategies."""
    unbuffered = batching.document("96MiB", ["reserve-hook"], ["nehalem-2011"], [4])
    unbuffered["guest"]["kernel_end"] = "20MiB"
    unbuffered["sweep"]["strategy.batching"] = [4]
    without_bug = what_the_thread_could_have_known.document([_SMALL])
    without_bug["sweep"]["guest.strategy"] = ["reserve-hook", "patch-alias"]

    with pytest.raises(InputError, match="boots with and without a buffer"):
        carry_out(batching.STUDY, load_sweep(unbuffered), tmp_path / "batching")
    with pytest.raises(InputError, match="with tables-high its sweep has others"):
        carry_out(what_the_thread_could_have_known.STUDY, load_sweep(without_bug), tmp_path / "s13")


def test_sweep_in_a_file_takes_the_place_of_the_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --sweep a study answers its question on another grid."""
    file = tmp_path / "mine.toml"
    file.write_text(
        '[guest]\nram = "96MiB"\nkernel_end = "20MiB"\n[sweep]\n'
        '"machine.profile" = ["nehalem-2011"]\n"guest.strategy" = ["reserve-hook"]\n'
        '"strategy.batching" = ["none", 4]\n'
    )
    status = main(batching.STUDY, ["--sweep", str(file), "--out", str(tmp_path / "out")])

    assert 0 == status
    assert "a buffer of 4 entries" in capsys.readouterr().out
    assert (tmp_path / "out" / "traps.svg").exists()
