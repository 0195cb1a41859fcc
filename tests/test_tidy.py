"""The project's own state: what is kept twice is made from one source, and nothing is left over."""

import ast
from pathlib import Path

import pytest

from models.profiles.catalogue import load_profile, profile_names
from models.profiles.meanings import MEANINGS
from sim.dropped import Returns, dropped
from tests.pages.pages import PAGES, REFERENCE
from tests.pages.rooms import PACKAGES, ROOT

SOURCES = {
    path: ast.parse(path.read_bytes())
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}


@pytest.mark.parametrize("name", PAGES)
def test_generated_page_is_what_the_code_says(name: str) -> None:
    """Else: make pages."""
    assert PAGES[name]() == (REFERENCE / f"{name}.md").read_text(encoding="utf-8")


def test_every_cost_of_a_profile_has_a_meaning() -> None:
    """And nothing else has: a cost that no profile gives is none."""
    assert set(MEANINGS) == {cost for name in profile_names() for cost in load_profile(name).costs}


@pytest.mark.parametrize(
    "path", sorted((ROOT / "docs" / "reference").glob("*.md")), ids=lambda path: path.stem
)
def test_lines_of_reference_pages_fit_a_hundred_columns(path: Path) -> None:
    """So that they can be read side by side."""
    assert [] == [line for line in path.read_text(encoding="utf-8").splitlines() if len(line) > 100]


def test_no_activity_is_dropped() -> None:
    """A forgotten `yield from` does nothing, and nobody would notice."""
    known = Returns(SOURCES.values())
    found = {str(path): dropped(module, known) for path, module in SOURCES.items()}

    assert {} == {path: lines for path, lines in found.items() if lines}
