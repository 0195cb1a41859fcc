"""Files of failing runs: written, read, made again, and refused where they are spoilt."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from experiments import code_version
from experiments.cli import main
from experiments.counterexamples import repro
from experiments.subjects import orders

Capture = pytest.CaptureFixture[str]

TIMED = {"mode": "timed", "streams_version": 2}

WRITTEN_BEFORE = Path(__file__).parent / "data"
"""Written by the code whose draws were numpy's own: R4 on the clock, R9 through orders."""


def said(capsys: Capture, *arguments: str | Path) -> tuple[int, str, str]:
    """The exit status, stdout and stderr."""
    capsys.readouterr()  # what a fixture has printed
    status = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.fixture(scope="module")
def explored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a race's failure leaves, found through orders of steps."""
    folder = tmp_path_factory.mktemp("explored") / "deep" / "r16"
    assert 1 == main(["run", "races/R16", "--set", "fix=off", "--out", str(folder), "--quiet"])
    return folder


@pytest.fixture(scope="module")
def timed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a race's failure leaves, found on the clock."""
    folder = tmp_path_factory.mktemp("timed")
    assert 1 == main(["run", "races/R4", "--set", "fix=off", "--out", str(folder), "--quiet"])
    return folder


@pytest.fixture(scope="module")
def boot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A boot that was recorded."""
    path = tmp_path_factory.mktemp("boot") / "boot.json"
    arguments = ("guest-512M", "--set", "guest.ram=64MiB", "--tape", str(path), "--quiet")
    assert 0 == main(["run", *arguments])
    return path


def changed(path: Path, to: Path, **values: object) -> Path:
    """A copy with other values."""
    document = json.loads(path.read_text())
    to.write_text(json.dumps(document | values))
    return to


def test_folder_holds_the_run_a_picture_and_a_trace(explored: Path) -> None:
    """Whole files, and nothing half-written."""
    assert ["diagram.svg", "repro.json", "trace.json"] == sorted(
        path.name for path in explored.iterdir()
    )

    document = json.loads((explored / "repro.json").read_text())
    assert ("pinlab.repro/1", "explored", 1) == (
        document["schema"], document["mode"], document["tape_version"]
    )  # fmt: skip
    assert ("race", "R16", "off") == (
        document["program"]["kind"],
        document["program"]["race"],
        document["program"]["settings"]["fix"],
    )
    assert "D10" == document["finding"]["kind"]
    assert document["finding"]["message"] in document["cause"]
    assert {"pinlab", "code", "python", "numpy", "simpy"} == set(document["versions"])
    assert document["steps"] == len(document["lines"])
    assert json.loads((explored / "trace.json").read_text())["traceEvents"]


def test_failure_on_the_clock_has_its_picture_and_trace_too(timed: Path) -> None:
    """Times in place of numbers."""
    events = json.loads((timed / "trace.json").read_text())["traceEvents"]
    steps = [event for event in events if event["ph"] == "X"]
    assert json.loads((timed / "repro.json").read_text())["steps"] == len(steps)
    picture = (timed / "diagram.svg").read_text()
    assert f"{max(event['ts'] + event['dur'] for event in steps):.3f} us" in picture


def test_run_shows_the_shrunk_failure(capsys: Capture) -> None:
    """Its diagram and its cause; as JSON how far it was shrunk."""
    _, out, _ = said(capsys, "run", "races/R13", "--set", "fix=off", "--quiet")
    _, record, _ = said(capsys, "run", "races/R13", "--set", "fix=off", "--quiet", "--json")

    assert "vCPU 1 goes on" in out
    race = json.loads(record)["race"]
    assert race["cause"] in " ".join(out.split())
    shrunk = race["shrunk"]
    assert shrunk["steps"] < shrunk["before"]["steps"] == len(race["schedule"])
    assert len(shrunk["schedule"]) == shrunk["steps"]


def test_explored_run_is_replayed(explored: Path, capsys: Capture) -> None:
    """Each step on a line, and how it ended."""
    status, out, err = said(capsys, "replay", explored / "repro.json")

    assert (0, "") == (status, err)
    steps = json.loads((explored / "repro.json").read_text())["steps"]
    assert f"all {steps} steps replayed, as recorded" in out
    assert steps == sum("  vCPU " in line for line in out.splitlines())
    assert "D10: a malformed call" in out


def test_explained_replay_tells_what_routines_are_for_and_what_they_touch(
    tmp_path: Path, capsys: Capture
) -> None:
    """From the docstring and the footprint; the cause at the end."""
    main(["run", "races/R8", "--set", "fix=off", "--out", str(tmp_path), "--quiet"])

    _, plain, _ = said(capsys, "replay", tmp_path / "repro.json")
    _, out, _ = said(capsys, "replay", tmp_path / "repro.json", "--explain")

    assert "changes entry 0 of the L1" in out
    assert "MMUEXT_PIN_Lx_TABLE" in out
    assert "met that at step" in out
    assert "changes entry" not in plain


def test_replay_goes_as_far_as_it_is_asked(explored: Path, capsys: Capture) -> None:
    """No verdict is given of a run that was cut."""
    status, out, _ = said(capsys, "replay", explored / "repro.json", "--until", "2", "--json")

    done = json.loads(out)
    assert (0, "pinlab.replay/1", 2, True, None) == (
        status,
        done["schema"],
        done["steps_made"],
        done["stopped_on_the_way"],
        done["finding"],
    )
    assert [0, 1] == [step["number"] for step in done["steps"]]


@pytest.mark.parametrize("which", ["explored", "timed", "boot"])
def test_runs_are_deterministic(
    which: str, request: pytest.FixtureRequest, capsys: Capture
) -> None:
    """Made twice more, and compared."""
    path: Path = request.getfixturevalue(which)
    file = path if path.is_file() else path / "repro.json"

    status, out, _ = said(capsys, "replay", file, "--check-determinism", "--json")

    assert (0, True) == (status, json.loads(out)["deterministic"])


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_replay_does_not_depend_on_the_hashes_of_a_process(explored: Path, hash_seed: str) -> None:
    """The order in which a set is walked, for instance."""
    code = "import sys; from experiments.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "replay", str(explored / "repro.json")],
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )

    assert 0 == done.returncode


def test_run_on_the_clock_is_replayed(timed: Path, capsys: Capture) -> None:
    """To the same deadlock."""
    status, out, _ = said(capsys, "replay", timed / "repro.json")

    assert 0 == status
    assert "as recorded" in out
    assert "D5: nobody can go on" in out


def test_recorded_boot_is_replayed(boot: Path, capsys: Capture) -> None:
    """All its steps, of which the last are shown."""
    status, out, _ = said(capsys, "replay", boot, "--json")

    done = json.loads(out)
    assert (0, True, None) == (status, done["reproduced"], done["finding"])
    assert done["steps_made"] == done["steps_recorded"] > 100
    assert 40 == len(done["steps"])


@pytest.mark.parametrize("which", ["timed", "boot"])
def test_replay_of_another_run_on_the_clock_fails_at_its_first_step(
    which: str, request: pytest.FixtureRequest, tmp_path: Path, capsys: Capture
) -> None:
    """Another seed: which step it was, and what it is now."""
    path: Path = request.getfixturevalue(which)
    file = path if path.is_file() else path / "repro.json"
    program = json.loads(file.read_text())["program"] | {"seed": 77}

    status, _, err = said(capsys, "replay", changed(file, tmp_path / "x.json", program=program))

    assert (1, 1) == (status, err.count("\n"))
    # The boot's first step comes before anything is drawn.
    assert f"step {int(which == 'boot')} was recorded as vCPU" in err
    assert " ns, and is vCPU" in err


def test_replay_of_another_explored_run_fails_where_it_differs(
    explored: Path, tmp_path: Path, capsys: Capture
) -> None:
    """A step that is another one; a vCPU that is not ready; an end that is another one."""
    file = explored / "repro.json"
    document = json.loads(file.read_text())
    lines = document["lines"]
    spoilt: dict[str, dict[str, object]] = {
        "step 1 was recorded as vCPU 0, guest, nobody: step, and is vCPU 0, guest": {
            "lines": [lines[0], "0 guest nobody: step", *lines[2:]]
        },
        "the run asks which of the vCPUs": {"tape": "0/0,1 0/0,1,2 1/0,1"},
        "ended with D2 (nothing), and ends with D10": {
            "finding": {"kind": "D2", "message": "nothing"}
        },
        "ended with no failure": {"finding": None},
    }

    for complaint, values in spoilt.items():
        status, _, err = said(capsys, "replay", changed(file, tmp_path / "x.json", **values))
        assert (1, 1) == (status, err.count("\n")), err
        assert complaint in err


def test_other_code_is_mentioned_where_a_run_differs(
    explored: Path, tmp_path: Path, capsys: Capture
) -> None:
    """It explains most differences."""
    values = {"versions": {"code": "0" * 16}, "tape": "0/0"}
    _, out, _ = said(capsys, "replay", changed(explored / "repro.json", tmp_path / "x", **values))

    assert "not the recorded run (it was made with other code)" in out


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"schema": "pinlab.run/1"}, "is no pinlab.repro/1"),
        ({"tape_version": 2}, "tape_version = 2: this PinLab reads version 1"),
        ({"tape": "what"}, "tape: word 0 ('what')"),
        ({"program": {"kind": "litmuss"}}, "program.kind = 'litmuss' is unknown"),
        ({"program": {"kind": "race", "race": "R99"}}, "R99: no such race"),
        ({"program": {"kind": "race", "race": "R1", "settings": {"fixx": 1}}}, "fixx"),
        ({"program": {"kind": "race", "race": "R1", "settings": {"xen": "9"}}}, "is unknown"),
        (TIMED | {"packed_lines": "%%"}, "packed_lines"),
        (TIMED | {"packed_lines": "YWJj"}, "packed_lines: is no compressed text"),
        (
            TIMED | {"program": {"kind": "scenario", "scenario": {}, "strategy": "s"}},
            "name is missing",
        ),
        (TIMED | {"program": {"kind": "race", "race": "R4", "seed": -1}}, "program: "),
        ({"mode": "timed"}, "streams_version = 1: an older PinLab recorded this run"),
        (
            {"mode": "timed", "streams_version": 99},
            "streams_version = 99: a newer PinLab recorded this run",
        ),
    ],
)
def test_spoilt_files_are_one_line_and_status_2(
    values: dict[str, Any], complaint: str, explored: Path, tmp_path: Path, capsys: Capture
) -> None:
    """What is wrong, and where."""
    file = changed(explored / "repro.json", tmp_path / "x.json", **values)

    status, out, err = said(capsys, "replay", file)

    assert (2, "", 1) == (status, out, err.count("\n")), err
    assert complaint in err
    assert "x.json" in err


def test_what_is_no_file_is_said(tmp_path: Path, capsys: Capture) -> None:
    """Absent, a folder, or no JSON."""
    (tmp_path / "x").write_bytes(b"\xff\xfe")

    for path, complaint in ((tmp_path / "no", "cannot read"), (tmp_path, "cannot read"),
                            (tmp_path / "x", "is no pinlab.repro/1")):  # fmt: skip
        status, _, err = said(capsys, "replay", path)
        assert (2, 1) == (status, err.count("\n"))
        assert complaint in err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("run", "guest-512M", "--out", "x"), "--out is for a failure"),
        (("run", "races/R1", "--out", "/dev/null/x"), "cannot write to /dev/null/x"),
        (("run", "guest-512M", "--tape", "/dev/null/x.json"), "cannot write to /dev/null"),
    ],
)
def test_wrong_destinations_are_refused_before_anything_runs(
    arguments: tuple[str, ...], complaint: str, capsys: Capture
) -> None:
    """One line, status 2."""
    status, out, err = said(capsys, *arguments)

    assert (2, "", 1) == (status, out, err.count("\n"))
    assert complaint in err


def test_recording_a_run_changes_nothing(tmp_path: Path, capsys: Capture) -> None:
    """The same record, byte for byte."""
    plain = ("run", "fork-1", "--json", "--quiet", "--seed", "5")

    assert said(capsys, *plain) == said(capsys, *plain, "--tape", tmp_path / "x.json")


def test_run_on_the_clock_with_the_draws_of_before_is_refused(capsys: Capture) -> None:
    """Its seed meant other times, so no run of today could be the one that was recorded."""
    status, out, err = said(capsys, "replay", WRITTEN_BEFORE / "timed-1.json")

    assert (2, "", 1) == (status, out, err.count("\n"))
    assert "timed-1.json: streams_version = 1" in err
    assert "reads version 2; record the run again" in err


def test_explored_run_of_before_is_read_as_ever() -> None:
    """Nothing is drawn in it, so its tape means what it meant."""
    kept = repro.load(WRITTEN_BEFORE / "explored-1.json")

    assert (15, 28) == (kept.read_tape().schedule.count(0), kept.read_tape().schedule.count(1))


@pytest.mark.parametrize(
    ("kinds", "document", "module"),
    [
        (orders.EXPLORED, {"kind": "race"}, "experiments.subjects.race_orders"),
        (orders.EXPLORED, {"kind": "parallel-boot"}, "experiments.subjects.parallel_orders"),
        (orders.TIMED, {"kind": "race"}, "experiments.subjects.trial"),
        (orders.TIMED, {"kind": "scenario"}, "experiments.subjects.boot"),
    ],
)
def test_edited_code_of_the_program_is_another_version(
    kinds: Mapping[str, str],
    document: Mapping[str, str],
    module: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """What makes a program, and all that this imports, is part of the code in its file."""
    before = repro.versions(document, kinds)["code"]
    sources = code_version.sources
    edited = tmp_path / "edited.py"
    edited.write_text("edited = True\n")

    def changed(*entries: str) -> Iterator[tuple[str, Path]]:
        for name, path in sources(*entries):
            yield name, edited if name == module else path

    monkeypatch.setattr(code_version, "sources", changed)
    monkeypatch.setattr(repro, "code_version", code_version.code_version.__wrapped__)
    assert before != repro.versions(document, kinds)["code"]
