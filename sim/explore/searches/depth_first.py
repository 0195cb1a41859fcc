"""Every interleaving of a small program, one after the other.

Plain enumeration, for programs of a few steps and as the measure of searches that try fewer
orders.
"""

from collections.abc import Iterator, Sequence

from sim.explore.execution import Execution
from sim.explore.program import Program
from sim.explore.searches.paths import Branching, every_path


def explore(program: Program) -> Iterator[Execution]:
    """Run every interleaving of a program, each from a fresh world.

    Raises:
        CannotExplore: something outside the effects decides the program, or it sends
            interrupts of the hypervisor's.
    """
    return every_path(lambda decide: program.run(_Any(decide)))


class _Any(Branching):
    """Leaves open who goes on, too."""

    def pick(self, ready: Sequence[int]) -> int:
        return self._one_of(ready)
