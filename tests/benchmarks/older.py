"""Modules by their names of today in checkouts from before the rooms were cut as they are.

A driver that runs in both of two checkouts imports this first.
"""

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

_BEFORE = {
    "experiments.scenario.scenario": "experiments.scenario",
    "experiments.subjects.kinds": "experiments.runner",
    "experiments.subjects.race_settings": "experiments.race_settings",
    "experiments.subjects.trial": "experiments.race_trials",
    "models.linux.boot.guest": "models.linux.guest",
    "models.linux.start_state.p2m": "models.linux.p2m",
    "sim.explore.searches.dpor": "sim.explore.dpor",
}


def _is_there(name: str) -> bool:
    try:
        return name in sys.modules or find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _give_names_of_today() -> None:
    for name, before in _BEFORE.items():
        if _is_there(name):
            continue
        room, _, last = name.rpartition(".")
        if not _is_there(room):
            sys.modules[room] = ModuleType(room)
        module = sys.modules[name] = import_module(before)
        setattr(import_module(room), last, module)


_give_names_of_today()
