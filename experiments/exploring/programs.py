"""The programs that can be explored, by the names that a command takes."""

from collections.abc import Sequence

from experiments.errors import InputError
from experiments.scenario.scenario import written
from experiments.subjects.names import names_race
from experiments.subjects.orders import Explored
from experiments.subjects.parallel_orders import KIND, TINY, ExploredBoot
from experiments.subjects.race_orders import ExploredRace
from experiments.subjects.race_settings import race_named, settings_of


def program_named(name: str, strategy: str | None, settings: Sequence[str]) -> Explored:
    """A race, or a boot on several vCPUs.

    Raises:
        InputError: there is none of this name, or it cannot be explored with these settings.
    """
    if names_race(name):
        if strategy is not None:
            raise InputError(f"{name}: --strategy is for boots; a race has --set")
        race = race_named(name)
        chosen = settings_of(race, settings)
        if chosen.shares_pcpus:
            raise InputError(
                f"{name}: all orders are tried as if each vCPU had a pCPU of its own; leave pcpus "
                "and load"
            )
        return ExploredRace(race, chosen)
    return ExploredBoot(written(TINY if name == KIND else name, settings), strategy)
