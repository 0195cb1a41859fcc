"""Every interleaving of a small program, one after the other.

Plain enumeration, for programs of a few steps and as the measure of searches that try fewer
orders.
"""

from collections.abc import Iterator, Sequence

from sim.explore.execution import Execution
from sim.explore.paths import Decide, every_path
from sim.explore.program import Program


def explore(program: Program) -> Iterator[Execution]:
    """Run every interleaving of a program, each from a fresh world.

    Raises:
        CannotExplore: something outside the effects decides the program, or it sends
            interrupts of the hypervisor's.
    """
    return every_path(lambda decide: program.run(_Any(decide)))


class _Any:
    """Leaves every question open."""

    def __init__(self, decide: Decide) -> None:
        self._decide = decide

    def pick(self, ready: Sequence[int]) -> int:
        return ready[self._decide(len(ready))] if len(ready) > 1 else ready[0]

    def choose(self, name: str, alternatives: int) -> int:  # noqa: ARG002 - a scheduler's signature
        return self._decide(alternatives)
