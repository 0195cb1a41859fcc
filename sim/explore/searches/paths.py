"""The paths of a search that tries one alternative after the other.

Generators cannot be copied, so an execution is begun anew for every path: the prefix of
choices is repeated, then the first untried choice is taken.
"""

from collections.abc import Callable, Iterator, Sequence

from sim.explore.cpu import CannotExplore
from sim.explore.execution import Execution

Decide = Callable[[int], int]
"""One of so many alternatives, by its number. Called only where there is more than one."""


class Branching:
    """What the schedulers of such searches have in common: every question is left open.

    Who goes on is for each of them to say.
    """

    def __init__(self, decide: Decide) -> None:
        self._decide = decide

    def choose(self, name: str, alternatives: int) -> int:  # noqa: ARG002 - a scheduler's signature
        """Any of them."""
        return self._decide(alternatives)

    def _one_of(self, vcpus: Sequence[int]) -> int:
        """Any of these vCPUs."""
        return vcpus[self._decide(len(vcpus))] if len(vcpus) > 1 else vcpus[0]


def every_path(follow: Callable[[Decide], Execution]) -> Iterator[Execution]:
    """Call ``follow`` once for each path; it asks ``decide`` wherever it can choose.

    Raises:
        CannotExplore: something outside the effects decides the program.
    """
    path: list[tuple[int, int]] = []  # (alternative taken, how many there were)
    while True:
        yield _follow(follow, path)
        while path and path[-1][0] + 1 == path[-1][1]:
            path.pop()
        if not path:
            return
        taken, alternatives = path[-1]
        path[-1] = (taken + 1, alternatives)


def _follow(follow: Callable[[Decide], Execution], path: list[tuple[int, int]]) -> Execution:
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

    execution = follow(decide)
    if decided < len(path):
        raise CannotExplore(
            f"the program ended after {decided} of {len(path)} known decisions: something outside "
            "the effects decides it"
        )
    return execution
