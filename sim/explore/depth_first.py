"""Every interleaving of a small program, one after the other.

Plain enumeration, for programs of a few steps and as the measure of searches that try fewer
orders.
"""

from collections.abc import Callable, Iterator, Sequence

from sim.effects import Activity
from sim.explore.paths import every_path
from sim.explore.schedule import Execution, execute


def explore(build: Callable[[], Sequence[Activity]]) -> Iterator[Execution]:
    """Run every interleaving of the activities that ``build`` makes, each from a fresh world.

    Raises:
        CannotExplore: something outside the effects decides the program, or it sends
            interrupts.
    """
    return every_path(lambda decide: execute(build(), decide))
