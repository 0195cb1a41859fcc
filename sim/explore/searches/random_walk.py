"""Orders drawn uniformly, as far as that can be known: who has more steps left goes sooner.

A vCPU with r of R steps left begins the share r / R of all orders of these steps, and with this
probability it is taken. Where each vCPU makes a known number of steps in every execution and
nobody ever waits, each interleaving is therefore exactly as probable as any other. Otherwise,
the numbers are estimates and an interleaving may be any more or less probable. A vCPU that has made
more steps than expected counts as having one left, so that none is ever left out: every
interleaving has a probability above zero.

Source: Zhao, Wolff, Mathur and Roychoudhury, Selectively Uniform Concurrency Testing (ASPLOS 2025),
the algorithm URW.
"""

import random
from collections.abc import Sequence


class RandomWalk:
    """A scheduler that draws every answer; the same seed gives the same order."""

    def __init__(self, steps: Sequence[int], seed: int | str) -> None:
        """``steps``: how many each vCPU is expected to make."""
        self._left = list(steps)
        self._random = random.Random(seed)

    def pick(self, ready: Sequence[int]) -> int:
        """Any of them, in proportion to the steps that it has left."""
        left = self._left
        # In whole numbers, so that uniform means exactly that.
        place = self._random.randrange(sum(max(left[vcpu], 1) for vcpu in ready))
        for vcpu in ready:
            place -= max(left[vcpu], 1)
            if place < 0:
                break
        left[vcpu] -= 1
        return vcpu

    def choose(self, name: str, alternatives: int) -> int:  # noqa: ARG002 - a scheduler's signature
        """Any of them."""
        return self._random.randrange(alternatives)
