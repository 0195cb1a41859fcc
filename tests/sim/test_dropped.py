"""A forgotten `yield from` is found in the text of a module."""

import ast

import pytest

from sim.dropped import Dropped, Returns, dropped
from tests.test_tidy import SOURCES

_ROOMS = ("models/strategies", "models/linux/boot")
LIBRARY = """
def pin(page) -> Activity: ...
def note(page) -> Iterable[Note]: ...
def warn(page) -> None: ...
class Guest:
    finish: Callable[[int], Activity]
    def store(self, va) -> "Activity": ...
    def same(self) -> Activity: ...
class Other:
    def same(self) -> None: ...
"""


@pytest.mark.parametrize(
    ("statement", "call"),
    [
        ("pin(1)", "pin"),
        ("note(1)", "note"),
        ("guest.store(1)", "guest.store"),
        ("self.guest.finish(1)", "self.guest.finish"),
        ("yield from pin(1)", None),
        ("yield pin(1)", None),
        ("made = pin(1)", None),
        ("return pin(1)", None),
        ("warn(1)", None),
        ("guest.same()", None),
        ("print(pin(1))", None),
    ],
)
def test_only_what_is_neither_yielded_nor_kept_is_dropped(statement: str, call: str | None) -> None:
    """By its line, and as it is written; what has two meanings is passed over."""
    module = ast.parse(f"def mine(guest) -> Activity:\n    yield STEP\n    {statement}\n")

    found = dropped(module, Returns([ast.parse(LIBRARY)]))

    assert ([] if call is None else [Dropped(3, call)]) == found


def test_nearly_every_forgotten_yield_from_of_a_boot_is_found() -> None:
    """Each one of the walks and strategies, left out in turn; some parameters have no type."""
    modules = [
        module for path, module in SOURCES.items() if any(room in str(path) for room in _ROOMS)
    ]
    known = Returns(modules)
    forgotten, missed = 0, set()
    for module in modules:
        for node in ast.walk(module):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.YieldFrom):
                kept = node.value
                if isinstance(kept.value, ast.Call):
                    forgotten += 1
                    node.value = kept.value
                    if not dropped(module, known):
                        missed.add(ast.unparse(kept.value.func))
                    node.value = kept

    assert forgotten > 100
    assert missed <= {"fill", "map_region", "store_each"}
