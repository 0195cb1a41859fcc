"""Whoever imports PinLab has its types: a strategy is checked outside of the project."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.pages.blocks import blocks

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "guides" / "writing-a-strategy.md"
WRONG = "\nunpinned.kernel.no_such_field\nunpinned.name + 1\n"


def checked(file: Path) -> subprocess.CompletedProcess[str]:
    """The file, as `mypy --strict` finds it in a folder of its own."""
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--cache-dir",
        str(file.parents[1] / "mypy"),
        str(file),
    ]
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


@pytest.mark.parametrize("page", ["README.md", "docs/guides/from-python.md"])
def test_script_that_imports_pinlab_is_type_checked(page: str, tmp_path: Path) -> None:
    """The scripts of the pages are right; a field that a record does not have is found."""
    code = "\n".join(b.code for b in blocks(ROOT / page) if b.language == "python")
    file = tmp_path / "script.py"
    file.write_text(code)
    assert "Success: no issues found in 1 source file\n" == checked(file).stdout

    file.write_text(f"{code}\npinlab.run('guest-512M').outcom\npinlab.run(5)\n")
    errors = checked(file).stdout
    assert "[attr-defined]" in errors
    assert "[arg-type]" in errors
