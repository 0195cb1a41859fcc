"""Boots on several vCPUs: what is counted, what comes of them, and what cannot be run."""

from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.cli import main
from experiments.errors import InputError
from experiments.scenario.scenario import load
from experiments.subjects.crews import fresh
from models.linux.boot.parallel_boot import lost_regions
from models.xen.checks.invariants import check, require_at_rest
from tests.boots import run

if TYPE_CHECKING:
    from models.linux.boot.guest import Guest

Record = dict[str, Any]

SMALL = ("guest.ram=128MiB", "guest.kernel_end=20MiB")


@cache
def record_of(strategy: str, *overrides: str, seed: int = 0) -> Record:
    """The record of a boot of the shipped machine; tests share it."""
    return run(load("parallel-boot", overrides), strategy, seed=seed)


def structure(record: Record) -> dict[str, Any]:
    """What a record has that does not depend on time."""
    return {key: record[key] for key in ("outcome", "counts", "pages", "buffers", "allocations")}


@pytest.mark.parametrize(
    "strategy", ["tables-low", "reserve-hook", "tables-first", "shadow", "mapped-only-6.1"]
)
def test_one_vcpu_boots_as_it_always_does(strategy: str) -> None:
    """A crew of one makes every call of the ordinary boot, and no other; nobody waits."""
    alone = record_of(strategy, "guest.vcpus=1", *SMALL)
    plain = run(load("parallel-boot", ["workload.kind=boot", "guest.vcpus=1", *SMALL]), strategy)

    assert structure(plain) == structure(alone)
    assert plain["time_ns"] == alone["time_ns"]
    assert {"vcpus": 1, "pieces": 0, "locks": {}} == alone["parallel"]


def test_each_further_piece_maps_the_upper_tables_anew() -> None:
    """512 MiB on two vCPUs: the second piece maps the L3 and the L2 for itself, and flushes thrice.

    That is two emulated stores, two calls that unmap, four INVLPGs, and the flushes behind the L2,
    the L3 and the walk; of fresh tables there are as many as on one vCPU.
    """
    one = record_of("reserve-hook", "guest.vcpus=1", "guest.ram=512MiB")["counts"]
    two = record_of("reserve-hook", "guest.vcpus=2", "guest.ram=512MiB")["counts"]
    grown = {key: two[key] - one[key] for key in one if two[key] != one[key]}

    assert {
        "ptwr": 2,
        "update_va_mapping": 2,
        "tlb_flush": 7,
        "mmuext_op": 7,
        "multicall": 7,
        "multicall_entries": 7,
        "traps": 9,
    } == grown


def test_equal_shares_of_one_gib_take_half_of_the_time_on_two() -> None:
    """No two vCPUs need the same page for long where the L2 above is there from the beginning."""
    one, two = (
        record_of("mapped-only-6.1", f"guest.vcpus={vcpus}", "guest.ram=512MiB")["time_ns"]["total"]
        for vcpus in (1, 2)
    )

    assert 0.5 < two / one < 0.7


def test_waits_are_told_by_lock() -> None:
    """Shares that meet in a fresh GiB wait for who fills its L2; entered empty, they hardly do."""
    filled, empty = (
        record_of("reserve-hook", f"workload.shared_tables={way}")
        for way in ("lock", "enter-empty")
    )
    waits = [record["parallel"]["locks"]["entries above L1"] for record in (filled, empty)]

    assert 1 == waits[0]["waited"] == waits[1]["waited"]
    assert waits[0]["wait_ns"] > 100 * waits[1]["wait_ns"]
    assert filled["time_ns"]["total"] > 1.5 * empty["time_ns"]["total"]


def test_without_a_lock_one_l2_is_written_over_the_other() -> None:
    """Two vCPUs make an L2 for the second GiB; Xen accepts both, and half a GiB is lost."""
    record = record_of("reserve-hook", "workload.shared_tables=unlocked")

    assert ("latent", 131072) == (record["outcome"], 2 * record["pages"]["l2"] * 32768)
    assert "does not lead to 131072 pages" in record["failure"]["explanation"]


def test_page_that_two_vcpus_take_is_pinned_twice() -> None:
    """Without a lock both get it from memblock, and Xen refuses the second pin."""
    record = record_of("mapped-only-6.1", "workload.allocator=unlocked")

    assert ("crash", "pin") == (record["outcome"], record["failure"]["kind"])
    assert "Two vCPUs have taken the same page" in record["failure"]["explanation"]


def test_crash_of_a_further_vcpu_is_told_as_its_own() -> None:
    """The console lines are those of the call that was refused there."""
    settings = "workload.shared_tables=enter-empty"
    failures = (record_of("tables-high", settings, seed=seed)["failure"] for seed in range(20))
    failure = next(failure for failure in failures if failure and failure["vcpu"] > 0)

    assert "pin" == failure["kind"]
    assert failure["mfn"].removeprefix("0x") in failure["console"][-1]


