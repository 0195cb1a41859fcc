"""Explorations as a user asks for them: what is tried, found, claimed, and gone on with."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from experiments.cli import main

Capture = pytest.CaptureFixture[str]


def explored(capsys: Capture, *arguments: str | Path) -> tuple[int, dict[str, Any]]:
    """The exit status and the record."""
    options = ("--orders-only", "--json", "--quiet")
    status = main(["explore", *(str(argument) for argument in arguments), *options])
    return status, json.loads(capsys.readouterr().out)


def test_race_without_its_fix_is_found_and_written(tmp_path: Path, capsys: Capture) -> None:
    """The failure is shrunk, and its files make it again."""
    status, record = explored(capsys, "races/R13", "--set", "fix=off", "--out", tmp_path)

    assert (1, "pinlab.explore/1", "violation") == (status, record["schema"], record["outcome"])
    (found,) = record["findings"]
    assert "D7" == found["kind"]
    assert not record["complete"]
    assert record == json.loads((tmp_path / "exploration.json").read_text())
    assert 0 == main(["replay", str(tmp_path / "D7" / "repro.json"), "--quiet"])


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_race_with_its_fix_fails_in_no_order(jobs: str, capsys: Capture) -> None:
    """And the record says that all of them were tried."""
    status, record = explored(capsys, "races/R13", "--set", "fix=on", "--jobs", jobs)

    assert (0, "ok", True) == (status, record["outcome"], record["complete"])
    (claim,) = record["claims"]
    assert "all 10 interleavings of this configuration were run" in claim
    assert "no failure" in claim


def test_several_processes_find_as_many_interleavings(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search is cut into parts, and no class of orders is lost or tried twice."""
    monkeypatch.setattr("experiments.exploring.all_orders._ALONE_S", 0.2)
    monkeypatch.setattr("experiments.exploring.all_orders._PART_S", 0.2)
    counts = [
        explored(capsys, "races/R15", "--jobs", jobs, "--all-findings")[1]["searches"][0]["orders"]
        for jobs in ("1", "2")
    ]

    assert counts[0] == counts[1] > 10


def test_small_budget_claims_little(capsys: Capture) -> None:
    """Some orders, those with few switches, and some by chance; with what may have been missed."""
    status, record = explored(capsys, "races/R1", "--executions", "40", "--jobs", "1")

    assert 0 == status
    assert not record["complete"]
    assert record["executions"] <= 40
    assert ["classes", "switches", "switches"] == [
        search["search"] for search in record["searches"]
    ][:3]
    assert "perhaps not all" in record["claims"][0]
    assert all("no failure" in claim for claim in record["claims"])


def test_bound_is_kept_to(capsys: Capture) -> None:
    """Only orders with so few switches, and all of these."""
    status, record = explored(capsys, "races/R16", "--bound", "0")

    assert 0 == status
    (search,) = record["searches"]
    assert ("switches", 0, True, 2) == (
        search["search"],
        search["switches"],
        search["complete"],
        search["executions"],
    )


def test_boot_on_several_vcpus_is_explored(capsys: Capture) -> None:
    """A page that another vCPU is mapping writable is taken for a table, and refused."""
    status, record = explored(capsys, "parallel-boot", "--strategy", "tables-high", "--jobs", "1")

    assert (1, "violation") == (status, record["outcome"])
    assert {"pin"} == {found["kind"] for found in record["findings"]}


def test_failure_is_looked_for_on_the_clock(capsys: Capture) -> None:
    """Not seen with the profile's latencies, it comes about where one of them is longer."""
    # It is hit in one of thirty runs, so some sixties are without a hit.
    for seed in range(12):
        question = ["explore", "races/R16", "--set", "fix=off", "--seed", str(seed)]
        status = main([*question, "--json", "--quiet"])
        witness = json.loads(capsys.readouterr().out)["witness"]
        if not witness["hits"]:
            break

    assert (1, 60, 0) == (status, witness["runs"], witness["hits"])
    assert witness["slower"]["hits"] > 0
    assert f"{witness['slower']['cost']} {witness['slower']['times']} times" in witness["sentence"]


def test_footprints_are_complete(capsys: Capture) -> None:
    """Equivalent orders come to the same."""
    status, _ = explored(capsys, "races/R8", "--check-footprints", "--executions", "40")

    assert 0 == status


def test_killed_search_goes_on_from_its_checkpoint(tmp_path: Path, capsys: Capture) -> None:
    """What was tried is not tried again, and the whole is as many interleavings as in one go."""
    arguments = ["races/R1", "--set", "fix=on", "--seconds", "600", "--jobs", "1"]
    _, whole = explored(capsys, *arguments)
    often = (
        "import experiments.exploring.explore as e, experiments.exploring.all_orders as a; "
        "e._SAVE_S = a._PART_S = 0.05; from experiments.cli import main; raise SystemExit(main())"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", often, "explore", *arguments, "--out", str(tmp_path), "--quiet"]
    )
    checkpoint = tmp_path / "checkpoint.json"
    until = time.monotonic() + 60
    while time.monotonic() < until and not (
        checkpoint.exists() and json.loads(checkpoint.read_text())["search"]["executions"] > 5
    ):
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = json.loads(checkpoint.read_text())["search"]["executions"]

    _, record = explored(capsys, *arguments, "--out", tmp_path)

    assert 5 < kept < whole["executions"]
    assert record["complete"]
    assert whole["searches"][0]["orders"] == record["searches"][0]["orders"]


def test_interrupted_search_keeps_its_checkpoint(tmp_path: Path) -> None:
    """Ctrl-C: status 130, one line, and the same command goes on."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-c"),
            "from experiments.cli import main; raise SystemExit(main())",
            *("explore", "races/X2", "--set", "fix=off", "--all-findings", "--seconds", "600"),
            *("--quiet", "--out", str(tmp_path)),
        ],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 60
    while time.monotonic() < until and not (tmp_path / "checkpoint.json").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)

    assert (130, "", "pinlab: interrupted\n") == (process.returncode, out, err)
    assert json.loads((tmp_path / "checkpoint.json").read_text())["search"]["executions"] > 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["races/R99"], "no such race"),
        (["races/R1", "--strategy", "tables-high"], "--strategy is for boots"),
        (["races/R1", "--set", "pcpus=1"], "leave pcpus"),
        (["guest-2G"], "only races and boots of several vCPUs can be explored"),
        (["parallel-boot", "--strategy", "tables-hihg"], "did you mean tables-high?"),
        (["races/R1", "--seconds", "0"], "Must be > 0"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], complaint: str, capsys: Capture) -> None:
    """What, where, and what would be right; exit status 2."""
    status = main(["explore", *arguments])
    said = capsys.readouterr()

    assert (2, "", 1) == (status, said.out, said.err.count("\n"))
    assert complaint in said.err


def test_checkpoint_of_another_program_is_refused(tmp_path: Path, capsys: Capture) -> None:
    """It is left as it is."""
    explored(capsys, "races/R16", "--out", tmp_path)
    before = (tmp_path / "checkpoint.json").read_bytes()

    status = main(["explore", "races/R13", "--out", str(tmp_path), "--quiet"])

    assert 2 == status
    assert "checkpoint of another program" in capsys.readouterr().err
    assert before == (tmp_path / "checkpoint.json").read_bytes()
