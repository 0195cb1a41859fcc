"""The project's own state: what is kept twice is made from one source, and nothing is left over."""

from pathlib import Path

import pytest

from tests.pages.rooms import ROOT, rooms_page


def test_map_of_the_rooms_is_what_the_modules_say() -> None:
    """Else: make pages."""
    assert rooms_page() == (ROOT / "docs" / "reference" / "rooms.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "path", sorted((ROOT / "docs" / "reference").glob("*.md")), ids=lambda path: path.stem
)
def test_lines_of_reference_pages_fit_a_hundred_columns(path: Path) -> None:
    """So that they can be read side by side."""
    assert [] == [line for line in path.read_text(encoding="utf-8").splitlines() if len(line) > 100]
