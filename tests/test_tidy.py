"""The project's own state: what is kept twice is made from one source, and nothing is left over."""

import ast
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.profiles.catalogue import load_profile, profile_names
from models.profiles.meanings import MEANINGS
from sim.dropped import Returns, dropped
from tests.pages.blocks import pages
from tests.pages.figures import DRAWINGS, FIGURES
from tests.pages.links import broken_links, broken_mentions, prose
from tests.pages.pages import PAGES, REFERENCE, SCHEMAS
from tests.pages.rooms import PACKAGES, ROOT

SOURCES = {
    path: ast.parse(path.read_bytes())
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_schema_is_what_the_structs_say(name: str) -> None:
    """`make pages` makes it."""
    assert SCHEMAS[name]() == (REFERENCE / f"{name}.schema.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PAGES)
def test_generated_page_is_what_the_code_says(name: str) -> None:
    """Else: make pages."""
    assert PAGES[name]() == (REFERENCE / f"{name}.md").read_text(encoding="utf-8")


def test_every_cost_of_a_profile_has_a_meaning() -> None:
    """And nothing else has: a cost that no profile gives is none."""
    assert set(MEANINGS) == {cost for name in profile_names() for cost in load_profile(name).costs}


@pytest.mark.parametrize("name", FIGURES)
def test_figure_is_what_the_code_draws(name: str) -> None:
    """Else: make pages."""
    assert FIGURES[name]() == (DRAWINGS / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_lines_of_pages_fit_a_hundred_columns(page: Path) -> None:
    """So that they can be read side by side; but for what is printed, and a picture's one line."""
    lines = prose(page).splitlines()

    assert [] == [line for line in lines if len(line) > 100 and not line.startswith("![")]


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_links_of_pages_lead_somewhere(page: Path) -> None:
    """To a file of the project, and to a heading of it."""
    assert [] == list(broken_links(page))


def test_pages_that_sources_name_exist() -> None:
    """By their paths from the top, as in docstrings and in the help of commands."""
    sources = [
        path
        for place in (*PACKAGES, "tests")
        for path in sorted((ROOT / place).rglob("*"))
        if path.suffix in (".py", ".toml")
    ]
    found = {str(path): list(broken_mentions(path)) for path in [ROOT / "Makefile", *sources]}

    assert {} == {path: names for path, names in found.items() if names}


@pytest.mark.parametrize("file", ["requirements.txt", "docs/requirements.txt"])
def test_requirements_are_pinned_and_hashed(file: str) -> None:
    """And name no host that they would have to come from."""
    text = (ROOT / file).read_text(encoding="utf-8")
    pins = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]

    assert pins
    assert [] == [pin for pin in pins if "==" not in pin or not pin.endswith("\\")]
    assert "--hash=sha256:" in text
    assert "://" not in text


def test_citation_is_of_this_version() -> None:
    """And of the licence that the project has."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8").splitlines()

    assert f"version: {project['version']}" in citation
    assert f"license: {project['license']}" in citation


def test_no_activity_is_dropped() -> None:
    """A forgotten `yield from` does nothing, and nobody would notice."""
    known = Returns(SOURCES.values())
    found = {str(path): dropped(module, known) for path, module in SOURCES.items()}

    assert {} == {path: lines for path, lines in found.items() if lines}


NAMED_NOWHERE = {
    "list_": "a command, called by its name for users",
    "require_at_rest": "what tests of a machine at rest hold it to",
    "InTurn": "a scheduler of tests",
    "run_in_order": "the instant interpreter for several CPUs, of which tests make use",
    "ENOENT": "one of the errno values",
}
"""Defined in the packages and named nowhere else in them, and why that is right."""


def test_whatever_is_defined_is_used() -> None:
    """Functions, classes and constants; strategies and races are found by their files."""
    words = Counter(
        word
        for path in SOURCES
        for word in re.findall(r"[A-Za-z_]\w*", path.read_text(encoding="utf-8"))
    )
    found = {
        name
        for path, tree in SOURCES.items()
        if "strategies" not in path.parts
        for name in _defined(tree)
        if words[name] == 1 and not name.startswith("__")
    }

    assert set(NAMED_NOWHERE) == found


def _defined(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                yield name
