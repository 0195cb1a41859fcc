"""Litmus tests of the recorded file, as plain data that tests can change."""

import gzip
import json
from pathlib import Path
from typing import Any

from experiments.litmus.recorded import LitmusTest, load_tests
from tests.litmus.test_recorded_outcomes import DATA

Plain = dict[str, Any]


def plain(name: str) -> Plain:
    """A recorded test as the file has it."""
    file = json.loads(gzip.decompress(DATA.read_bytes()))
    found: Plain = next(test for test in file["tests"] if test["name"] == name)
    return found


def written(folder: Path, *tests: Plain) -> Path:
    """A file of tests."""
    path = folder / "litmus.json"
    path.write_text(json.dumps({"schema": "pinlab.litmus/1", "tests": tests}))
    return path


def read(folder: Path, test: Plain) -> LitmusTest:
    """A test that was written to a file and read again."""
    (found,) = load_tests(written(folder, test))
    return found
