"""Every interleaving of a race, one of each class: found with the fix off, absent with it on."""

from collections import Counter

import pytest

from models.races.catalogue.index import RACES
from models.races.in_orders import RaceProgram
from sim.explore.searches.dpor import ClassSearch


def detectors(name: str, *, fix: bool) -> Counter[str | None]:
    """In how many classes of orders each detector speaks; without the fix, until all have."""
    race = RACES[name]
    program = RaceProgram(race, fix=fix, vcpus=race.vcpus, xen="4.17").program
    found: Counter[str | None] = Counter()
    again = 0
    search = ClassSearch(program)
    for execution in search:
        if search.position.begun_again > again:
            again = search.position.begun_again
            found.clear()
        finding = program.judge(execution)
        found[finding and finding.kind] += 1
        if not fix and found.keys() >= set(race.detectors):
            break
    return found


FAILING = [name for name in RACES if RACES[name].kind in ("race", "order", "deadlock")]


@pytest.mark.parametrize("name", FAILING)
def test_fix_off_is_found_in_some_orders(name: str) -> None:
    """By the detectors of the catalogue, and no others."""
    found = detectors(name, fix=False)
    del found[None]

    assert found
    assert found.keys() <= set(RACES[name].detectors)


@pytest.mark.parametrize("name", RACES)
def test_fix_on_fails_in_no_order(name: str) -> None:
    """All classes of interleavings were tried."""
    assert {None} == set(detectors(name, fix=True))
