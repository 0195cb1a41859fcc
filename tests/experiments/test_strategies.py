"""Strategies of the user's own: in a file, or offered by another package."""

import re
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from experiments.cli import main
from experiments.errors import InputError
from experiments.scenario import strategies
from experiments.scenario.scenario import load
from experiments.scenario.strategies import resolve
from tests.boots import record_of, run
from tests.pages.blocks import blocks

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "guides" / "writing-a-strategy.md"


def program_of_the_page() -> str:
    """The one that is whole."""
    (code,) = (b.code for b in blocks(PAGE) if b.language == "python" and not b.is_fragment)
    return code


@pytest.fixture
def unpinned(tmp_path: Path) -> str:
    """The strategy that the page writes, in a file as the page says."""
    file = tmp_path / "unpinned.py"
    file.write_text(program_of_the_page())
    return f"{file}:unpinned"


def test_page_takes_about_fifty_lines() -> None:
    """Most of them are what the strategy is made of."""
    assert 55 > program_of_the_page().count("\n")


def test_strategy_of_the_page_does_what_the_page_says(unpinned: str) -> None:
    """It boots, and spares a hypercall for each fresh L1."""
    record = run(load("guest-2G"), unpinned)
    reserved = record_of("guest-2G", "reserve-hook")["counts"]
    counts = record["counts"]

    assert ("ok", "unpinned", 4_112, 0) == (
        record["outcome"],
        record["strategy"],
        counts["traps"],
        counts["pin_l1"],
    )
    assert reserved["traps"] - reserved["pin_l1"] == counts["traps"]
    assert reserved["validated_entries"] == counts["validated_entries"]


def test_strategy_in_a_file_is_compared_with_others(
    unpinned: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under the name that it gives itself."""
    assert 0 == main(
        ["compare", "guest-512M", "--quiet", "--strategies", f"reserve-hook,{unpinned}"]
    )
    overview = capsys.readouterr().out.split("\n\n")[1]
    _, *done = overview.splitlines()
    assert ["reserve-hook", "unpinned"] == [line.split()[0] for line in done]


def test_strategy_of_another_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Listed behind PinLab's own, and named like them."""
    point = EntryPoint("theirs", "models.strategies.tables_high:tables_high", strategies.GROUP)
    monkeypatch.setattr(strategies, "_offered", lambda: {"theirs": point})

    assert "theirs" == strategies.strategy_names()[-1]
    assert "tables-high" == resolve("theirs").name


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("x = 1", "x", "is no Strategy but int"),
        ("x = 1", "y", "defines no 'y'; its strategies are none"),
        ("1 / 0", "x", "cannot be run: ZeroDivisionError"),
        ("def", "x", "cannot be run: SyntaxError"),
    ],
)
def test_file_without_the_strategy(tmp_path: Path, content: str, name: str, message: str) -> None:
    """One line that says what is there instead."""
    file = tmp_path / "mine.py"
    file.write_text(content)

    with pytest.raises(InputError, match=re.escape(message)):
        resolve(f"{file}:{name}")


def test_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2, and nothing is run."""
    assert 2 == main(["run", "guest-512M", "--strategy", "nowhere.py:x"])
    assert "pinlab: nowhere.py: there is no such file\n" == capsys.readouterr().err


def test_package_that_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name and what went wrong."""
    point = EntryPoint("theirs", "no_such_package:x", strategies.GROUP)
    monkeypatch.setattr(strategies, "_offered", lambda: {"theirs": point})

    with pytest.raises(InputError, match=r"entry point theirs .* cannot be loaded"):
        resolve("theirs")


def test_package_is_looked_through_like_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forgotten `yield from` in the module of an entry point."""
    text = (ROOT / "models" / "strategies" / "ro_window.py").read_text()
    edited = text.replace("yield from guest.make", "guest.make")
    assert text != edited
    (tmp_path / "their_window.py").write_text(edited)
    monkeypatch.syspath_prepend(tmp_path)
    point = EntryPoint("theirs", "their_window:ro_window", strategies.GROUP)
    monkeypatch.setattr(strategies, "_offered", lambda: {"theirs": point})

    with pytest.raises(InputError, match=r"their_window\.py:\d+: guest\.make_.* is never run"):
        resolve("theirs")


@pytest.mark.parametrize("name", ["ro_window", "patch_alias", "tables_first", "hook_walk"])
def test_forgotten_yield_from_is_refused(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each of a file's, left out in turn: one line with the place and what would be right."""
    text = (ROOT / "models" / "strategies" / f"{name}.py").read_text()
    lines = text.splitlines(keepends=True)
    places = [
        number for number, line in enumerate(lines) if re.match(r" +yield from \w+[.(]", line)
    ]
    assert places

    for number in places:
        changed = [*lines]
        changed[number] = lines[number].replace("yield from ", "")
        edited = tmp_path / f"without_{number}.py"
        edited.write_text("".join(changed))
        assert 2 == main(["run", "guest-512M", "--strategy", f"{edited}:{name}"])
        told = capsys.readouterr().err
        assert 1 == told.count("\n")
        assert f"{edited}:{number + 1}: " in told
        assert "write: yield from " in told


@pytest.mark.parametrize(
    ("written", "place"),
    [
        ('ASIDE = Spend("pte_write_plian")', "did you mean pte_write_plain?"),
        ('ASIDE = Spend(cost="pte_write_plian")', "did you mean pte_write_plain?"),
        ('PARTS = dict(leaf_cost="mask_lokup")', "no profile has a cost 'mask_lokup'"),
    ],
)
def test_misspelt_cost_is_refused(
    unpinned: str, written: str, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is run, with the nearest name."""
    file = Path(unpinned.rpartition(":")[0])
    file.write_text(f"{file.read_text()}\n{written}\n")

    assert 2 == main(["run", "guest-512M", "--strategy", unpinned])
    told = capsys.readouterr().err
    assert 1 == told.count("\n")
    assert place in told


@pytest.mark.parametrize(
    "command",
    [
        "run guest-512M --strategy",
        "run fork-1 --strategy",
        "run parallel-boot-tiny --strategy",
        "explore parallel-boot --strategy",
        "compare guest-512M --jobs 1 --strategies",
        "compare guest-512M --jobs 2 --strategies",
    ],
)
@pytest.mark.parametrize("yielded", ['("a", "tuple")', "None", "Spend"])
def test_what_is_no_effect_is_refused(
    unpinned: str, yielded: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, which names what was yielded, and where."""
    file = Path(unpinned.rpartition(":")[0])
    text = file.read_text()
    body = "        return self.upper(guest, table, slot, page)\n"
    assert body in text
    file.write_text(
        "from sim.effects import Spend\n"
        + text.replace(body, f"        yield {yielded}\n{body.replace('return', 'yield from')}")
    )

    assert 2 == main([*command.split(), unpinned, "--quiet"])
    told = capsys.readouterr().err
    assert 1 == told.count("\n")
    assert "not an effect" in told
    assert "HookOnly.l1" in told
