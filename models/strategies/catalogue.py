"""The strategies that can be named, in the order of their history.

Each stands in a module of its name, which is imported when the strategy is asked for.
"""

from importlib import import_module

from models.linux.boot.strategy import Strategy

_NAMES = (
    "tables-low",
    "tables-high",
    "ro-window",
    "reserve-hook",
    "hook-walk-literal",
    "hook-walk",
    "deferred-ro",
    "deferred-ro-early",
    "alloc-only",
    "publish-free",
    "tables-first",
    "ptwr-fill",
    "shadow",
    "auto-translated",
    "offline-pin",
    "patch-alias",
    "mapped-only-3.10",
    "mapped-only-5.10",
    "mapped-only-6.1",
)


def strategy_names() -> list[str]:
    """The names of all strategies."""
    return list(_NAMES)


def find_strategy(name: str) -> Strategy:
    """The strategy with this name.

    Raises:
        KeyError: there is none.
    """
    if name not in _NAMES:
        raise KeyError(name)
    identifier = name.replace("-", "_").replace(".", "_")
    strategy = getattr(import_module(f"models.strategies.{identifier}"), identifier)
    assert isinstance(strategy, Strategy)
    return strategy
