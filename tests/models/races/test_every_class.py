"""Races of the hypervisor and of single CPUs, one order of every class: what comes out."""

from collections import Counter

import pytest

from models.races.catalogue.index import RACES
from models.races.in_orders import RaceProgram
from sim.explore.searches.dpor import ClassSearch


def detectors(name: str) -> Counter[str | None]:
    """In how many classes of orders each speaks without the fix; None: nothing has failed."""
    race = RACES[name]
    program = RaceProgram(race, fix=False, vcpus=race.vcpus, xen="4.17").program
    findings = (program.judge(execution) for execution in ClassSearch(program))
    return Counter(finding and finding.kind for finding in findings)


@pytest.mark.parametrize("name", ["R7", "R9", "R15", "X1", "X3"])
def test_without_it_only_its_own_detector_speaks(name: str) -> None:
    """And there are orders in which nothing happens: these are races."""
    assert {None, *RACES[name].detectors} == set(detectors(name))


def test_half_done_table_is_safe_in_every_order() -> None:
    """X5 with the older way to keep references, too."""
    assert {None} == set(detectors("X5"))
