"""What follows Xen says which function of Xen's it follows."""

import ast
from pathlib import Path

import pytest

import models.xen

_FILES = sorted(Path(models.xen.__file__).parent.rglob("*.py"))
_OURS = {"told", "store", "store_page", "access", "trap", "load_fault", "invlpg", "flush_tlb"}
"""What the guest does, and what observers are told."""


@pytest.mark.parametrize("path", _FILES, ids=lambda path: path.stem)
def test_activities_name_their_source(path: Path) -> None:
    """File and function, so that a reader can put the two side by side."""
    module = ast.parse(path.read_text())
    unnamed = [
        node.name
        for node in module.body
        if isinstance(node, ast.FunctionDef)
        and ast.unparse(node.returns or ast.Constant("")).endswith("Activity")
        and "Source: " not in (ast.get_docstring(node) or "")
    ]

    assert [] == [name for name in unnamed if name not in _OURS]
