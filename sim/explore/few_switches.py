"""Every order in which a CPU is taken off while it could go on no more than a few times.

Most races need one or two such switches, and their number of orders grows with the length of
the program only to that power. Source: Musuvathi and Qadeer, Iterative Context Bounding for
Systematic Testing of Multithreaded Programs (PLDI 2007).
"""

from collections.abc import Callable, Iterator, Sequence

from sim.effects import Activity
from sim.explore.paths import every_path
from sim.explore.schedule import Decide, Execution, execute


def explore_few_switches(
    build: Callable[[], Sequence[Activity]], switches: int
) -> Iterator[Execution]:
    """Run each order with at most so many switches away from a CPU that could go on.

    ``build`` makes the activities, each time from a fresh world. The hypervisor is not preempted
    at its own checks; every other choice is tried both ways.

    Raises:
        CannotExplore: something outside the effects decides the program.
    """
    return every_path(lambda decide: _execute(build(), decide, switches))


def _execute(activities: Sequence[Activity], decide: Decide, switches: int) -> Execution:
    left = switches
    current = -1

    def pick(ready: Sequence[int]) -> int:
        nonlocal left, current
        goes_on = current in ready
        if goes_on and not left:
            return current
        order = [current, *(cpu for cpu in ready if cpu != current)] if goes_on else list(ready)
        chosen = order[decide(len(order))] if len(order) > 1 else order[0]
        left -= goes_on and chosen != current
        current = chosen
        return chosen

    return execute(activities, decide, pick=pick, preempts=False)
