"""Orders by random priorities: the highest goes on, and a few times it is put behind all others.

A bug has depth d if d orderings "this step of one vCPU only after that step of another" are
enough for it. Where vCPUs wait for each other, d counts the steps before which a vCPU has to be
held back: taking a lock, not what is done under it.

Guarantee: of n vCPUs with together at most k steps, one execution with d - 1 changes of priority
shows any bug of depth d or less with probability 1 / (n k^(d-1)) at least, for d up to 4, if the
bug needs no particular answers to other questions. Those are drawn.

Why: of the d steps to be held back, take the one that no other has to come before. Its vCPU has
the lowest priority at first with probability 1 / n. Each other vCPU is put back right before its
step, behind all that was never put back, and among those in the order in which they must go on.
So d - 1 changes must each fall on the right place. Before the last of all steps a change does
nothing, so there are k - 1 places; but several may fall on one place, one after the other. So
places are counted in selections instead of steps. That makes (k-1) k ... (k+d-3) draws, which is
no more than k^(d-1) for d up to 4.

Source: Burckhardt, Kothari, Musuvathi and Nagarakatte, A Randomized Scheduler with Probabilistic
Guarantees of Finding Bugs (ASPLOS 2010).
"""

import random
from collections.abc import Sequence

from sim.explore.searches.lengths import Lengths

MOST_DEPTH = 4
"""Up to which the guarantee holds; deeper bugs are too improbable to be looked for in this way."""


class Priorities:
    """A scheduler that lets the highest priority go on, and lowers it at some places."""

    def __init__(
        self, order: Sequence[int], changes: Sequence[int], answers: random.Random
    ) -> None:
        """``order``: all vCPUs, the highest first.

        ``changes``: at which selections, counted from 1, who is selected is put back and another
        one is selected. The first of them puts it lowest, the next above that, and so on.
        """
        lowest = len(changes)
        self._priority = {vcpu: lowest + place for place, vcpu in enumerate(reversed(order))}
        self._changes = {selection: priority for priority, selection in enumerate(changes)}
        self._selections = 0
        self._answers = answers

    def pick(self, ready: Sequence[int]) -> int:
        """The highest of those that can go on; who waits is passed over."""
        priority = self._priority
        while True:
            self._selections += 1
            highest = max(ready, key=priority.__getitem__)
            lowered = self._changes.get(self._selections)
            if lowered is None:
                return highest
            priority[highest] = lowered

    def choose(self, name: str, alternatives: int) -> int:  # noqa: ARG002 - a scheduler's signature
        """Any of them."""
        return self._answers.randrange(alternatives)


def draw_priorities(depth: int, lengths: Lengths, seed: str) -> Priorities:
    """A scheduler for bugs of this depth or less; the same seed gives the same order.

    ``lengths`` may be an estimate. The guarantee is about executions that are no longer.

    Raises:
        ValueError: the depth is none of 1 to 4.
    """
    chance = random.Random(seed)
    order = chance.sample(range(lengths.vcpus), lengths.vcpus)
    return Priorities(order, chance.sample(places(depth, lengths.longest), depth - 1), chance)


def places(depth: int, steps: int) -> range:
    """The selections at which priorities may change, of executions with so many steps.

    Raises:
        ValueError: the depth is none of 1 to 4.
    """
    if not 1 <= depth <= MOST_DEPTH:
        raise ValueError(f"depth {depth}: the guarantee holds for 1 to {MOST_DEPTH}")
    return range(1, max(steps, 2) + depth - 2)


def chance_to_find(depth: int, vcpus: int, steps: int) -> float:
    """The probability with which one execution shows a bug of this depth, at least."""
    return float(1 / (max(vcpus, 1) * max(steps, 1) ** (depth - 1)))


def chance_to_miss(depth: int, vcpus: int, steps: int, executions: int) -> float:
    """The probability with which so many executions show no such bug although it is there."""
    return (1 - chance_to_find(depth, vcpus, steps)) ** executions
