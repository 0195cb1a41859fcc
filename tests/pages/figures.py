"""The figures of the docs that are drawn from the code, the same bytes on every machine.

Those of the studies are left out: they are PNGs, whose bytes depend on the versions of matplotlib
and its fonts, and each takes a sweep of minutes.
"""

from collections.abc import Callable, Mapping

from experiments.counterexamples import repro
from experiments.counterexamples.counterexample import looked_at
from experiments.counterexamples.svg import svg
from experiments.subjects.race_orders import ExploredRace
from experiments.subjects.race_settings import settings_of
from models.races.catalogue.index import RACES
from tests.golden.shrunk_schedules import FOLDER
from tests.pages.rooms import ROOT


def failure_of_r1() -> str:
    """The diagram of ``pinlab run R1 --set fix=off``, from the schedule that the tests keep."""
    recorded = repro.load(FOLDER / "R1.json")
    race = RACES["R1"]
    explored = ExploredRace(race, settings_of(race, ("fix=off",)))
    return svg(looked_at(explored, recorded.read_tape(), stopped=True))


DRAWINGS = ROOT / "docs" / "figures"

FIGURES: Mapping[str, Callable[[], str]] = {"counterexample-R1.svg": failure_of_r1}
"""Name of a figure -> what draws it."""
