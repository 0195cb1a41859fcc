"""``import pinlab``: what a script can ask, give and do with the answers."""

import ast
import copy
import inspect
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest

import pinlab
from experiments.scenario.scenario import load
from models.strategies.reserve_hook import reserve_hook
from tests.boots import run

GUEST: dict[str, Any] = {"ram": "96MiB", "kernel_end": "44MiB"}
SMALL: dict[str, Any] = {"name": "small", "guest": GUEST}
FUNCTIONS = (
    pinlab.compare,
    pinlab.decode,
    pinlab.explore,
    pinlab.load,
    pinlab.odds,
    pinlab.run,
    pinlab.sweep,
)


def as_document(record: pinlab.Record) -> dict[str, Any]:
    """The record as the commands print it, but for what made it."""
    document: dict[str, Any] = msgspec.to_builtins(record)
    return document | {"provenance": None}


def test_run_is_what_the_command_runs() -> None:
    """The record is the same, and says what made it."""
    record = pinlab.run("guest-512M", "tables-low", settings={"guest.ram": "96MiB"}, seed=3)

    assert run(load("guest-512M", ["guest.ram=96MiB"]), "tables-low", seed=3) == as_document(record)
    assert record.provenance is not None
    assert "96MiB" == record.provenance.settings["scenario"]["guest"]["ram"]


@pytest.mark.parametrize("settings", [{"guest.ram": "128MiB"}, ["guest.ram=128MiB"]])
def test_scenario_is_meant_however_it_is_given(
    settings: Mapping[str, str] | list[str], tmp_path: Path
) -> None:
    """A path, a dictionary, a Scenario: all the same machine."""
    file = tmp_path / "small.toml"
    file.write_text('name = "small"\n[guest]\nram = "96MiB"\nkernel_end = "44MiB"\n')
    given: list[Any] = [file, str(file), SMALL, pinlab.load(SMALL), pinlab.load(file)]

    records = [pinlab.run(source, settings=settings) for source in given]

    assert [as_document(records[0])] * 5 == [as_document(record) for record in records]


def test_dictionary_is_never_changed() -> None:
    """Nor what lies in it, whatever is done with it."""
    machine = {"latency": {"hypercall_null": "200ns"}}
    given = SMALL | {"machine": machine}
    before = copy.deepcopy(given)

    scenario = pinlab.load(given)
    scenario.changed({"machine.latency.hypercall_null": "300ns"})
    pinlab.run(given)

    assert before == given
    assert 200 == scenario.checked.machine.latency["hypercall_null"]


def test_numbers_may_be_numpys_and_sequences_ranges() -> None:
    """As they come out of a script's own arithmetic."""
    starts = {"text": "0x400000", "data": "0x600000", "bss": "0x700000", "heap": "0x800000"}
    areas = (
        *({"name": name, "start": start, "pages": 80} for name, start in starts.items()),
        {"name": "stack", "start": "0x7ffd00000000", "pages": np.int32(40), "present": range(2, 9)},
    )
    workload = {"kind": "fork", "iterations": np.int64(2), "areas": areas}

    record = pinlab.run(SMALL | {"workload": workload})

    assert (2, "ok") == (record.iterations, record.outcome)


def test_strategy_may_be_an_object() -> None:
    """It runs as the one of that name does."""
    mine = replace(reserve_hook, name="mine")

    assert "mine" == pinlab.run(SMALL, mine).strategy
    assert pinlab.run(SMALL, mine).counts == pinlab.run(SMALL, "reserve-hook").counts


def test_race_is_searched_or_run_on_the_clock(tmp_path: Path) -> None:
    """A log asks for the clock."""
    by_orders = pinlab.run("R16", settings={"fix": "off"})
    on_clock = pinlab.run("R16", settings={"fix": "off", "tries": 9}, log=tmp_path / "calls.jsonl")

    assert (None, True) == (by_orders.time_ns, on_clock.time_ns is not None)
    assert (tmp_path / "calls.jsonl").read_text().count("\n")


