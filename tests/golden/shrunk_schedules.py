"""Writes tests/golden/data/schedules: ``python -m tests.golden.shrunk_schedules [RACE...]``.

For each race of the catalogue that is looked for through orders of steps, the first failure
without its fix, shrunk. To be run again when a model has got other steps; what the schedules
must lead to is in the catalogue, not in these files.
"""

import sys
from pathlib import Path

from experiments.counterexamples import repro
from experiments.counterexamples.counterexample import counterexample
from experiments.counterexamples.folder import write_files
from experiments.subjects.race import RaceSubject
from experiments.subjects.race_settings import settings_of
from models.races.catalogue.index import RACES
from sim.tape import parse_tape

FOLDER = Path(__file__).with_name("data") / "schedules"
FAILING = [
    race.id
    for race in RACES.values()
    if race.search == "orders" and race.kind != "checked-not-a-race"
]


def write(name: str) -> None:
    """Look for the race's failure, shrink it, and write it down."""
    race = RACES[name]
    settings = settings_of(race, ("fix=off",))
    subject = RaceSubject(race, settings)
    searched = subject.search(seed=0).race
    assert searched is not None
    assert searched.tape is not None
    found = counterexample(subject.orders(), parse_tape(searched.tape), at_most=1000)
    write_files(FOLDER, {f"{name}.json": repro.as_json(repro.of_counterexample(found))})


if __name__ == "__main__":
    for each in sys.argv[1:] or FAILING:
        write(each)
