"""Boots whose updates are put off into multicalls: fewer traps, the same tables, other failures."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from experiments.scenario.scenario import geometry, load
from models.linux.boot.guest import Guest
from models.linux.boot.strategy import Strategy
from models.linux.crash import GuestCrash
from models.linux.start_state import build as domain_builder
from models.linux.start_state.geometry import Geometry
from models.machine.entries import PRESENT, mfn_of
from models.strategies.catalogue import find_strategy
from models.strategies.recombine import recombine
from models.xen.checks.invariants import check
from models.xen.versions.abi import find_abi
from sim.effects import Activity
from sim.instant import drain
from tests.boots import record_of
from tests.properties.geometries import geometries

BATCHED = "strategy.batching=32"
SURVIVORS = [
    *("tables-low", "tables-high", "ro-window", "reserve-hook", "hook-walk", "publish-free"),
    *("tables-first", "patch-alias", "mapped-only-3.10", "mapped-only-6.1", "offline-pin"),
]


def guest_at_start(strategy: Strategy) -> Guest:
    """A guest of 512 MiB whose kernel begins to build the direct map."""
    start = domain_builder.build(
        geometry(load("guest-512M")), strategy.kernel, find_abi("4.2dev"), debug=True, pcpus=1
    )
    return Guest(start, strategy)


# What is asked for, how often, and the multicalls that it takes: 32 entries or 512 bytes each.
# update_va_mapping needs no bytes, a flush 24, an update 16 (and updates share an entry).
COUNTED: list[tuple[Callable[[Guest, int], Activity], int, list[int]]] = [
    (lambda guest, number: guest.make_lowmem_page_readwrite(number), 70, [32, 32, 6]),
    (lambda guest, _: guest.flush_tlb(), 50, [21, 21, 8]),
    (lambda guest, n: guest.calls.set_entry(guest.start.ident_l2, 100 + n, 0), 70, [1, 1, 1]),
]


@pytest.mark.parametrize(("call", "times", "expected"), COUNTED)
def test_multicall_is_made_when_the_buffer_is_full(
    call: Callable[[Guest, int], Activity], times: int, expected: list[int]
) -> None:
    """Counted by hand: 70 = 32 + 32 + 6, and 50 = 21 + 21 + 8."""
    guest = guest_at_start(recombine(find_strategy("reserve-hook"), {"batching": 32}))
    made = []

    def calls() -> int:
        counters = guest.xen.counters
        return sum(
            n for (group, _), n in counters.items() if group == "hypercalls_inside_multicall"
        )

    guest.calls.enter_lazy_mmu()
    for number in range(times):
        before = calls()
        drain(call(guest, number))
        made += [calls() - before] if calls() > before else []
    before = calls()
    drain(guest.calls.leave_lazy_mmu())

    assert expected == [*made, calls() - before]
    assert len(expected) == guest.xen.counters["calls", "traps"]
    assert not guest.refused


def test_walk_over_an_entry_that_waits_flushes_first() -> None:
    """Else the kernel would take the leaf of a table just entered for unreachable."""
    guest = guest_at_start(recombine(find_strategy("reserve-hook"), {"batching": 32}))
    guest.calls.enter_lazy_mmu()
    drain(guest.calls.set_entry(guest.start.ident_l2, 200, 0))

    drain(guest.make_lowmem_page_readonly(199 << 9))
    assert 0 == guest.xen.counters["calls", "traps"]
    drain(guest.make_lowmem_page_readonly(200 << 9))
    assert 1 == guest.xen.counters["calls", "traps"]


@pytest.mark.parametrize("strategy", SURVIVORS)
def test_batching_makes_the_same_calls_in_a_tenth_of_the_traps(strategy: str) -> None:
    """All that differs is who wraps them: the work inside the hypervisor is the same."""
    single, batched = (record_of("guest-512M", strategy, *more) for more in ((), (BATCHED,)))
    calls = ("update_va_mapping", "pin_l1", "tlb_flush", "mmu_update_requests", "ptwr")

    assert "ok" == single["outcome"] == batched["outcome"]
    assert [single["counts"][call] for call in calls] == [batched["counts"][call] for call in calls]
    assert single["counts"]["validated_entries"] == batched["counts"]["validated_entries"]
    assert single["counts"]["traps"] > 10 * batched["counts"]["traps"]
    assert single["time_ns"]["total"] > batched["time_ns"]["total"]


def test_store_waits_for_a_hook_that_was_put_off() -> None:
    """ptwr-fill: the leaves go to a live table as before, so each table takes a trap."""
    single, batched = (record_of("guest-512M", "ptwr-fill", *more) for more in ((), (BATCHED,)))

    assert "ok" == batched["outcome"]
    assert single["counts"]["ptwr"] == batched["counts"]["ptwr"]
    assert batched["pages"]["l1"] < batched["counts"]["traps"] < 240 < single["counts"]["traps"]


def test_larger_buffer_traps_less_often() -> None:
    """An entry a buffer is as many traps as without one."""
    traps = [
        record_of("guest-512M", "reserve-hook", f"strategy.batching={size}")["counts"]["traps"]
        for size in (1, 2, 8, 32)
    ]

    assert record_of("guest-512M", "reserve-hook")["counts"]["traps"] == traps[0]
    assert sorted(traps, reverse=True) == traps
    assert len(traps) == len(set(traps))


@pytest.mark.parametrize("scenario", ["guest-512M", "guest-2G"])
@pytest.mark.parametrize("strategy", ["reserve-hook", "hook-walk", "patch-alias"])
def test_tables_at_the_end_are_the_same(scenario: str, strategy: str) -> None:
    """Entry by entry, and every count of Xen is right."""
    memory_map = geometry(load(scenario))
    ends = [boot_with(memory_map, strategy, batching)[0] for batching in ("none", 32)]

    single, batched = (tables_below(guest) for guest in ends)
    assert single == batched
    for table in single:
        first, second = (guest.frames.array(table) for guest in ends)
        assert np.array_equal(first, second)


def boot_with(memory_map: Geometry, strategy: str, batching: int | str) -> tuple[Guest, bool]:
    """A guest after its direct map, and whether it has died there."""
    plan = recombine(find_strategy(strategy), {"batching": batching})
    start = domain_builder.build(memory_map, plan.kernel, find_abi("4.2dev"), debug=True, pcpus=1)
    guest = Guest(start, plan)
    guest.calls.enter_lazy_mmu()
    try:
        drain(plan.direct_map(guest))
        drain(guest.calls.leave_lazy_mmu())
    except GuestCrash as crash:
        # A buffer for the tables that has no room is another story.
        assume("Cannot find space for the kernel page tables" not in crash.message)
        return guest, True
    check(guest.xen)
    return guest, False


@pytest.mark.parametrize("strategy", ["tables-low", "reserve-hook", "hook-walk", "patch-alias"])
@given(memory_map=geometries(), batching=st.integers(1, 40))
@settings(max_examples=8, deadline=None)
def test_safe_strategy_may_be_batched_on_any_machine(
    strategy: str, memory_map: Geometry, batching: int
) -> None:
    """Nothing is refused, however large the buffer is, and Xen's counts are right."""
    guest, died = boot_with(memory_map, strategy, batching)

    assert ([], False) == (guest.refused, died)


