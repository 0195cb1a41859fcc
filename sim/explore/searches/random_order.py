"""Orders drawn at random: at every step each vCPU that can go on is as likely as the others.

Guarantee: every order has a probability above zero. They are not alike: the sooner a vCPU ends in
an order, the fewer choices are left and the more probable it is.

Source: Thomson, Donaldson and Betts, Concurrency Testing Using Schedule Bounding (PPoPP 2014),
where it does no worse than bounded search.
"""

import random
from collections.abc import Sequence


class RandomOrder:
    """A scheduler that draws every answer; the same seed gives the same order."""

    def __init__(self, seed: int | str) -> None:
        self._random = random.Random(seed)

    def pick(self, ready: Sequence[int]) -> int:
        """Any of them."""
        return ready[self._random.randrange(len(ready))]

    def choose(self, name: str, alternatives: int) -> int:  # noqa: ARG002 - a scheduler's signature
        """Any of them."""
        return self._random.randrange(alternatives)
