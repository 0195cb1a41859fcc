"""Activities that are made and dropped: a forgotten ``yield from``, which Python does not notice.

A generator that nobody runs does nothing, without a word. Here a module's text is looked through
for statements that call something annotated ``-> Activity`` (or to return notes) and leave what it
returns. Functions are known by their names, so a name that somewhere else returns something else is
passed over.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

_YIELDED = {"Activity", "Iterable[Note]", "list[Note]"}
"""What a function returns that is of no use unless it is yielded from."""
_FIELD = re.compile(r"Callable\[.*, Activity\]")


class Dropped(NamedTuple):
    """A statement that does nothing, since the activity that it makes is never run."""

    line: int
    call: str
    """What is called, as it is written."""


class Returns:
    """Which functions of some modules return activities, by their names."""

    def __init__(self, modules: Iterable[ast.Module]) -> None:
        self._makes: dict[str, bool] = {}
        for module in modules:
            self.add(module)

    def add(self, module: ast.Module) -> None:
        """Learn a module's functions and methods too."""
        for name, makes in _definitions(module):
            self._makes[name] = makes and self._makes.get(name, True)

    def makes_activity(self, name: str) -> bool:
        """Does every function of this name return one, and is there any?"""
        return self._makes.get(name, False)


def dropped(module: ast.Module, known: Returns) -> list[Dropped]:
    """The statements of a module that make an activity and drop it, in their order."""
    own = {
        node.name: _is_yielded(node)
        for node in ast.walk(module)
        if isinstance(node, ast.FunctionDef)
    }
    found = []
    for node in ast.walk(module):
        if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Call):
            continue
        called = node.value.func
        if isinstance(called, ast.Name):
            makes = own.get(called.id, known.makes_activity(called.id))
        elif isinstance(called, ast.Attribute):
            makes = known.makes_activity(called.attr)
        else:
            continue
        if makes:
            found.append(Dropped(node.lineno, ast.unparse(called)))
    return sorted(found)


def _definitions(module: ast.Module) -> Iterator[tuple[str, bool]]:
    """Functions of a module, methods of its classes, and fields that hold such functions."""
    bodies = [module.body, *(node.body for node in module.body if isinstance(node, ast.ClassDef))]
    for node in chain.from_iterable(bodies):
        if isinstance(node, ast.FunctionDef):
            yield node.name, _is_yielded(node)
        elif isinstance(node, ast.AnnAssign) and _FIELD.match(ast.unparse(node.annotation)):
            yield ast.unparse(node.target), True


def _is_yielded(function: ast.FunctionDef) -> bool:
    returns = "" if function.returns is None else ast.unparse(function.returns)
    return returns.strip("'\"") in _YIELDED