@pytest.mark.parametrize("strategy", ["tables-high", "alloc-only", "deferred-ro"])
@given(memory_map=geometries(), batching=st.integers(1, 40))
@settings(max_examples=8, deadline=None)
def test_batched_guest_is_warned_exactly_where_it_would_have_died(
    strategy: str, memory_map: Geometry, batching: int
) -> None:
    """Xen refuses the same table; a multicall makes a warning of the BUG."""
    dead, died = boot_with(memory_map, strategy, "none")
    warned, died_too = boot_with(memory_map, strategy, batching)

    event("refused" if died else "boots")
    assert not died_too
    assert died == bool(warned.refused)
    if died:
        assert dead.xen.console.lines[0] == warned.xen.console.lines[0]


def tables_below(guest: Guest) -> set[int]:
    """Frames of all tables of the direct map."""
    words = guest.frames.words
    level = {mfn_of(words(guest.start.init_l4)[guest.kernel.page_offset_slot])}
    found = set(level)
    for _ in range(2):
        entries = (entry for table in level for entry in guest.frames.array(table).tolist())
        level = {mfn_of(entry) for entry in entries if entry & PRESENT}
        found |= level
    return found


def test_pin_that_is_refused_inside_a_multicall_is_only_warned_about() -> None:
    """The crash of 2011, batched: the machine comes up with a hole in its map."""
    single = record_of("dom0-2011", "tables-high")
    batched = record_of("dom0-2011", "tables-high", BATCHED)

    assert ("crash", "latent") == (single["outcome"], batched["outcome"])
    assert single["failure"]["console"] == batched["failure"]["console"][:2]
    assert "PIN_L1_TABLE of pfn bacf7 gave -22" in batched["failure"]["explanation"]
    assert ("0xbacf7", "0xb1d89") == (batched["failure"]["pfn"], batched["failure"]["mfn"])
