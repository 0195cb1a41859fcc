"""The strategies that a user can name: PinLab's, those of other packages, and one in a file.

Another package offers its own in the entry-point group ``pinlab.strategies``; a file is named as
``path/to/file.py:name``.
"""

import importlib.util
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.errors import InputError, offer
from experiments.scenario.strategy_checks import check_strategy_file
from models.linux.boot.strategy import Strategy
from models.strategies import catalogue

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "pinlab.strategies"


def strategy_names() -> list[str]:
    """PinLab's own in the order of their history, then those of other packages."""
    return [*catalogue.strategy_names(), *sorted(_offered())]


def resolve(name: str | Strategy) -> Strategy:
    """The strategy of this name, or in this file; one that is there already is itself.

    Raises:
        InputError: there is none, or what is there is no strategy.
    """
    if isinstance(name, Strategy):
        return name
    if name in catalogue.strategy_names():
        return catalogue.find_strategy(name)
    offered = _offered().get(name)
    if offered is not None:
        strategy = _as_strategy(_loaded(offered), f"entry point {name} ({offered.value})")
        file = source_file(name)
        if file is not None:
            check_strategy_file(file)
        return strategy
    path, colon, attribute = name.rpartition(":")
    if colon and path.endswith(".py"):
        return _from_file(Path(path), attribute)
    raise InputError(f"no strategy {name!r}; {offer(name, strategy_names())}")


def source_file(name: str) -> Path | None:
    """The file that a strategy's code stands in, if it is none of PinLab's own."""
    if name in catalogue.strategy_names():
        return None
    offered = _offered().get(name)
    if offered is None:
        return Path(name.rpartition(":")[0])
    spec = importlib.util.find_spec(offered.module)
    return None if spec is None or spec.origin is None else Path(spec.origin)


@cache
def _offered() -> dict[str, "EntryPoint"]:
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=GROUP)}


def _loaded(point: "EntryPoint") -> object:
    try:
        loaded: object = point.load()
    except Exception as error:
        raise InputError(
            f"entry point {point.name} ({point.value}) cannot be loaded: {error!r}"
        ) from error
    return loaded


@cache
def _from_file(path: Path, attribute: str) -> Strategy:
    """Run a file, once, and take a strategy from it."""
    spec = importlib.util.spec_from_file_location(f"pinlab_strategy_{path.stem}", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise InputError(f"{path}: there is no such file")
    check_strategy_file(path)
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up there.
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InputError(f"{path}: cannot be run: {error!r}") from error
    if not hasattr(module, attribute):
        found = [name for name, value in vars(module).items() if isinstance(value, Strategy)]
        raise InputError(
            f"{path}: defines no {attribute!r}; its strategies are {', '.join(found) or 'none'}"
        )
    return _as_strategy(getattr(module, attribute), f"{path}:{attribute}")


def _as_strategy(value: object, where: str) -> Strategy:
    if not isinstance(value, Strategy):
        raise InputError(f"{where} is no Strategy but {type(value).__name__}")
    return value
