"""Workloads of processes give the counts that a real Linux 6.1 under a real Xen 4.17.7 gave.

The recording stands in data/workload_counts.json. Up to a tenth of an event in an iteration is the
machine's background: two TLB_FLUSH_MULTI in 20 forks of a large process are the most of it. What
else is not compared, and why, is in docs/concepts/recorded-programs.md.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from experiments.scenario.scenario import load
from tests.boots import run

RECORDED = json.loads((Path(__file__).parent / "data" / "workload_counts.json").read_text())["runs"]

BACKGROUND = 0.1
NEAR = 0.05

# Hypercalls that have nothing to do with page tables.
OTHER_CALLS = {
    *("xen_version", "set_segment_base", "console_io", "vcpu_op", "stack_switch", "iret"),
    *("sched_op", "event_channel_op"),
}
# What follows from where the timer's tick fell on an emulated CPU: preempted calls enter again.
PREEMPTED = {
    ("hypercalls_direct", "multicall"),
    ("misc", "mmu_update_preempted"),
    ("misc", "mmuext_op_preempted"),
}
PREEMPTED_GROUPS = {
    *("multicall_size_hist", "page_type_validation_preempted"),
    *("mmu_update_failed_entries", "mmuext_op_nonzero_rc"),
}

SCENARIOS = {
    "mmap-1": (),
    "mmap-2": (),
    "fork-1": (),
    "fork-2": ("workload.iterations=29", "workload.fresh_stacks=0.69"),
    "ctxsw-1": (),
    "ctxsw-2": (),
    "forkexec-1": (),
    "forkexec-2": (),
    "mtspin-2": ("workload.iterations=100",),
    "forkbig-1": ("workload.iterations=1",),
    "forkbig-2": ("workload.iterations=3", "workload.fresh_stacks=0.67"),
}

Counts = dict[str, dict[str, float]]


def simulated(name: str) -> Counts:
    """What the scenario gives in an iteration."""
    scenario = load(name, SCENARIOS[name])
    record: dict[str, Any] = run(scenario, scenario.guest.strategy)
    assert (record["outcome"], record["failure"]) == ("ok", None)
    counts: Counts = record["per_iteration"]
    return counts


def recorded(name: str) -> Counts:
    """What the recording has for it."""
    workload, vcpus = name.split("-")
    counts: Counts = RECORDED[f"vcpus{vcpus}"][workload]["per_iteration"]
    return counts


def compared(counts: Counts) -> dict[tuple[str, str], float]:
    """The counters that are compared.

    A request that was preempted is counted as failed and made again: it counts once here.
    """
    again = counts.get("mmu_update_failed_entries", {})
    updates = dict(counts.get("mmu_update_entries_by_type_and_transition", {}))
    for level in again.keys() & {"L3", "L4"}:
        updates[f"{level}:np_to_p_rw"] -= again[level]
    counts = counts | {"mmu_update_entries_by_type_and_transition": updates}
    return {
        (group, key): count
        for group, keys in counts.items()
        for key, count in keys.items()
        if group not in PREEMPTED_GROUPS
        and (group, key) not in PREEMPTED
        and key not in OTHER_CALLS
    }


def near(expected: float, actual: float) -> bool:
    """Do they differ by background only, or by at most a twentieth?"""
    difference = abs(expected - actual)
    return difference <= BACKGROUND or difference <= NEAR * max(expected, actual)


@pytest.mark.parametrize("name", [name for name in SCENARIOS if not name.startswith("forkbig")])
def test_workload_gives_the_recorded_counts(name: str) -> None:
    """Every counter of page-table work, in each iteration, is what was recorded."""
    expected, actual = compared(recorded(name)), compared(simulated(name))

    assert {} == {
        key: (expected.get(key, 0), actual.get(key, 0))
        for key in expected.keys() | actual.keys()
        if not near(expected.get(key, 0), actual.get(key, 0))
    }


@pytest.mark.parametrize("name", ["forkbig-1", "forkbig-2"])
def test_fork_of_a_large_process_gives_the_recorded_counts(name: str) -> None:
    """The same for 64 MiB, but for the few batches that the recorded copy cut short.

    It does that where somebody else is to run, which is a matter of time.
    """
    small = {("mmu_update_batch_hist", size) for size in ("1", "2", "3-4", "5-8", "9-16")}
    expected, actual = compared(recorded(name)), compared(simulated(name))

    assert {} == {
        key: (expected.get(key, 0), actual.get(key, 0))
        for key in (expected.keys() | actual.keys()) - small
        if not near(expected.get(key, 0), actual.get(key, 0))
    }


def test_multicalls_made_are_the_recorded_ones_without_their_continuations() -> None:
    """A fork takes two multicalls; the recorded 2.18 are those that were preempted on top."""
    counts = simulated("fork-1")

    assert {"9-16": 2.0} == counts["multicall_size_hist"]
    assert {"update_va_mapping": 18.0, "mmuext_op": 9.0} == counts["hypercalls_inside_multicall"]


def test_mapping_and_unmapping_is_exact_to_the_last_flush() -> None:
    """14 full flushes: six type changes, seven of updates above L1, one of the kernel's own."""
    counts = simulated("mmap-1")

    assert {"local_full_flush": 14.0} == counts["tlb"]
    assert {"1": 260.0, "2": 2.0} == counts["mmu_update_batch_hist"]
    assert (266.0, 4.0, 1.0, 2.0) == tuple(
        counts["hypercalls_direct"][call]
        for call in ("mmu_update", "update_va_mapping", "mmuext_op", "multicall")
    )
