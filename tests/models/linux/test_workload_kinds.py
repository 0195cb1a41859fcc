"""The words for workloads, and the code behind them."""

from models.linux.run.workloads import driver as workloads
from models.linux.workload_kinds import KERNEL_KINDS, KINDS


def test_each_kind_can_be_run() -> None:
    """A scenario is checked with the words alone."""
    assert set(KINDS) == set(workloads._KINDS)
    assert set(KERNEL_KINDS) <= set(KINDS)
