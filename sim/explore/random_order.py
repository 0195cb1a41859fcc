"""Orders drawn at random: at every step each vCPU that can go on is as likely as the others."""

import random
from collections.abc import Sequence


class RandomOrder:
    """A scheduler that draws every answer; the same seed gives the same order."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def pick(self, ready: Sequence[int]) -> int:
        """Any of them."""
        return ready[self._random.randrange(len(ready))]

    def choose(self, name: str, alternatives: int) -> int:  # noqa: ARG002 - a scheduler's signature
        """Any of them."""
        return self._random.randrange(alternatives)
