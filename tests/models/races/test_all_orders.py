"""All interleavings of a race, one of each class: found with the fix off, absent with it on."""

from collections import Counter

import pytest

from models.races.catalogue import RACES
from models.races.program import RaceProgram
from sim.explore.dpor import ClassSearch


def detectors(name: str, *, fix: bool) -> Counter[str | None]:
    """How many classes of orders each detector speaks in."""
    program = RaceProgram(RACES[name], fix=fix, vcpus=RACES[name].vcpus, xen="4.17").program
    found: Counter[str | None] = Counter()
    for execution in ClassSearch(program):
        finding = program.judge(execution)
        found[finding and finding.kind] += 1
    return found
