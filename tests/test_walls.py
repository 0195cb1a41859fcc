"""The wall around the engine that import-linter cannot express in full."""

import ast
import sys
from pathlib import Path

import pytest

import sim

ALLOWED = {"sim", "simpy", "numpy"} | set(sys.stdlib_module_names)
ENGINE = Path(sim.__file__).parent


@pytest.mark.parametrize("path", sorted(ENGINE.rglob("*.py")), ids=lambda p: str(p.name))
def test_engine_imports_nothing_but_simpy_and_numpy(path: Path) -> None:
    """A module of the engine takes the standard library, simpy, numpy and its own kind."""
    imported = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imported.add(node.module.partition(".")[0])

    assert set() == imported - ALLOWED