def test_answers_go_to_data_frames(tmp_path: Path) -> None:
    """A row a strategy, a cell, a value, or one."""
    sweep = {"guest.strategy": ("tables-low", "reserve-hook")}
    comparison = pinlab.compare(SMALL, ["tables-low", "reserve-hook"])
    cells = pinlab.sweep(SMALL | {"sweep": sweep}, tmp_path)
    odds = pinlab.odds("R16", most=4, vary="vcpus=2,3")
    answers = [comparison, cells, odds, pinlab.decode("7400000000000001")]

    assert [2, 2, 2, 1] == [answer.to_polars().height for answer in answers]
    assert ["tables-low", "reserve-hook"] == comparison.to_polars()["strategy"].to_list()
    assert comparison.record("tables-low").row()["counts.traps"] == cells.frame["counts.traps"][0]
    assert isinstance(pinlab.run(SMALL).to_polars(), pl.DataFrame)


def test_answers_are_short_on_a_line_and_a_table_in_a_notebook() -> None:
    """What they come to, and no page of figures."""
    answers = [
        pinlab.run(SMALL),
        pinlab.load(SMALL),
        pinlab.compare(SMALL, ["tables-low"]),
        pinlab.explore("R16", settings={"fix": "off"}, seconds=20),
        pinlab.decode("7400000000000001"),
    ]

    assert [] == [answer for answer in answers if len(repr(answer)) > 160]
    assert "<table>" in pinlab.run(SMALL)._repr_html_()
    assert "<table>" in pinlab.compare(SMALL, ["tables-low"])._repr_html_()


@pytest.mark.parametrize(
    ("ask", "complaint"),
    [
        (lambda: pinlab.run("dom0-2012"), "did you mean dom0-2011"),
        (lambda: pinlab.run(SMALL, settings={"guest.rom": 1}), "unknown key guest.rom"),
        (lambda: pinlab.load("R1"), "a race is no scenario"),
        (lambda: pinlab.run("R1", "reserve-hook"), "a race has no strategy"),
        (lambda: pinlab.odds("R1", settings={"vcpu": 3}), "vcpu"),
        (lambda: pinlab.compare(SMALL, ["nope"]), "no strategy 'nope'"),
        (lambda: pinlab.run(SMALL, log="x.csv"), "cannot write a log"),
        (pinlab.decode, "nothing to decode"),
    ],
)
def test_mistake_is_an_input_error_of_one_line(ask: Callable[[], object], complaint: str) -> None:
    """As the command would tell it."""
    with pytest.raises(pinlab.InputError, match=complaint) as raised:
        ask()

    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_docstring_shows_the_use(function: Callable[..., object]) -> None:
    """Its examples are Python, and call it."""
    text = (inspect.getdoc(function) or "").partition("Raises:")[0]
    shown = [line for line in text.splitlines() if line.startswith("    ")]
    code = ast.parse(textwrap.dedent("\n".join(shown)))

    calls = [node.func for node in ast.walk(code) if isinstance(node, ast.Call)]
    assert function.__name__ in {call.attr for call in calls if isinstance(call, ast.Attribute)}


@pytest.mark.parametrize("package", ["models", "experiments", "sim"])
@pytest.mark.parametrize("inside", ["__init__.py", "notes.txt"])
def test_folder_that_hides_a_package_is_named(package: str, inside: str, tmp_path: Path) -> None:
    """Which one, and what to do; with ``-P`` the same script works."""
    (tmp_path / package).mkdir()
    (tmp_path / package / inside).touch()
    script = tmp_path / "script.py"
    script.write_text("import pinlab; print(pinlab.load('guest-512M').name)")

    def started(*flags: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *flags, str(script)]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)

    if inside == "__init__.py":
        refused = started()
        assert refused.returncode
        assert f"{tmp_path / package} hides PinLab's package '{package}'" in refused.stderr
    else:
        assert "guest-512M\n" == started().stdout  # no package: a plain folder hides nothing
    assert "guest-512M\n" == started("-P").stdout
