"""Stages: each execution has its own, and what is copied is a whole machine."""

import numpy as np
import pytest

from models.linux.run.process import exit_mm, fork
from models.races.catalogue.index import RACES
from models.races.stages.stage import fresh
from models.xen.checks.invariants import check
from sim.instant import drain


def test_copy_is_a_consistent_machine_of_its_own() -> None:
    """What one execution does, the next does not see."""
    race = RACES["R1"]
    first = fresh(race, fix=True, vcpus=2, xen="4.17")
    second = fresh(race, fix=True, vcpus=2, xen="4.17")
    words = second.kernel.frames.type_array.copy()

    drain(fork(first.cpu(0), first.mms["parent"], "child"))

    assert 2 == len(first.kernel.pgd_list)
    assert 1 == len(second.kernel.pgd_list)
    assert np.array_equal(words, second.kernel.frames.type_array)
    check(first.kernel.xen)
    check(second.kernel.xen)


def test_copy_goes_on_like_the_original() -> None:
    """Fork and exit leave what was there before, on a copy too."""
    stage = fresh(RACES["R1"], fix=True, vcpus=2, xen="4.17")
    pinned = set(stage.kernel.pinned)

    child = drain(fork(stage.cpu(0), stage.mms["parent"], "child"))
    drain(exit_mm(stage.cpu(0), child))

    assert (pinned, []) == (stage.kernel.pinned, stage.kernel.refused)
    check(stage.kernel.xen)


def test_only_the_races_own_fix_is_off() -> None:
    """Every other one stays on."""
    stage = fresh(RACES["R2"], fix=False, vcpus=2, xen="4.17")

    assert not stage.kernel.fixes.unpin_takes_pte_locks
    assert stage.kernel.fixes.pin_takes_pte_locks


def test_race_of_two_cpus_takes_two() -> None:
    """One vCPU has nobody to race with."""
    with pytest.raises(ValueError, match="2 vCPUs at least"):
        fresh(RACES["R1"], fix=True, vcpus=1, xen="4.17")
