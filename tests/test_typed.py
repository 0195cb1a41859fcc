"""Whoever imports PinLab has its types: a strategy is checked outside of the project."""

import subprocess
import sys
from pathlib import Path

from tests.pages.blocks import blocks

PAGE = Path(__file__).parents[1] / "docs" / "guides" / "writing-a-strategy.md"
WRONG = "\nunpinned.kernel.no_such_field\nunpinned.name + 1\n"


def checked(file: Path) -> subprocess.CompletedProcess[str]:
    """The file, as `mypy --strict` finds it in a folder of its own."""
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(file.parent), str(file)]
    return subprocess.run(command, cwd=file.parent, capture_output=True, text=True, check=False)


def test_strategy_from_outside_is_type_checked(tmp_path: Path) -> None:
    """The strategy of the page is right; a field that is not there and a wrong type are found."""
    (code,) = (b.code for b in blocks(PAGE) if b.language == "python" and not b.is_fragment)
    file = tmp_path / "unpinned.py"
    file.write_text(code)
    assert "Success: no issues found in 1 source file\n" == checked(file).stdout

    file.write_text(code + WRONG)
    errors = checked(file).stdout
    assert "[attr-defined]" in errors
    assert "[operator]" in errors
