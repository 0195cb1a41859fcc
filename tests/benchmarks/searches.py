"""How many executions a second of CPU each search of orders makes, on one small program."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice

from sim.explore.attempts import Attempt, attempt, attempts, taped
from sim.explore.execution import Execution, Scheduler
from sim.explore.program import Program
from sim.explore.searches import depth_first
from sim.explore.searches.dpor import ClassSearch
from sim.explore.searches.few_switches import explore_few_switches
from sim.explore.searches.lengths import Lengths
from sim.explore.searches.pct import draw_priorities
from sim.explore.searches.random_order import RandomOrder
from sim.explore.searches.random_walk import RandomWalk
from tests.sim.test_dpor import World

VCPUS = 4
PRIVATE_STEPS = 10
_EXECUTIONS = 300
_REPETITIONS = 3
_LENGTHS = Lengths((PRIVATE_STEPS + 2,) * VCPUS, (PRIVATE_STEPS + 2) * VCPUS)

_THROUGH_ALL: dict[str, Callable[[Program], Iterator[Execution]]] = {
    "every order": depth_first.explore,
    "one of each class": lambda program: iter(ClassSearch(program)),
    "few switches": lambda program: explore_few_switches(program, 2),
}
_BY_CHANCE: dict[str, Callable[[str], Scheduler]] = {
    "random order": RandomOrder,
    "uniform walk": lambda seed: RandomWalk(_LENGTHS.steps, seed),
    "priorities": lambda seed: draw_priorities(3, _LENGTHS, seed),
}


def main() -> None:
    """Print the rates, the searches in turn, the best of a few repetitions."""
    seconds: dict[str, float] = {}
    for _ in range(_REPETITIONS):
        for name, begin in _searches().items():
            start = time.process_time()
            made = sum(1 for _ in islice(begin(), _EXECUTIONS))
            took = (time.process_time() - start) / made
            seconds[name] = min(took, seconds.get(name, took))
    for name, each in seconds.items():
        print(
            f"executions of {_LENGTHS.longest} steps, {VCPUS} vCPUs, {name}: "
            f"{1 / each:,.0f}/s of CPU; ratio to every order {seconds['every order'] / each:.2f}"
        )


def _searches() -> dict[str, Callable[[], Iterator[Attempt]]]:
    """Each with its tapes, as a user has them: read and then write one word, unprotected."""
    side = [("read", 1)] * PRIVATE_STEPS + [("read", 0), ("write", 0, 1)]
    program = taped(World([side] * VCPUS).program())

    def through(search: Callable[[Program], Iterator[Execution]]) -> Iterator[Attempt]:
        return attempts("", search(program), program)

    def by_chance(draw: Callable[[str], Scheduler]) -> Iterator[Attempt]:
        return (attempt("", n, draw(f"{n}"), program) for n in range(_EXECUTIONS))

    return {
        **{name: partial(through, search) for name, search in _THROUGH_ALL.items()},
        **{name: partial(by_chance, draw) for name, draw in _BY_CHANCE.items()},
    }


if __name__ == "__main__":
    main()
