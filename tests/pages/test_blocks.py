"""What pages show is what PinLab does: programs run, and commands print what is shown."""

import contextlib
import io
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from experiments.cells import load_sweep
from experiments.cli import app, main
from experiments.scenario.scenario import load, validated
from experiments.subjects.names import names_race
from experiments.subjects.race_settings import race_named, settings_of
from tests.pages.blocks import (
    ROOT,
    Block,
    all_blocks,
    blocks,
    commands,
    exchanges,
    matches,
    pages,
)

SHOWN = [
    pytest.param(block, id=str(block), marks=[pytest.mark.long] if "long" in block.language else [])
    for block in all_blocks("console", "console long")
]
TYPED = [
    pytest.param(command, id=f"{block}: {command}")
    for block in all_blocks("shell")
    for command in commands(block.code)
    if command.startswith("pinlab ")
]
SPOKEN = sorted(
    {
        " ".join(span.split())
        for page in pages()
        for span in re.findall(r"(?<!`)`(pinlab \w[^`]*)`(?!`)", page.read_text(encoding="utf-8"))
        if "COMMAND" not in span
    }
)
SCENARIOS = [block for block in all_blocks("toml") if "[guest]" in block.code]
LANGUAGES = {"python", "console", "console long", "shell", "toml", "text", "json"}


@pytest.mark.parametrize("block", all_blocks("python"), ids=str)
def test_program_of_a_page_runs(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And prints what the page says; a fragment is Python, and says why it is none by itself."""
    code = compile(block.code, str(block), "exec")
    if block.is_fragment:
        return
    monkeypatch.chdir(tmp_path)
    output = io.StringIO()

    with contextlib.redirect_stdout(output):
        exec(code, {"__name__": "page"})  # noqa: S102

    assert block.prints in (None, output.getvalue())


@pytest.mark.parametrize("block", SHOWN)
def test_command_of_a_page_prints_what_is_shown(
    block: Block, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a line ``...`` stands for any lines."""
    monkeypatch.chdir(ROOT)
    for command, told in exchanges(block.code):
        program, *arguments = shlex.split(command)
        assert "pinlab" == program

        main(arguments)

        printed = capsys.readouterr().out
        assert matches(told, printed), f"{block}: {command} prints\n{printed}"


@pytest.mark.parametrize("command", TYPED)
def test_command_of_a_page_can_be_given(command: str) -> None:
    """Its options exist, and so do the keys that it sets of what comes with PinLab."""
    parsed, bound, *_ = app.parse_args(shlex.split(command)[1:], print_error=False)
    source = bound.arguments.get("scenario", bound.arguments.get("race", ""))
    settings = bound.arguments.get("settings", ())

    assert callable(parsed)
    if names_race(source) or "race" in bound.arguments:
        assert settings_of(race_named(source), settings).profile
    elif source and "/" not in source and not source.endswith(".toml"):
        assert load(source, settings).name


@pytest.mark.parametrize("command", SPOKEN)
def test_command_in_a_sentence_exists(command: str) -> None:
    """With the options that it is given; what else it takes may be left out there."""
    name, *words = shlex.split(command)[1:]
    arguments = app[name].assemble_argument_collection()

    known = {option for argument in arguments for option in argument.names}
    assert {word for word in words if word.startswith("--")} <= known


@pytest.mark.parametrize("block", SCENARIOS, ids=str)
def test_scenario_of_a_page_is_one(block: Block) -> None:
    """Or a sweep over several."""
    document = tomllib.loads(block.code)

    read = load_sweep(document) if "sweep" in document else validated(document)
    assert document["name"] == read.name


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_blocks_of_a_page_say_what_they_are(page: Path) -> None:
    """By a language that promises something, so that none is left unread by accident."""
    fences = re.findall(r"^```(.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    opened = [fence for fence in fences[::2] if not fence.startswith("{toctree}")]

    assert set(opened) <= LANGUAGES
    assert len(opened) == sum(1 for _ in blocks(page))


def test_dots_stand_for_lines_and_all_else_for_itself() -> None:
    """A line that differs is seen, and so is one that is missing."""
    assert matches("a\n...\nd.\n", "a\nb\nc\nd.\n")
    assert matches("a\n...\n", "a\n")
    assert not matches("a\n...\nd.\n", "a\nb\nd!\n")
    assert not matches("a\n", "a\nb\n")
