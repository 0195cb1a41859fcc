"""What made a document stands in it: enough to make the same again, and nothing of the moment."""

import gzip
import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from experiments.cli import main

VECTORS = "tests/conformance/data/frames.json.gz"
LITMUS = "tests/litmus/data/recorded.json.gz"
COMMANDS: dict[str, Sequence[str]] = {
    "run": ("run", "guest-512M", "--set", "guest.ram=96MiB"),
    "run of a race": ("run", "R16", "--set", "fix=off"),
    "race on the clock": ("run", "R16", "--on-clock", "--set", "tries=2"),
    "compare": ("compare", "guest-512M", "--set", "guest.ram=96MiB", "--strategies", "tables-low"),
    "odds": ("odds", "R16", "--most", "4"),
    "odds by setting": ("odds", "R16", "--most", "4", "--vary", "vcpus=2,3"),
    "explore": ("explore", "R16", "--seconds", "20", "--orders-only"),
}


def document(capsys: pytest.CaptureFixture[str], arguments: Sequence[str]) -> dict[str, Any]:
    """What a command prints with ``--json``."""
    main([*arguments, "--json", "--quiet"])
    printed: dict[str, Any] = json.loads(capsys.readouterr().out)
    return printed


@pytest.mark.parametrize("command", list(COMMANDS))
def test_document_says_what_made_it(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Schema, versions, a hash of the code, the settings and the seed."""
    printed = document(capsys, [*COMMANDS[command], "--seed", "3"])
    made = printed["provenance"]

    assert printed["schema"].startswith("pinlab.")
    assert (version("pinlab"), version("numpy"), version("simpy"), 3) == (
        made["pinlab"],
        made["numpy"],
        made["simpy"],
        made["seed"],
    )
    assert 16 == len(made["code"])
    assert made["settings"]


def test_litmus_tests_are_told_by_what_they_hold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of the recorded tests, in a file of its own."""
    recorded = json.loads(gzip.decompress(Path(LITMUS).read_bytes()))
    small = min(recorded["tests"], key=lambda test: len(json.dumps(test)))
    file = tmp_path / "one.json"
    file.write_text(json.dumps(recorded | {"tests": [small]}))
    made = document(capsys, ["litmus", str(file), "--jobs", "1", "--seed", "3"])["provenance"]

    assert (str(file), 3) == (made["settings"]["files"][0]["file"], made["seed"])


def test_sweep_says_what_its_file_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On stdout and in the manifest alike."""
    file = tmp_path / "one.toml"
    file.write_text('[guest]\nram = "96MiB"\n[sweep]\n"guest.strategy" = ["tables-low"]\n')
    out = tmp_path / "out"
    made = document(capsys, ["sweep", str(file), "--out", str(out)])["provenance"]

    assert file.read_text() == made["settings"]["text"]
    assert made == json.loads((out / "manifest.json").read_text())["provenance"]


def test_vectors_are_told_by_what_they_hold(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is drawn, so there is no seed."""
    made = document(capsys, ["conform", VECTORS])["provenance"]
    (file,) = made["settings"]["files"]

    assert (VECTORS, 64, None) == (file["file"], len(file["sha256"]), made["seed"])


def test_changed_settings_are_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    """In their full spelling."""
    boot = document(capsys, COMMANDS["run"])
    race = document(capsys, COMMANDS["run of a race"])

    assert "96MiB" == boot["provenance"]["settings"]["scenario"]["guest"]["ram"]
    assert "off" == race["provenance"]["settings"]["settings"]["fix"]


@pytest.mark.parametrize("command", ["run", "race on the clock", "compare", "odds"])
def test_same_command_prints_the_same_bytes(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing of the wall clock, of a process or of a folder is in what is compared."""
    first = document(capsys, COMMANDS[command])

    assert first == document(capsys, COMMANDS[command])
