"""The programs that can be explored, by the names that a command takes."""

from collections.abc import Sequence

from experiments.subjects.kinds import named
from experiments.subjects.orders import Explored

_SHORT = {"parallel-boot": "parallel-boot-tiny"}
"""A kind of workload, and the shipped machine that is small enough for a look at all orders."""


def program_named(name: str, strategy: str | None, settings: Sequence[str]) -> Explored:
    """A race, or a boot on several vCPUs.

    Raises:
        InputError: there is none of this name, or it cannot be explored with these settings.
    """
    return named(_SHORT.get(name, name), settings, strategy).orders()
