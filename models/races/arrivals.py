"""How the attempts of a race arrive: what its odds by time averages rest on.

An actor that pauses for an exponential time between attempts arrives as a Poisson process while it
pauses. If its pauses know nothing of the window, an attempt comes upon it as often as it is open.
What an attempt needs of the window, and what it takes itself, is stated here by race, and
so is why the others have no time average.
"""

from collections.abc import Callable
from dataclasses import dataclass

from models.linux.run.mm import Place, entry_at, find_place
from models.machine.entries import ACCESSED, PRESENT
from models.races.race import Race, Stage
from models.races.stages.fork_and_reclaim import FIRST_PAGE, children
from models.races.verdict import read_only_and_untyped
from sim.estimate.rare_events import Conditions


@dataclass(frozen=True)
class Arrivals:
    """The attempts of a race that can be told from its windows."""

    meets: Callable[[Stage], int]
    """How often an attempt that begins now, and hits if the window outlasts it, does its own work
    until then; 0 if the window is not open, or something else is in its way."""
    takes: str
    """The cost of doing it once, drawn for itself."""
    held_up_by: str
    """The cost of interrupts that hold an attempt up, and its pauses."""
    first: int
    """The vCPUs from this number on make attempts."""
    conditions: Conditions
    because: tuple[str, ...]
    """Why the conditions hold, in words."""


def _stores_until_the_childs(stage: Stage) -> int:
    """Stores of a reclaim that begins now, up to the one to a child's L1 that is in between.

    It writes where the accessed bit is set, in the parent first.
    """
    kernel = stage.kernel
    if kernel.rmap_lock.lock.locked:
        return 0
    for mm in children(stage):
        place = find_place(kernel, mm, FIRST_PAGE << 12)
        if place is None or place.table not in kernel.pinned:
            continue
        if read_only_and_untyped(stage, place.table) and _accessed(stage, place):
            own = find_place(kernel, stage.mms["parent"], FIRST_PAGE << 12)
            assert own is not None
            return 1 + _accessed(stage, own)
    return 0


def _accessed(stage: Stage, place: Place) -> bool:
    entry = entry_at(stage.kernel, *place)
    return bool(entry & PRESENT and entry & ACCESSED)


ARRIVALS = {
    "R1": Arrivals(
        meets=_stores_until_the_childs,
        takes="ptwr_emulation",
        held_up_by="flush_ipi_target",
        first=1,
        conditions=Conditions(poisson_arrivals=True, independent_of_state=True),
        because=(
            "reclaim's pauses are independent draws of one exponential distribution",
            (
                "what an attempt that begins in the window takes is drawn for itself "
                "(ptwr_emulation); flushes that interrupt its CPU meanwhile are taken off"
            ),
            (
                "hits of attempts that began before the window opened, or found another's lock, "
                "are counted and not expected"
            ),
        ),
    ),
}

_IN_STEP = "each attempt and each window begin together: rounds are in step"
_WHY_NOT = {
    "R2": "a store that began before the window opened can fail in it",
    "R3": "an attempt walks all address spaces, which takes as long as a window",
    "R4": "the two exclude each other: an attempt takes the lock that keeps the window open",
    "R5": _IN_STEP,
    "R6": f"{_IN_STEP}, and the interrupt is on its way for longer than the window is open",
    "R8": "the first attempt mostly ends the run",
    "R13": "an open window is not enough: the walk must have begun before the table was unlinked, "
    "a hypercall earlier, and take longer than that",
    "R16": "the window is not seen in the kernel's state",
}


def arrivals_of(race: Race, *, fix: bool, shared: bool) -> tuple[Arrivals | None, str]:
    """What is known of a race's attempts; if nothing holds, None and why.

    ``shared``: vCPUs share pCPUs.
    """
    arrivals = ARRIVALS.get(race.id)
    if arrivals is None:
        return None, _WHY_NOT.get(race.id, "nothing is stated of how its attempts arrive")
    if fix:
        return None, "with the fix attempts wait for the lock that is held while the window is open"
    if shared:
        return None, "vCPUs that share pCPUs make no attempts while they are off theirs"
    return arrivals, ""
