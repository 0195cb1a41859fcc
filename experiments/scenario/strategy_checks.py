"""What can be said of a user's strategy file before it is run: one line for each trap."""

import ast
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from experiments.errors import InputError, offer
from sim.dropped import Returns, dropped

_SEEN_BY_STRATEGIES = ("models.linux.boot", "models.strategies")
_COST_ARGUMENTS = ("leaf_cost",)


@cache
def check_strategy_file(path: Path) -> None:
    """Refuse a file in which an activity is dropped, or a cost is named that no profile has.

    Raises:
        InputError: the file, the line, what is wrong and what would be right.
    """
    try:
        module = ast.parse(path.read_bytes(), str(path))
    except (SyntaxError, ValueError):
        return  # whoever runs the file tells
    known = Returns(_modules_seen())
    known.add(module)
    for line, call in dropped(module, known):
        raise InputError(
            f"{path}:{line}: {call}(...) makes an activity that is never run; "
            f"write: yield from {call}(...)"
        )
    costs = _costs()
    for line, cost in _named_costs(module):
        if cost not in costs:
            raise InputError(f"{path}:{line}: no profile has a cost {cost!r}; {offer(cost, costs)}")


def _named_costs(module: ast.Module) -> Iterator[tuple[int, str]]:
    """Where costs are named in so many words: Spend("…"), leaf_cost="…"."""
    for node in ast.walk(module):
        if not isinstance(node, ast.Call):
            continue
        named = [word.value for word in node.keywords if word.arg in _COST_ARGUMENTS]
        if _name(node.func) == "Spend":
            named += [*node.args[:1], *(word.value for word in node.keywords if word.arg == "cost")]
        for value in named:
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield value.lineno, value.value


def _name(called: ast.expr) -> str:
    if isinstance(called, ast.Attribute):
        return called.attr
    return called.id if isinstance(called, ast.Name) else ""


@cache
def _costs() -> tuple[str, ...]:
    from models.profiles.catalogue import load_profile, profile_names

    return tuple(sorted({cost for name in profile_names() for cost in load_profile(name).costs}))


def _modules_seen() -> Iterator[ast.Module]:
    for package in _SEEN_BY_STRATEGIES:
        spec = find_spec(package)
        assert spec is not None
        for folder in spec.submodule_search_locations or ():
            for path in sorted(Path(folder).rglob("*.py")):
                yield ast.parse(path.read_bytes())
