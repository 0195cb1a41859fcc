"""Every race of the catalogue fails as described without its fix, and not with it."""

import pytest

from models.linux.run.fixes import Fixes
from models.linux.run.pinning import pin_mm
from models.races.catalogue.index import RACES
from models.races.catalogue.r18_populate_vs_pin import populate
from models.races.race import DETECTORS, Stage
from models.races.stages.stage import fresh
from models.races.verdict import judge
from models.xen.versions.abi import Abi
from sim.effects import Activity
from sim.explore.program import Program
from sim.explore.searches.few_switches import explore_few_switches
from tests.models.races.searches import detectors_of_orders, verdicts_of_orders, verdicts_of_seeds

BY_SWITCHES = [
    ("R1", 1, {"D1"}),
    ("R2", 1, {"D1"}),
    ("R3", 1, {"D1", "D2"}),
    ("R5", 1, {"D3"}),
    ("R6", 1, {"D4"}),
    ("R7", 1, {"D13"}),
    ("R8", 1, {"D2"}),
    ("R9", 1, {"D2"}),
    ("R10", 0, {"D2"}),
    ("R11", 0, {"D9"}),
    ("R12", 0, {"D6"}),
    ("R13", 1, {"D7"}),
    ("R14", 0, {"D8"}),
    ("R15", 1, {"D6"}),
    ("R16", 2, {"D10"}),
    ("R17", 0, {"D11"}),
    ("X1", 1, {"D12"}),
    ("X2", 1, {"D2"}),
    ("X3", 2, {"D12"}),
    ("X4", 1, {"D2"}),
]


@pytest.mark.parametrize(("name", "switches", "detectors"), BY_SWITCHES)
def test_without_the_fix_some_order_fails(name: str, switches: int, detectors: set[str]) -> None:
    """And only as its detectors say, whatever the order."""
    assert detectors == detectors_of_orders(name, fix=False, switches=switches)
    assert detectors == set(RACES[name].detectors)


@pytest.mark.parametrize(("name", "switches", "detectors"), BY_SWITCHES)
def test_with_the_fix_no_order_fails(name: str, switches: int, detectors: set[str]) -> None:
    """Of all with so many forced switches."""
    assert set() == detectors_of_orders(name, fix=True, switches=switches)


@pytest.mark.parametrize("name", ["R10", "R12", "R14", "R17"])
def test_orders_on_one_vcpu_always_fail(name: str) -> None:
    """Nothing is left to chance there."""
    (verdict,) = verdicts_of_orders(name, fix=False, switches=0)

    assert verdict.outcome != "ok"
    assert 1 == RACES[name].vcpus


def test_lock_with_interrupts_off_and_its_holder_wait_for_each_other() -> None:
    """R4 as the clock finds it: who waits for whom is told."""
    verdicts = verdicts_of_seeds("R4", 15, "fix=off")

    stuck = [verdict for verdict in verdicts if verdict.outcome == "deadlock"]
    assert {"D5"} == {verdict.detector for verdict in stuck}
    assert "vcpu0 waits for page_table_lock of parent, held by vcpu1" in stuck[0].explanation
    assert "vcpu1 waits for 1 acknowledgements" in stuck[0].explanation


def test_lock_with_interrupts_on_is_got_in_the_end() -> None:
    """R4 with its fix: the CPU that waits takes the interrupt."""
    assert {"ok"} == {verdict.outcome for verdict in verdicts_of_seeds("R4", 30, "fix=on")}


@pytest.mark.parametrize("fix", [False, True])
def test_populating_and_pinning_exclude_each_other(fix: bool) -> None:  # noqa: FBT001
    """R18 fails neither under one lock nor with split locks before anybody runs there."""
    assert set() == detectors_of_orders("R18", fix=fix, switches=1)


def test_populating_during_a_pin_would_fail_without_any_exclusion() -> None:
    """With split locks and a fault in the middle of the pin: the search could have seen it."""
    race = RACES["R18"]
    stages: list[Stage] = []

    def build() -> list[Activity]:
        stages[:] = [fresh(race, fix=True, vcpus=2, xen="4.17")]
        stage = stages[0]
        return [pin_mm(stage.cpu(0), stage.mms["new"]), populate(stage, waits=False)]

    detectors = {
        judge(race, stages[0], execution.failure).detector
        for execution in explore_few_switches(Program(build, preempts=False), 1)
    }

    assert "D1" in detectors


@pytest.mark.parametrize("vcpus", [2, 4, 8])
def test_exit_interrupts_every_cpu_that_borrows(vcpus: int) -> None:
    """R19: as many interrupts an exit as there are other vCPUs, and none if they let go."""
    race = RACES["R19"]
    assert race.measures is not None

    from experiments.subjects.on_clock import Asked
    from experiments.subjects.race_settings import settings_of
    from experiments.subjects.trial import Timed

    per_exit = []
    for fix in ("off", "on"):
        settings = settings_of(race, (f"fix={fix}", f"vcpus={vcpus}"))
        run = Timed(race, settings, Asked())
        assert "ok" == run.verdict.outcome
        per_exit.append(race.measures(run.stage)["interrupts_per_exit"])

    assert [vcpus - 1, 0] == per_exit


def test_reclaims_store_is_what_the_guest_reports() -> None:
    """R1: the oops names the address of the L1 in the direct map, and Xen has nothing to say."""
    verdicts = verdicts_of_orders("R1", fix=False, switches=1)
    crash = next(verdict for verdict in verdicts if verdict.outcome == "crash")

    assert crash.guest_console[0].startswith("BUG: unable to handle kernel paging request at ffff8")
    assert () == crash.console


def test_stale_alias_is_what_xen_reports() -> None:
    """R8: the page was found mapped writable once, and an L1 was asked for."""
    verdicts = verdicts_of_orders("R8", fix=False, switches=1)
    refused = next(verdict for verdict in verdicts if verdict.outcome != "ok")

    assert "Bad type (saw e400000000000001 != exp 2000000000000000)" in refused.console[0]


def test_every_race_says_what_it_is() -> None:
    """A switch that exists, detectors that exist, a story, and a file of the same number."""
    fields = {"kernel": Fixes.__dataclass_fields__, "hypervisor": Abi.__dataclass_fields__}
    for race in RACES.values():
        assert not race.fix.switch or race.fix.switch in fields[race.fix.side]
        assert {name for name, _ in race.hypervisor} <= set(Abi.__dataclass_fields__)
        assert set(race.detectors) <= set(DETECTORS)
        assert race.story
        assert race.without_fix
        assert race.with_fix
    of_the_kernel = [race.fix.switch for race in RACES.values() if race.id.startswith("R")]
    assert len(set(of_the_kernel)) == len(of_the_kernel)
