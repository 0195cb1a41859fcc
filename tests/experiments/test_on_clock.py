"""What can be asked of a run on the clock can be asked of every kind of subject that has one."""

import json
from pathlib import Path

import pytest

from experiments.cli import main
from experiments.record.events import TimingLog
from experiments.record.record import Record
from experiments.subjects.kinds import named
from experiments.subjects.on_clock import Asked

SUBJECTS = {
    "boot": ("guest-512M", ("guest.ram=96MiB",)),
    "parallel boot": ("parallel-boot-tiny", ()),
    "processes": ("fork-2", ("workload.iterations=1", "workload.warmup=0")),
    "race": ("R1", ("fix=on", "tries=2", "rounds=2")),
    "race that fails": ("R16", ("fix=off", "tries=20")),
    "race on shared pCPUs": ("R1", ("fix=off", "pcpus=1", "tries=2", "rounds=2")),
}
EACH = pytest.mark.parametrize("kind", list(SUBJECTS))


def record_of(kind: str, asked: Asked) -> Record:
    """The record of such a subject's run."""
    return named(*SUBJECTS[kind]).on_clock(asked)


@EACH
def test_log_changes_nothing_and_has_the_calls(kind: str) -> None:
    """A row for each hypercall and each emulated store of the run that is told."""
    log = TimingLog()

    assert record_of(kind, Asked(seed=1)) == record_of(kind, Asked(seed=1, log=log))
    assert 0 < len(log)


@EACH
def test_every_event_changes_nothing(kind: str) -> None:
    """Each hypercall is then an event of its own."""
    assert record_of(kind, Asked(seed=1)) == record_of(kind, Asked(seed=1, every_event=True))


@pytest.mark.parametrize("kind", [kind for kind in SUBJECTS if kind != "race that fails"])
def test_machine_is_consistent_after_every_step(kind: str) -> None:
    """Checking changes nothing either."""
    assert record_of(kind, Asked(seed=1)) == record_of(kind, Asked(seed=1, check=True))


@EACH
def test_recorded_run_is_made_again(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``run --tape`` and ``replay``, step by step."""
    name, written = SUBJECTS[kind]
    settings = [word for setting in written for word in ("--set", setting)]
    tape = tmp_path / "tape.json"
    main(["run", name, *settings, "--tape", str(tape), "--quiet", "--json"])
    record = json.loads(capsys.readouterr().out)

    assert 0 == main(["replay", str(tape), "--json"])
    replayed = json.loads(capsys.readouterr().out)
    assert (record["failure"] is None) == (replayed["finding"] is None)


def test_race_on_the_clock_has_times(capsys: pytest.CaptureFixture[str]) -> None:
    """Found among orders of steps it has none, and says so by null."""
    main(["run", "R16", "--set", "fix=off", "--json", "--quiet"])
    by_orders = json.loads(capsys.readouterr().out)
    main(["run", "R16", "--set", "fix=off", "--on-clock", "--json", "--quiet"])
    on_clock = json.loads(capsys.readouterr().out)

    assert (None, None) == (by_orders["time_ns"], by_orders["failure"]["time_ns"])
    assert on_clock["failure"]["time_ns"] == on_clock["time_ns"]["total"] > 0


@pytest.mark.parametrize("name", ["fork-2", "R16"])
def test_what_was_not_measured_is_null(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """And no line of the table tells of it."""
    main(["run", name, "--json", "--quiet"])
    record = json.loads(capsys.readouterr().out)
    main(["run", name, "--quiet"])
    table = capsys.readouterr().out

    assert [None] * 4 == [
        record["pages"],
        record["hazard"],
        record["buffers"],
        record["counts"]["mask_lookups"],
    ]
    assert "table pages" not in table
    assert "hazard windows" not in table
    assert "leaf lookups" not in table
