"""Where a vCPU is in its program: the routines that it is in the middle of."""

from typing import NamedTuple

from sim.explore.cpu import Cpu
from sim.routines import calls, module_of, routine_of


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
            Routine(module_of(running), routine_of(running), hypervisor)
            for running in calls(activity)
        ]
    return Place(cpu.number, tuple(routines))
