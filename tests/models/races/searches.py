"""Search a race for failures, as tests want it: by orders of steps, or by seeds on the clock."""

from itertools import islice
from typing import TYPE_CHECKING

from experiments.subjects.on_clock import Asked
from experiments.subjects.race_settings import settings_of
from experiments.subjects.trial import Timed
from models.races.catalogue.index import RACES
from models.races.race import Race
from models.races.stages.stage import fresh
from models.races.verdict import Verdict, judge
from sim.effects import Activity
from sim.environment import Deadlock
from sim.explore.program import Program
from sim.explore.searches.few_switches import explore_few_switches

if TYPE_CHECKING:
    from models.races.race import Stage


def verdicts_of_orders(
    name: str | Race, *, fix: bool, switches: int, most: int | None = None, xen: str = "4.17"
) -> list[Verdict]:
    """The verdict on every order with so few forced switches, or on the first of them."""
    race = RACES[name] if isinstance(name, str) else name
    stages: list[Stage] = []

    def build() -> list[Activity]:
        stages[:] = [fresh(race, fix=fix, vcpus=race.vcpus, xen=xen)]
        return list(race.actors_on(stages[0]))

    verdicts = []
    for execution in islice(explore_few_switches(Program(build, preempts=False), switches), most):
        failure = Deadlock(["stuck"]) if execution.deadlock else execution.failure
        verdicts.append(judge(race, stages[0], failure))
    return verdicts


def detectors_of_orders(
    name: str | Race, *, fix: bool, switches: int, xen: str = "4.17"
) -> set[str]:
    """Which detectors spoke in any of these orders."""
    verdicts = verdicts_of_orders(name, fix=fix, switches=switches, xen=xen)
    return {verdict.detector for verdict in verdicts if verdict.detector is not None}


def verdicts_of_seeds(name: str, runs: int, *settings: str) -> list[Verdict]:
    """The verdicts on runs with different draws."""
    race = RACES[name]
    chosen = settings_of(race, settings)
    return [
        Timed(race, chosen, Asked(seed=1, replication=number)).verdict for number in range(runs)
    ]
