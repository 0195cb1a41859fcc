"""What two vCPUs of a running Xen 4.17.7 were seen to do, and every order of the model's steps.

``data/recorded.json.gz`` holds the schema ``pinlab.litmus/1``: small two-sided programs, each run
12,000 times or more on two CPUs, and the set of outcomes seen. Each of these must be among those
that the exploration finds, and the exploration must come to its end.
"""

from pathlib import Path

import pytest

from experiments.litmus.recorded import load_tests
from experiments.litmus.report import judge
from experiments.litmus.search import explore

DATA = Path(__file__).parent / "data" / "recorded.json.gz"

TESTS = {test.record.name: test for test in load_tests(DATA)}

# A call that fails in the end holds references for a while, and the other side fails on them.
MADE_OF_STEPS = {
    "clear_page_vs_pin",
    "linear_l4_both_ways",
    "pin_batches_opposite_order",
    "raw_mmu_vs_pin",
    "stale_type_pin_l1_vs_pin_l2",
    "unpin_rw_store_vs_repin",
}


@pytest.mark.parametrize("name", TESTS)
def test_every_recorded_outcome_is_reached(name: str) -> None:
    """Return codes, words, entries, faults and kinds of messages; all classes of orders tried."""
    test = TESTS[name]
    explored = explore(test)
    judged = judge(test, explored)

    assert [] == judged.missing
    assert explored.complete
    assert not any("end" in unobserved["outcome"] for unobserved in judged.unobserved)
    if name in MADE_OF_STEPS:
        assert judged.interleaved, "an order of whole operations gives all of them"
