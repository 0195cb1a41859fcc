"""Races inside the hypervisor: what the search finds in them, version by version and why."""

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from models.races.catalogue.index import RACES
from models.races.stages.stage import fresh
from models.races.verdict import judge
from models.xen.pages import page_type
from models.xen.pages.references import put_page
from models.xen.state import Vcpu, Xen
from models.xen.versions.abi import find_abi
from models.xen.words import PARTIAL
from sim.effects import Activity
from sim.explore.program import Program
from sim.explore.searches.few_switches import explore_few_switches
from sim.stepwise import after_every_step
from tests.models.races.searches import detectors_of_orders, verdicts_of_orders

if TYPE_CHECKING:
    from models.races.race import Stage


@pytest.mark.parametrize("xen", ["4.1", "4.2dev", "4.17", "master"])
@pytest.mark.parametrize("name", ["X1", "X3"])
def test_fix_of_the_hypervisor_can_be_taken_from_any_version_and_given_to_it(
    name: str, xen: str
) -> None:
    """The verdict depends on the switch, not on the version that it is a field of."""
    assert {"D12"} == detectors_of_orders(name, fix=False, switches=1, xen=xen)
    assert set() == detectors_of_orders(name, fix=True, switches=1, xen=xen)


def test_fix_switches_its_own_field_only() -> None:
    """X1 on 4.17: the stage's hypervisor is that version but for one field."""
    stage = fresh(RACES["X1"], fix=False, vcpus=2, xen="4.17")

    assert replace(find_abi("4.17"), flush_before_publishing=True) == stage.kernel.xen.abi


def test_two_forced_switches_do_not_get_around_the_later_flush() -> None:
    """X1 with its fix: the type is taken before anybody is flushed."""
    assert set() == detectors_of_orders("X1", fix=True, switches=2)


def test_unchecked_entry_of_a_live_table_is_what_a_recount_finds() -> None:
    """X1: the kernel's L4 is mapped writable by a table, and nobody has counted that."""
    stage = fresh(RACES["X1"], fix=False, vcpus=2, xen="4.17")
    l4 = f"mfn {stage.kernel.init_l4:x}: the type count is the number of uses (1)"

    verdicts = verdicts_of_orders("X1", fix=False, switches=1)

    assert any(l4 in verdict.explanation for verdict in verdicts)
    assert all(verdict.console == () for verdict in verdicts if verdict.detector)


@pytest.mark.parametrize("retries", [0, 1, 8])
def test_no_number_of_tries_outlasts_a_table_in_between(retries: int) -> None:
    """X2: every try finds the L4 not validated, and says so; each refusal is of the update."""
    race = replace(RACES["X2"], hypervisor=(("update_retries", retries),))

    failures = [
        verdict
        for verdict in verdicts_of_orders(race, fix=False, switches=1)
        if verdict.detector is not None
    ]

    assert failures
    assert all("mmu_update of mfn" in verdict.explanation for verdict in failures)
    assert retries + 1 == max(len(verdict.console) for verdict in failures)


def test_retrying_update_makes_the_pin_fail() -> None:
    """X4: the pin finds the page writable, the update's own lock on it being the only use."""
    failures = [
        verdict
        for verdict in verdicts_of_orders("X4", fix=False, switches=1)
        if verdict.detector is not None
    ]

    pins = [verdict for verdict in failures if "PIN_L4_TABLE of mfn" in verdict.explanation]
    assert pins
    assert "Bad type (saw f400000000000001 != exp 8000000000000000)" in pins[0].console[0]
    assert any("mmu_update of mfn" in verdict.explanation for verdict in failures)


@pytest.mark.parametrize("fix", [False, True])
def test_half_done_table_can_be_taken_up_by_anybody(fix: bool) -> None:  # noqa: FBT001
    """X5 fails under neither way of keeping the entry's reference."""
    assert set() == detectors_of_orders("X5", fix=fix, switches=1)


def test_some_order_has_another_vcpu_take_it_up() -> None:
    """X5: the L2 is left partial by one vCPU, and the mark goes in a step of the other's."""
    race = RACES["X5"]
    handed_over = set()
    marks: list[tuple[int, bool]] = []

    def build() -> list[Activity]:
        stage = fresh(race, fix=True, vcpus=2, xen="4.17")
        frames = stage.kernel.frames
        at = frames.index(stage.pages["L2"])
        marks[:] = []

        def watched(number: int, activity: Activity) -> Activity:
            def look() -> None:
                marks.append((number, bool(frames.type_info[at] & PARTIAL)))

            return after_every_step(activity, look)

        return [watched(number, activity) for number, activity in enumerate(race.actors_on(stage))]

    for _ in explore_few_switches(Program(build, preempts=False), 1):
        left_by = -1
        for (_, was), (by, now) in pairwise(marks):
            if now and not was:
                left_by = by
            elif was and not now:
                handed_over.add((left_by, by))

    assert {(0, 1), (1, 0)} <= handed_over


def test_reference_that_is_forgotten_at_the_takeover_would_be_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """X5 on a spoilt machine: who goes on keeps the half-done table's own reference."""
    race = RACES["X5"]

    def forgetful(xen: Xen, vcpu: Vcpu, index: int) -> None:
        stage = stages[0]
        if index == stage.kernel.frames.index(stage.pages["L2"]):
            vcpu.holds.remove(index << 1)
        else:
            put_page(xen, vcpu, index)

    monkeypatch.setattr(page_type, "put_page", forgetful)
    stages: list[Stage] = []

    def build() -> list[Activity]:
        stages[:] = [fresh(race, fix=True, vcpus=2, xen="4.17")]
        return list(race.actors_on(stages[0]))

    execution = next(explore_few_switches(Program(build, preempts=False), 0))

    assert "D12" == judge(race, stages[0], execution.failure).detector
