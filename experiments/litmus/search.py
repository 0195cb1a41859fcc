"""The search through the orders of a litmus test: which outcomes there are, and how to get each.

One order of each class is run (:mod:`sim.explore.searches.dpor`), so what is found is all there is.
Where classes are too many, the search is cut short and others are added that spread better: few
switches, and orders drawn at random.
"""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice, pairwise
from typing import NamedTuple

from experiments.litmus.outcome import Outcome
from experiments.litmus.recorded import LitmusTest
from experiments.litmus.stage import Stage
from sim.explore.execution import Execution
from sim.explore.searches.dpor import ClassSearch
from sim.explore.searches.few_switches import explore_few_switches
from sim.explore.searches.paths import Branching, Decide, every_path
from sim.explore.searches.random_order import RandomOrder
from sim.tape import Picked, Tape

MOST_CLASSES = 20_000
"""Where there are more, not all of them are tried."""
_MOST_WHOLE = 5_000
_SWITCHES = 2
_SAMPLED = 2_000
"""Orders of each other search, where not all classes are tried."""


class Explored(NamedTuple):
    """What a test can come to."""

    outcomes: Mapping[Outcome, Tape]
    """Each with the shortest of the tapes that lead there, among those with the fewest switches."""
    whole: frozenset[Outcome]
    """Those that an order of whole operations gives; their tapes hold such an order."""
    orders: int
    """How many were tried, one of each class."""
    complete: bool
    """These are all classes: no other order comes to anything else."""


def explore(test: LitmusTest, *, most: int = MOST_CLASSES, seed: int = 0) -> Explored:
    """Try one order of each class, or ``most`` of them and as many others as seem worth while.

    Raises:
        SetupFailed: something before the start of the two sides is refused.
    """
    found = _Found(Stage(test))
    found.take(islice(_whole_operations(found.stage), _MOST_WHOLE))
    whole = dict(found.tapes)
    search = ClassSearch(found.stage.program)
    found.take(islice(search, most))
    orders = search.position.classes
    if not search.position.over:
        orders += found.take(_others(found.stage, seed))
    return Explored(found.tapes | whole, frozenset(whole), orders, search.position.over)


def with_fewer_switches(
    test: LitmusTest, explored: Explored, outcomes: Iterable[Outcome]
) -> Explored:
    """The same, looking for easier ways to some of the outcomes."""
    wanted = [outcome for outcome in outcomes if outcome not in explored.whole]
    missing = set(wanted)
    found = _Found(Stage(test))
    for switches in range(_SWITCHES + 1):
        if not missing:
            break
        found.take(islice(explore_few_switches(found.stage.program, switches), _SAMPLED))
        missing -= found.tapes.keys()
    easier = {
        outcome: min(
            (tapes[outcome] for tapes in (explored.outcomes, found.tapes) if outcome in tapes),
            key=_length,
        )
        for outcome in wanted
    }
    return explored._replace(outcomes={**explored.outcomes, **easier})


class _Found:
    """The outcomes so far, and a tape to each."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.tapes: dict[Outcome, Tape] = {}

    def take(self, executions: Iterable[Execution]) -> int:
        """Look at what they have come to; how many they were."""
        number = 0
        for execution in executions:
            number += 1
            outcome = self.stage.outcome(execution)
            tape = self.stage.program.tape
            known = self.tapes.get(outcome)
            if known is None or _length(tape) < _length(known):
                self.tapes[outcome] = tape
        return number


def switches_of(tape: Tape) -> int:
    """How often a vCPU was left that could have gone on."""
    picked = [entry for entry in tape.entries if isinstance(entry, Picked)]
    return sum(
        one.vcpu != other.vcpu and one.vcpu in other.ready for one, other in pairwise(picked)
    )


def _length(tape: Tape) -> tuple[int, int, tuple[int, ...]]:
    return switches_of(tape), len(tape.entries), tape.schedule


def _others(stage: Stage, seed: int) -> Iterator[Execution]:
    yield from islice(explore_few_switches(stage.program, _SWITCHES), _SAMPLED)
    seeds = random.Random(seed)
    for _ in range(_SAMPLED):
        yield stage.program.run(RandomOrder(seeds.getrandbits(64)))


def _whole_operations(stage: Stage) -> Iterator[Execution]:
    """Every order in which no operation is begun before another has ended."""
    return every_path(lambda decide: stage.program.run(_WholeOperations(decide, stage.at)))


class _WholeOperations(Branching):
    """Leaves open who goes on between two operations only."""

    def __init__(self, decide: Decide, at: Sequence[int]) -> None:
        super().__init__(decide)
        self._at = at
        self._current = -1
        self._began = -1
        """The operation that the current vCPU is in."""

    def pick(self, ready: Sequence[int]) -> int:
        if self._current in ready and self._at[self._current] == self._began:
            return self._current
        self._current = self._one_of(ready)
        self._began = self._at[self._current]
        return self._current
