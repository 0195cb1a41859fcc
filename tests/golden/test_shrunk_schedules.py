"""Shrunk schedules of past failures, made again: each must still lead to what it led to."""

import pytest

from experiments.counterexamples import repro
from experiments.counterexamples.replay import replay
from experiments.subjects.race_orders import ExploredRace
from experiments.subjects.race_settings import settings_of
from models.races.catalogue.index import RACES
from sim.explore.following import Following, answers_of, blocks_of
from tests.golden.shrunk_schedules import FAILING, FOLDER


def test_every_race_of_orders_has_a_schedule() -> None:
    """The corpus is complete, and holds nothing else."""
    assert sorted(FAILING) == sorted(path.stem for path in FOLDER.glob("*.json"))


@pytest.mark.parametrize("name", FAILING)
def test_schedule_leads_to_what_the_catalogue_expects(name: str) -> None:
    """Step by step as recorded, to one of the race's detectors."""
    done = replay(repro.load(FOLDER / f"{name}.json"))

    assert None is done.difference, "python -m tests.golden.shrunk_schedules writes them again"
    assert done.recorded == done.made
    assert done.finding is not None
    assert done.finding.kind in RACES[name].detectors


@pytest.mark.parametrize("name", FAILING)
def test_same_blocks_are_harmless_with_the_fix(name: str) -> None:
    """As far as they go there: the vCPUs that the fix makes wait do wait."""
    recorded = repro.load(FOLDER / f"{name}.json").read_tape()
    race = RACES[name]
    explored = ExploredRace(race, settings_of(race, ("fix=on",)))

    execution = explored.program.run(Following(blocks_of(recorded.schedule), answers_of(recorded)))

    assert None is explored.program.judge(execution)
