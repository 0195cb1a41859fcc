"""Where a vCPU is in its program before each of its steps."""

from sim.effects import STEP, Activity, Spend, Trap
from sim.explore.cpu import Cpu
from sim.explore.execution import InTurn
from sim.explore.places import Place, place_of
from sim.explore.program import Program


class Guest:
    """Calls by ``yield from``, hands over, and traps."""

    def run(self) -> Activity:
        """Everything that it does."""
        yield STEP
        yield from self.calls()
        yield STEP

    def calls(self) -> Activity:
        """A hypercall, in which an activity is handed to the interpreter."""
        yield Trap(hypercall(), "call")


def hypercall() -> Activity:
    """Runs in the hypervisor."""
    yield STEP
    yield inner()


def inner() -> Activity:
    """As does what it hands over."""
    yield Spend("work")
    yield STEP


def test_place_is_all_routines_from_the_outermost_on() -> None:
    """With the class of a method; those of a trap are the hypervisor's."""
    places: list[Place] = []

    def before(cpu: Cpu) -> None:
        places.append(place_of(cpu))

    Program(lambda: [Guest().run()]).run(InTurn(), before=before)

    assert [
        ["Guest.run"],
        ["Guest.run", "Guest.calls", "hypercall"],
        ["Guest.run", "Guest.calls", "hypercall", "inner"],
        ["Guest.run"],
    ] == [[str(routine) for routine in place.routines] for place in places]
    assert [False, True, True, False] == [place.hypervisor for place in places]
    assert [False, False, True, True] == [each.hypervisor for each in places[2].routines]
    assert {__name__} == {each.module for place in places for each in place.routines}
    assert "inner" == places[2].routine
