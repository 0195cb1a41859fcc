"""Several searches by chance in turn, since none of them is the best for every bug.

The uniform walk is strong on narrow windows, priorities on skewed orders ("all of this before any
of that"). Schedule i depends on the seed and on i alone: any part of the portfolio can be made by
itself, elsewhere or later, and is the same. The first schedules are in random order and tell how
long executions are, which the others have to know; who begins later makes these again first.
"""

from collections.abc import Iterator
from itertools import count

from sim.explore.attempts import Attempt, attempt, taped
from sim.explore.execution import Scheduler
from sim.explore.program import Program
from sim.explore.searches.lengths import Lengths
from sim.explore.searches.pct import draw_priorities
from sim.explore.searches.random_order import RandomOrder
from sim.explore.searches.random_walk import RandomWalk

WALK, RANDOM = "walk", "random"
PCT = {f"pct-{depth}": depth for depth in (1, 2, 3)}
"""Those with a guarantee, and the depth of the bugs that it is about."""
STRATEGIES = (WALK, *PCT, RANDOM)
PILOTS = 16
"""Schedules in random order at the beginning."""


class Portfolio:
    """The schedules of one program and one seed, without an end."""

    def __init__(self, program: Program, seed: int) -> None:
        self._program = taped(program)
        self._seed = seed
        self.lengths = Lengths()
        """What the first schedules have told of the length of executions."""

    def attempts(self, first: int = 0) -> Iterator[Attempt]:
        """All schedules from this one on."""
        self.lengths = Lengths()
        for number in range(PILOTS):
            pilot = attempt(RANDOM, number, RandomOrder(self._name(number)), self._program)
            self.lengths = self.lengths.after(pilot.execution)
            if number >= first:
                yield pilot
        for number in count(max(first, PILOTS)):
            strategy = STRATEGIES[number % len(STRATEGIES)]
            yield attempt(strategy, number, self._scheduler(strategy, number), self._program)

    def _scheduler(self, strategy: str, number: int) -> Scheduler:
        seed = self._name(number)
        if strategy in PCT:
            return draw_priorities(PCT[strategy], self.lengths, seed)
        if strategy == WALK:
            return RandomWalk(self.lengths.steps, seed)
        return RandomOrder(seed)

    def _name(self, number: int) -> str:
        return f"seed {self._seed}, schedule {number}"
