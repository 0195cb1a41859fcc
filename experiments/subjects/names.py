"""How a command's user names what is to be run: a race by its id, anything else as a scenario."""

import re

PREFIX = "races/"
"""May stand before a race's id."""
_RACE = re.compile(r"[RX]\d+", re.IGNORECASE)


def names_race(name: str) -> bool:
    """Is a race meant: ``races/R1``, or just ``R1``, in either case?

    No scenario is called so; a file of that name is reached as ``./R1``.
    """
    return name.startswith(PREFIX) or _RACE.fullmatch(name) is not None
