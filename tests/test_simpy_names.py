"""SimPy is used by its public names: none that begins with an underscore is touched anywhere."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import simpy

HERE = Path(__file__).resolve().parents[1]
ROOMS = ("sim", "models", "experiments", "pinlab", "tests")


def attributes(tree: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """Every name that is looked up in an object, or asked for as a string."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.value, node.attr
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("getattr", "setattr", "hasattr", "delattr")
            and len(node.args) > 1
            and isinstance(node.args[1], ast.Constant)
        ):
            yield node.args[0], str(node.args[1].value)


def is_private(name: str) -> bool:
    """Is it for SimPy's own use?"""
    return name.startswith("_") and not name.startswith("__")


def private_names() -> set[str]:
    """What SimPy's own classes call what is theirs."""
    names: set[str] = set()
    for path in Path(simpy.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names |= {name for _, name in attributes(tree) if is_private(name)}
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and is_private(node.name):
                names.add(node.name)
    return names


SIMPYS = private_names()


def touched(source: str) -> list[str]:
    """SimPy's private names in a module: of any object but one's own, or of a subclass's own."""
    tree = ast.parse(source)
    from_simpy = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "simpy"
        for alias in node.names
    }
    heirs = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        and any(
            ast.unparse(base).startswith("simpy.") or ast.unparse(base) in from_simpy
            for base in node.bases
        )
    ]
    found = [
        name
        for value, name in attributes(tree)
        if name in SIMPYS and not (isinstance(value, ast.Name) and value.id in ("self", "cls"))
    ]
    for heir in heirs:
        found += [name for _, name in attributes(heir) if name in SIMPYS]
    found += [name for name in from_simpy if name.startswith("_")]
    return found


def test_simpys_own_names_are_known() -> None:
    """Those that are the easiest to reach for."""
    assert {"_queue", "_eid", "_now", "_ok", "_value", "_defused", "_target"} <= SIMPYS


@pytest.mark.parametrize(
    "source",
    [
        "env._queue",
        "next(simulation.env._eid)",
        "event._ok, event._value = True, None",
        "hasattr(event, '_defused')",
        "import simpy\nclass Env(simpy.Environment):\n def f(self): return self._now",
        "from simpy.events import _describe_frame",
    ],
)
def test_a_private_name_is_found(source: str) -> None:
    """However it is reached."""
    assert touched(source)


@pytest.mark.parametrize(
    "source",
    ["env.now", "event.ok", "class Clock:\n def f(self): return self._now", "clock._hands"],
)
def test_other_names_are_nobodys_business(source: str) -> None:
    """A class of one's own may call its clock what it likes."""
    assert [] == touched(source)


def test_no_module_touches_simpys_own_names() -> None:
    """They may change with any version of SimPy."""
    sources = sorted(path for room in ROOMS for path in (HERE / room).rglob("*.py"))
    found = {str(path): touched(path.read_text(encoding="utf-8")) for path in sources}

    assert len(sources) > 100
    assert {} == {path: names for path, names in found.items() if names}
