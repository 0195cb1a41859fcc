"""What a script names a scenario by, and the values it may give."""

import os
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, TypeAlias

from experiments.errors import InputError
from experiments.scenario import scenario as files
from experiments.subjects.kinds import scenario_of
from experiments.subjects.names import names_race

Source: TypeAlias = "str | os.PathLike[str] | Mapping[str, Any] | Scenario"
"""A shipped name, a path, a dictionary as a file's, or a scenario."""

Settings: TypeAlias = Mapping[str, Any] | Iterable[str]
"""Changes of keys: ``{"guest.ram": "4GiB"}`` or ``["guest.ram=4GiB"]``."""


@dataclass(frozen=True, repr=False)
class Scenario:
    """A checked scenario; made by :func:`load`."""

    document: Mapping[str, Any]
    """What a file of it would say; not to be changed (see :meth:`changed`)."""
    checked: files.Scenario
    """The same as typed values: ``scenario.checked.guest.ram`` is in bytes."""

    @property
    def name(self) -> str:
        """Its name."""
        return self.checked.name

    def changed(self, settings: Settings) -> "Scenario":
        """Another one, with these keys changed; this one stays as it is.

            big = pinlab.load("guest-2G").changed({"guest.ram": "4GiB"})

        Raises:
            InputError: a key or a value that no scenario has.
        """
        return load(self, settings)

    def __repr__(self) -> str:
        guest = self.checked.guest
        return f"<Scenario {self.name}: {self.checked.workload.kind}, {guest.strategy}>"


def load(source: Source, settings: Settings = ()) -> Scenario:
    """A scenario, checked.

        pinlab.load("dom0-2011")
        pinlab.load("machines/mine.toml", {"guest.ram": "4GiB"})
        pinlab.load({"guest": {"ram": "96MiB", "kernel_end": "44MiB"}})

    Numbers may be numpy's, and sequences tuples or ranges. A dictionary is not changed.

    Raises:
        InputError: there is none of this name, or something is wrong in it.
    """
    document = document_of(source, settings)
    origin = None if isinstance(source, Mapping | Scenario) else os.fspath(source)
    return Scenario(document, scenario_of(document, origin))


def document_of(source: Source, settings: Settings = ()) -> dict[str, Any]:
    """What a file of the scenario would say, after the changes.

    Raises:
        InputError: there is none of this name, or a change is none.
    """
    document: dict[str, Any]
    if isinstance(source, Scenario):
        document = deepcopy(dict(source.document))
    elif isinstance(source, Mapping):
        document = {"name": "scenario"} | plain(source)
    else:
        name = os.fspath(source)
        if names_race(name):
            raise InputError(
                f"{name}: a race is no scenario of a guest; give its name to run, odds or explore"
            )
        document = files.written(name)
    if isinstance(settings, Mapping):
        for key, value in settings.items():
            files.put(document, key, plain(value))
    else:
        for setting in settings:
            files.apply_override(setting, document)
    return document


def as_texts(settings: Settings) -> list[str]:
    """The changes as ``--set`` takes them."""
    if isinstance(settings, Mapping):
        return [f"{key}={plain(value)}" for key, value in settings.items()]
    return list(settings)


def plain(value: Any) -> Any:  # noqa: ANN401 - whatever a script has
    """The value as TOML would give it: numpy's numbers, tuples, ranges and paths made plain."""
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple | range):
        return [plain(part) for part in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):
        return value.tolist()  # a number or an array of numpy's
    return value
