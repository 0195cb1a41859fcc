"""The routines that an activity is in the middle of, as its suspended generators tell."""

from collections.abc import Iterator
from types import GeneratorType
from typing import Any

from sim.effects import Activity, NotAnEffect

_LONGEST = 200


def calls(activity: Activity) -> Iterator["GeneratorType[Any, Any, Any]"]:
    """An activity that is suspended, and those that it has called by ``yield from``."""
    running: object = activity
    while isinstance(running, GeneratorType) and running.gi_frame is not None:
        yield running
        running = running.gi_yieldfrom


def routine_of(running: "GeneratorType[Any, Any, Any]") -> str:
    """The name of a generator's function, with its class; of one inside another, its own."""
    return running.gi_code.co_qualname.rpartition("<locals>.")[2]


def module_of(running: "GeneratorType[Any, Any, Any]") -> str:
    """The module that a suspended generator's function is from."""
    assert running.gi_frame is not None
    name: str = running.gi_frame.f_globals["__name__"]
    return name


def not_an_effect(activity: Activity, yielded: object) -> NotAnEffect:
    """What to raise where an activity has yielded something that is no effect; one line."""
    *_, running = calls(activity)
    what = " ".join(repr(yielded).split())
    if len(what) > _LONGEST:
        what = f"{what[:_LONGEST]}..."
    return NotAnEffect(f"not an effect: {what}, yielded by {routine_of(running)}")
