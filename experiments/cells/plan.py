"""What a sweep consists of: its cells, each a checked scenario under a strategy, and their keys.

A cell's key is a hash of all that can influence its record. Whoever has a record under the key
need not run the cell.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping
from copy import deepcopy
from itertools import chain, product
from pathlib import Path
from typing import Any

import msgspec

from experiments.cells.axes import Axis, Section, read_section
from experiments.code_version import code_version, strategy_version
from experiments.errors import InputError
from experiments.scenario.quantities import as_written
from experiments.scenario.scenario import (
    Scenario,
    parsed,
    put,
    read_text,
    scenario_hash,
    validated,
)

MOST_CELLS = 1_000_000
SHIPPED = "experiments.sweeps"

Settings = dict[str, Any]


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a sweep."""

    number: int
    """From 1, in the order of the plan."""
    settings: Settings
    """Values by dotted key, as a scenario file has them; without seed and replication."""
    scenario: Scenario
    seed: int
    replication: int
    key: str
    """32 hex digits."""

    def __str__(self) -> str:
        told = [f"{key} = {as_written(value)}" for key, value in self.settings.items()]
        told.append(f"replication {self.replication}")
        return f"cell {self.number} ({', '.join(told)})"


class Sweep(msgspec.Struct, frozen=True, kw_only=True):
    """A checked sweep. Every cell can be asked for its scenario; none has been run."""

    name: str
    origin: str
    """The file, for messages."""
    text: str
    """What the file says."""
    axes: tuple[Axis, ...]
    replications: int
    seed: int
    code: str
    """The version of the code that the keys hold for."""
    cells: tuple[Cell, ...]


def load_sweep(source: str | Path | Mapping[str, Any], *, seed: int | None = None) -> Sweep:
    """The sweep ``source``: a path, the name of a shipped one, or the document itself.

    ``seed`` goes before the one in the file. Every cell's scenario is checked.

    Raises:
        InputError: something is wrong with the file, or with a cell, which is named.
    """
    if isinstance(source, Mapping):
        origin, document = "sweep", deepcopy(dict(source))
        text = msgspec.json.format(msgspec.json.encode(document)).decode()
    else:
        origin, text = read_text(str(source), SHIPPED, what="sweep")
        document = parsed(text, origin)
    document.setdefault("name", Path(origin).stem)
    try:
        section = read_section(document.pop("sweep", None), seed)
        cells = tuple(_cells(document, section))
    except InputError as error:
        raise InputError(f"{origin}: {error}") from error
    return Sweep(
        name=str(document["name"]),
        origin=origin,
        text=text,
        axes=section.axes,
        replications=section.replications,
        seed=section.seed,
        code=code_version(),
        cells=cells,
    )


def _cells(document: Mapping[str, Any], section: Section) -> Iterator[Cell]:
    total = math.prod(len(axis.points) for axis in section.axes) * section.replications
    if total > MOST_CELLS:
        raise InputError(f"sweep has {total:,} cells; a sweep has {MOST_CELLS:,} at most")
    keys = [key for axis in section.axes for key in axis.keys]
    number = 0
    for points in product(*(axis.points for axis in section.axes)):
        settings = dict(zip(keys, chain.from_iterable(points), strict=True))
        scenario = _scenario(document, settings, number + 1)
        about = [scenario_hash(scenario), strategy_version(scenario.guest.strategy)]
        for replication in range(section.replications):
            number += 1
            yield Cell(
                number=number,
                settings=settings,
                scenario=scenario,
                seed=section.seed,
                replication=replication,
                key=_key(*about, scenario.guest.strategy, section.seed, replication),
            )


def _scenario(document: Mapping[str, Any], settings: Settings, number: int) -> Scenario:
    own = deepcopy(dict(document))
    try:
        for key, value in settings.items():
            put(own, key, deepcopy(value))
        return validated(own)
    except InputError as error:
        told = ", ".join(f"{key} = {as_written(value)}" for key, value in settings.items())
        raise InputError(f"cell {number} ({told}): {error}" if told else str(error)) from error


def _key(*parts: object) -> str:
    canonical = msgspec.json.encode([*parts, code_version()])
    return hashlib.sha256(canonical).hexdigest()[:32]
