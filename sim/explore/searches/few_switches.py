"""Every order in which a CPU is taken off while it could go on no more than a few times.

Most races need one or two such switches, and their number of orders grows with the length of
the program only to that power.

Guarantee: when the search has ended, every such order was run, and each once. A bug that needs
one switch more is missed: the smallest pin race needs two.

Source: Musuvathi and Qadeer, Iterative Context Bounding for
Systematic Testing of Multithreaded Programs (PLDI 2007).
"""

from collections.abc import Iterator, Sequence

from sim.explore.execution import Execution
from sim.explore.program import Program
from sim.explore.searches.paths import Branching, Decide, every_path


def explore_few_switches(program: Program, switches: int) -> Iterator[Execution]:
    """Run each order with at most so many switches away from a CPU that could go on.

    Every other choice is tried both ways.

    Raises:
        CannotExplore: something outside the effects decides the program.
    """
    return every_path(lambda decide: program.run(_FewSwitches(decide, switches)))


class _FewSwitches(Branching):
    """Leaves open who goes on as long as there are switches left."""

    def __init__(self, decide: Decide, switches: int) -> None:
        super().__init__(decide)
        self._left = switches
        self._current = -1

    def pick(self, ready: Sequence[int]) -> int:
        current = self._current
        goes_on = current in ready
        if goes_on and not self._left:
            return current
        order = [current, *(cpu for cpu in ready if cpu != current)] if goes_on else list(ready)
        chosen = self._one_of(order)
        self._left -= goes_on and chosen != current
        self._current = chosen
        return chosen
