"""Every interleaving of a small program, one after the other.

Generators cannot be copied, so an execution is begun anew for every path: the prefix of
choices is repeated, then the first untried choice is taken. Plain enumeration, for programs of
a few steps and as the measure of searches that try fewer orders.
"""

from collections.abc import Callable, Iterator, Sequence

from sim.effects import Activity
from sim.explore.schedule import CannotExplore, Execution, execute


def explore(build: Callable[[], Sequence[Activity]]) -> Iterator[Execution]:
    """Run every interleaving of the activities that ``build`` makes, each from a fresh world.

    Raises:
        CannotExplore: something outside the effects decides the program, or it sends
            interrupts.
    """
    path: list[tuple[int, int]] = []  # (alternative taken, how many there were)
    while True:
        yield _follow(build(), path)
        while path and path[-1][0] + 1 == path[-1][1]:
            path.pop()
        if not path:
            return
        taken, alternatives = path[-1]
        path[-1] = (taken + 1, alternatives)


def _follow(activities: Sequence[Activity], path: list[tuple[int, int]]) -> Execution:
    """Follow the path, extend it by first alternatives, and tell what happened."""
    decided = 0

    def decide(alternatives: int) -> int:
        nonlocal decided
        if decided == len(path):
            path.append((0, alternatives))
        taken, expected = path[decided]
        if expected != alternatives:
            raise CannotExplore(
                f"decision {decided} offered {expected} alternatives before and {alternatives} "
                "now: something outside the effects decides this program"
            )
        decided += 1
        return taken

    execution = execute(activities, decide)
    if decided < len(path):
        raise CannotExplore(
            f"the program ended after {decided} of {len(path)} known decisions: something outside "
            "the effects decides it"
        )
    return execution
