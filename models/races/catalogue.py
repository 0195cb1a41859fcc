"""All races there are, by their names."""

from models.races import r01_pin_vs_rmap
from models.races.race import Race

RACES: dict[str, Race] = {race.id: race for race in (r01_pin_vs_rmap.RACE,)}


def find_race(name: str) -> Race | None:
    """A race by its id, in either case; None if there is none."""
    return RACES.get(name.upper())
