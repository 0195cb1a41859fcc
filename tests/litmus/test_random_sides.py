"""Sides that nobody recorded: operations of the recorded tests, put together by chance."""

import json
import random
from itertools import islice
from pathlib import Path

import pytest

from experiments.litmus.stage import Stage
from models.xen.checks.invariants import check
from sim.explore.searches.dpor import ClassSearch
from sim.explore.searches.few_switches import explore_few_switches
from sim.explore.searches.random_order import RandomOrder
from tests.litmus.programs import Plain, every_plain, read

_MOST_CLASSES = 300
_DRAWN = 60


def _random_test(rng: random.Random, tests: list[Plain]) -> Plain:
    """A recorded test's start with other sides: operations of any test that fit its frames."""
    test = rng.choice(tests)
    known = test["initial"]["pages"]
    unknown = {mfn for other in tests for mfn in other["initial"]["pages"]} - known.keys()
    operations = [
        operation
        for other in tests
        for operation in (*other["vcpu0"], *other["vcpu1"])
        if not any(mfn in json.dumps(operation) for mfn in unknown)
    ]
    own = test["vcpu0"] + test["vcpu1"]
    sides = [
        [rng.choice(own if rng.random() < 0.5 else operations) for _ in range(rng.randint(1, 2))]
        for _ in range(2)
    ]
    return test | {"vcpu0": sides[0], "vcpu1": sides[1], "outcomes": []}


@pytest.mark.parametrize("block", range(3))
def test_all_classes_are_consistent_and_no_order_comes_to_anything_else(
    tmp_path: Path, block: int
) -> None:
    """No order leaves a count that is wrong or a table that somebody can write."""
    tests = every_plain()
    complete = 0
    for seed in range(10 * block, 10 * block + 10):
        plain = _random_test(random.Random(seed), tests)
        stage = Stage(read(tmp_path, plain))
        search = ClassSearch(stage.program)
        outcomes: set[object] = set()
        for execution in islice(search, _MOST_CLASSES):
            outcomes.add(stage.outcome(execution))
            assert execution.failure is None, (plain["vcpu0"], plain["vcpu1"])
            assert not execution.deadlock
            check(stage.xen)
        if not search.position.over:
            continue
        complete += 1
        few = explore_few_switches(stage.program, 2)
        others = {stage.outcome(execution) for execution in islice(few, _DRAWN)}
        others |= {stage.outcome(stage.program.run(RandomOrder(drawn))) for drawn in range(_DRAWN)}
        assert others <= outcomes, (plain["vcpu0"], plain["vcpu1"])
    assert complete > 5
