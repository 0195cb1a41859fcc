"""All races there are, by their names: R are the kernel's, X the hypervisor's.

A module of this room whose name begins with the race's id (``r01_``, ``x02_``) is found by that.
"""

import re
from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules

from models.races import catalogue
from models.races.race import Race

_NAME = re.compile(r"[rx]\d\d_\w+")


def _races() -> Iterator[Race]:
    for module in sorted(info.name for info in iter_modules(catalogue.__path__)):
        if _NAME.fullmatch(module):
            race: Race = import_module(f"{catalogue.__name__}.{module}").RACE
            yield race


RACES: dict[str, Race] = {race.id: race for race in _races()}


def find_race(name: str) -> Race | None:
    """A race by its id, in either case; None if there is none."""
    return RACES.get(name.upper())
