"""Litmus tests of the recorded file, as plain data that tests can change."""

import gzip
import json
from pathlib import Path
from typing import Any

from experiments.litmus.recorded import LitmusTest, load_tests
from tests.litmus.test_recorded_outcomes import DATA

Plain = dict[str, Any]


def every_plain() -> list[Plain]:
    """All recorded tests as the file has them."""
    tests: list[Plain] = json.loads(gzip.decompress(DATA.read_bytes()))["tests"]
    return tests


def plain(name: str) -> Plain:
    """One of them."""
    return next(test for test in every_plain() if test["name"] == name)


def written(folder: Path, *tests: Plain) -> Path:
    """A file of tests."""
    path = folder / "litmus.json"
    path.write_text(json.dumps({"schema": "pinlab.litmus/1", "tests": tests}))
    return path


def read(folder: Path, test: Plain) -> LitmusTest:
    """A test that was written to a file and read again."""
    (found,) = load_tests(written(folder, test))
    return found
