"""The project's own state: what is kept twice is made from one source, and nothing is left over."""

import ast
from pathlib import Path

import pytest

from sim.dropped import Returns, dropped
from tests.pages.rooms import PACKAGES, ROOT, rooms_page

SOURCES = {
    path: ast.parse(path.read_bytes())
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}


def test_map_of_the_rooms_is_what_the_modules_say() -> None:
    """Else: make pages."""
    assert rooms_page() == (ROOT / "docs" / "reference" / "rooms.md").read_text(encoding="utf-8")


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
