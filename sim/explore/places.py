"""Where a vCPU is in its program: the routines that it is in the middle of."""

from collections.abc import Iterator
from types import CodeType, GeneratorType
from typing import Any, NamedTuple

from sim.effects import Activity
from sim.explore.cpu import Cpu


class Routine(NamedTuple):
    """A generator function that has been called and has not ended."""

    module: str
    name: str
    """With the class that it belongs to, if any."""
    hypervisor: bool

    def __str__(self) -> str:
        return self.name


class Place(NamedTuple):
    """All of them, the outermost first."""

    vcpu: int
    routines: tuple[Routine, ...]

    @property
    def hypervisor(self) -> bool:
        """Does the vCPU run in the hypervisor?"""
        return bool(self.routines) and self.routines[-1].hypervisor

    @property
    def routine(self) -> str:
        """The innermost routine's name."""
        return self.routines[-1].name if self.routines else ""


def place_of(cpu: Cpu) -> Place:
    """Where a vCPU is that stands before a visible step."""
    routines: list[Routine] = []
    hypervisor = False
    for activity in cpu.stack:
        hypervisor = hypervisor or activity in cpu.traps
        routines += [
            Routine(running.gi_frame.f_globals["__name__"], _name(running.gi_code), hypervisor)
            for running in calls(activity)
        ]
    return Place(cpu.number, tuple(routines))


def calls(activity: Activity) -> Iterator["GeneratorType[Any, Any, Any]"]:
    """An activity that is suspended, and those that it has called by ``yield from``."""
    running: object = activity
    while isinstance(running, GeneratorType) and running.gi_frame is not None:
        yield running
        running = running.gi_yieldfrom


def _name(code: CodeType) -> str:
    """The name of a function, with its class; of one inside another, its own."""
    return code.co_qualname.rpartition("<locals>.")[2]
