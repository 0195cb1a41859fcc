"""Trials by several processes of this machine; how many there are does not show in the answer."""

from collections.abc import Iterator
from contextlib import contextmanager

from experiments.odds.estimate import Over
from experiments.processes import in_order

_CHUNK = 4
"""Trials that a process is handed at once: a tenth of a second each, or less."""


@contextmanager
def over(jobs: int) -> Iterator[Over]:
    """Something like ``map`` that uses so many processes.

    Raises:
        InputError: one of them has died.
    """
    with in_order(jobs, _CHUNK) as spread:
        yield spread