@settings(max_examples=25, deadline=None)
@given(
    strategy=st.sampled_from(("reserve-hook", "tables-low", "tables-first", "mapped-only-6.1")),
    vcpus=st.integers(2, 4),
    pcpus=st.integers(1, 4),
    allocator=st.sampled_from(("lock", "reserve")),
    shared=st.sampled_from(("lock", "enter-empty")),
    piece=st.sampled_from((None, 2, 8, 32)),
    seed=st.integers(0, 1000),
)
def test_guarded_boots_are_complete_in_any_order(
    *,
    strategy: str,
    vcpus: int,
    pcpus: int,
    allocator: str,
    shared: str,
    piece: int | None,
    seed: int,
) -> None:
    """Whoever comes first: as many tables as on one vCPU, all RAM mapped, all counts right."""
    overrides = [
        *SMALL,
        f"guest.vcpus={vcpus}",
        f"machine.pcpus={min(pcpus, vcpus)}",
        f"workload.allocator={allocator}",
        f"workload.shared_tables={shared}",
    ]
    if piece is not None:
        overrides.append(f"workload.piece={piece}MiB")
    seen: list[Guest] = []

    record = run(load("parallel-boot", overrides), strategy, seed=seed, at_end=seen.append)

    assert ("ok", []) == (record["outcome"], lost_regions(seen[0]))
    alone = record_of(strategy, "guest.vcpus=1", *SMALL)
    assert alone["pages"]["l1"] == record["pages"]["l1"]
    assert alone["counts"]["validated_entries"] == record["counts"]["validated_entries"]
    check(seen[0].xen)
    require_at_rest(seen[0].xen)


def test_every_event_leaves_the_record_as_it_is() -> None:
    """Also with several vCPUs, which wait for each other."""
    scenario = load("parallel-boot", [*SMALL, "guest.vcpus=3"])

    assert run(scenario, "reserve-hook") == run(scenario, "reserve-hook", every_event=True)


def test_machine_stays_consistent_throughout() -> None:
    """All references are recounted after each step of both vCPUs."""
    record = run(load("parallel-boot-tiny"), "reserve-hook", check=True)

    assert ("ok", None) == (record["outcome"], record["failure"])


def test_activities_are_made_afresh() -> None:
    """Each call builds another world, in which nothing has happened."""
    scenario = load("parallel-boot-tiny")
    first, second = fresh(scenario, "reserve-hook"), fresh(scenario, "reserve-hook")

    assert 2 == len(first[1]) == len(second[1])
    assert first[0].xen is not second[0].xen
    assert not first[0].hazards.tables


@pytest.mark.parametrize(
    ("strategy", "overrides", "expected"),
    [
        ("offline-pin", [], "builds its map in one piece on one vCPU"),
        ("auto-translated", [], "builds its map in one piece on one vCPU"),
        ("shadow", [], "takes no strategy with shadow paging"),
        ("reserve-hook", ["guest.vcpus=65"], "at most 64 vCPUs"),
        ("reserve-hook", ["workload.piece=3MiB"], "is not made of 2 MiB"),
        ("reserve-hook", ["workload.piece=0x0"], "is not made of 2 MiB"),
        ("reserve-hook", ["workload.allocator=none"], "is none of lock, short-lock, reserve"),
        ("reserve-hook", ["workload.shared_tables=no"], "is none of lock, enter-empty, unlocked"),
    ],
)
def test_what_cannot_be_run_is_said(strategy: str, overrides: list[str], expected: str) -> None:
    """One line that says why."""
    with pytest.raises(InputError, match=expected):
        run(load("parallel-boot", [*SMALL, *overrides]), strategy)


def test_command_runs_it(capsys: pytest.CaptureFixture[str]) -> None:
    """As any scenario; the strategy and the number of vCPUs are free."""
    arguments = ["parallel-boot", "--strategy", "tables-high", "--set", "guest.vcpus=2", "--quiet"]

    assert 0 == main(["run", *arguments, "--set", "guest.ram=128MiB"])
    assert "tables-high: ok" in capsys.readouterr().out


def test_other_latencies_are_refused_for_several_vcpus(capsys: pytest.CaptureFixture[str]) -> None:
    """They would change who waits, so one boot does not tell for all."""
    arguments = ["parallel-boot", "--strategies", "reserve-hook", "--robust", "--quiet"]

    assert 2 == main(["compare", *arguments, "--set", "guest.ram=128MiB"])
    assert "--robust" in capsys.readouterr().err
