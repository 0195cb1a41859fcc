"""The cells of a sweep: how axes are crossed, what a key covers, and which cell is wrong."""

from pathlib import Path
from typing import Any

import pytest

from experiments import code_version
from experiments.cells import Sweep, load_sweep
from experiments.errors import InputError
from experiments.scenario.scenario import load
from tests.experiments.sweep.small import FAULTY, document, toml


def keys(sweep: Sweep) -> list[str]:
    """Of all cells."""
    return [cell.key for cell in sweep.cells]


def test_axes_and_replications_are_crossed() -> None:
    """The first axis changes slowest, replications change fastest."""
    sweep = load_sweep(
        document(
            **{
                "guest.ram": ["96MiB", "128MiB"],
                "zip": [
                    {"machine.xen_build": ["debug", "release"], "machine.xen": ["4.1", "master"]}
                ],
                "replications": 2,
                "seed": 3,
            }
        )
    )

    assert [
        (number, ram, build, xen, replication)
        for number, (ram, (build, xen), replication) in enumerate(
            (
                (ram, both, replication)
                for ram in ("96MiB", "128MiB")
                for both in (("debug", "4.1"), ("release", "master"))
                for replication in (0, 1)
            ),
            start=1,
        )
    ] == [
        (
            cell.number,
            cell.settings["guest.ram"],
            cell.scenario.machine.xen_build,
            cell.scenario.machine.xen,
            cell.replication,
        )
        for cell in sweep.cells
    ]
    assert {3} == {cell.seed for cell in sweep.cells}


def test_hypercube_is_crossed_with_the_other_axes() -> None:
    """Every strategy is tried on the same points."""
    sweep = load_sweep(
        document(
            strategies=["reserve-hook", "ro-window"],
            latin_hypercube={
                "samples": 3,
                "machine.latency.hypercall_null": {"low": "100ns", "high": "200ns"},
            },
        )
    )

    latencies = [cell.scenario.machine.latency["hypercall_null"] for cell in sweep.cells]
    assert 6 == len(latencies)
    assert latencies[:3] == latencies[3:]
    assert 3 == len(set(latencies))


def test_cell_is_the_scenario_that_set_would_make(tmp_path: Path) -> None:
    """Nothing of the sweep is left in it."""
    path = tmp_path / "small.toml"
    path.write_text(toml('guest.ram = ["128MiB"]'))
    alone = tmp_path / "alone.toml"
    alone.write_text(toml("").replace("[sweep]", ""))

    (cell,) = load_sweep(path).cells
    assert load(str(alone), ["guest.ram=128MiB"]) == cell.scenario


def test_keys_differ_by_all_that_can_change_a_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scenario, strategy, replication, seed and code; a name changes nothing."""
    section: dict[str, Any] = {"guest.ram": ["96MiB", "128MiB"], "replications": 2}
    plain = keys(load_sweep(document(**section)))
    renamed = keys(load_sweep(document(**section) | {"name": "other"}))
    monkeypatch.setattr("experiments.cells.plan.code_version", lambda: "edited")
    edited = keys(load_sweep(document(**section)))
    monkeypatch.undo()

    assert plain == renamed
    assert 4 == len(set(plain))
    assert set() == set(plain) & set(edited)
    assert set() == set(plain) & set(keys(load_sweep(document(**section), seed=1)))
    other = document(**section, strategies=["ro-window"])
    assert set() == set(plain) & set(keys(load_sweep(other)))


def test_edited_strategy_of_the_users_own_changes_the_key(tmp_path: Path) -> None:
    """Its file counts as code."""
    path = tmp_path / "faulty.py"
    found = []
    for text in (FAULTY, FAULTY + "# edited\n"):
        path.write_text(text)
        code_version.strategy_version.cache_clear()
        found += keys(load_sweep(document(strategies=[f"{path}:raising"])))

    assert 2 == len(set(found))


def test_code_version_covers_what_a_run_imports() -> None:
    """The engine, the models with their latencies, and the run; no table, no study."""
    names = {name for name, _ in code_version.sources()}

    assert {
        "sim/timed.py",
        "models/xen/calls/mmuext.py",
        "models/profiles/nehalem-2011.toml",
        "experiments.subjects.boot",
        "experiments.record.observer",
        "experiments.scenario.guest",
    } <= names
    assert not {name for name in names if "tables" in name and name.startswith("experiments")}
    assert not {name for name in names if "sweep" in name or "cli" in name}


def test_edited_model_changes_the_code_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One byte in one file is enough."""
    before = code_version.code_version()
    real = list(code_version.sources())
    name, path = next((n, p) for n, p in real if n == "models/xen/calls/mmuext.py")
    edited = tmp_path / "mmuext.py"
    edited.write_bytes(path.read_bytes() + b"\n")
    changed = [(name, edited) if n == name else (n, p) for n, p in real]
    monkeypatch.setattr(code_version, "sources", lambda *_: iter(changed))

    assert before != code_version.code_version.__wrapped__()


@pytest.mark.parametrize(
    ("section", "complaint"),
    [
        (
            {"guest.ram": ["96MiB", "128MB"]},
            'sweep: cell 2 (guest.ram = "128MB"): guest.ram = "128MB" is not a size',
        ),
        (
            {"guest.strategy": ["ro-window"], "guest.rma": ["1GiB"]},
            (
                'cell 1 (guest.strategy = "ro-window", guest.rma = "1GiB"): unknown key '
                "guest.rma; did you mean ram?"
            ),
        ),
        ({"gest.ram": ["1GiB"]}, "unknown key gest; did you mean guest?"),
        ({"strategies": ["ro-widow"]}, "no strategy 'ro-widow'; did you mean ro-window?"),
        ({"machine.latency.hypercall": ["1us"]}, "no cost 'hypercall'"),
        ({"guest.ram.size": ["1GiB"]}, "ram is a value and has no keys in it"),
        ({"guest.ram": ["96MiB", "20MiB"]}, "guest is too small for its kernel"),
        ({"guest.vcpus": [1] * 1001, "machine.pcpus": [1] * 1001}, "sweep has 1,002,001 cells"),
    ],
)
def test_cell_that_cannot_be_is_named(section: dict[str, Any], complaint: str) -> None:
    """Before anything has run."""
    with pytest.raises(InputError) as raised:
        load_sweep(document(**section))

    assert complaint in str(raised.value)


def test_hypercube_beyond_a_profiles_range_is_refused() -> None:
    """A sweep tries what the latency profile allows."""
    ranges = {"machine.latency.hypercall_null": {"low": "1ns", "high": "2ns"}}

    with pytest.raises(InputError, match="is outside what profile nehalem-2011 allows"):
        load_sweep(document(latin_hypercube={"samples": 2} | ranges))


def test_file_that_is_not_there_is_told() -> None:
    """A path, and a name of no shipped sweep."""
    with pytest.raises(InputError, match=r"cannot read sweep no/such\.toml: No such file"):
        load_sweep("no/such.toml")
    with pytest.raises(InputError, match="no shipped sweep 'nothing'"):
        load_sweep("nothing")
