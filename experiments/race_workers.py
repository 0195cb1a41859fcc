"""Trials by several processes of this machine; how many there are does not show in the answer."""

import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from experiments.errors import InputError
from experiments.odds import Over, Trial

_CHUNK = 4
"""Trials that a process is handed at once: a tenth of a second each, or less."""


@contextmanager
def over(jobs: int) -> Iterator[Over]:
    """Something like ``map`` that uses so many processes.

    Raises:
        InputError: one of them has died.
    """
    if jobs == 1:
        yield map
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, initializer=_leave_interrupts) as pool:

        def spread(function: Callable[[int], Trial], numbers: Sequence[int]) -> Iterable[Trial]:
            return pool.map(function, numbers, chunksize=_CHUNK)

        try:
            yield spread
        except BrokenProcessPool as error:
            raise InputError(
                "a process that computed trials has died; --jobs 1 does without them"
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _leave_interrupts() -> None:
    """Ctrl-C is for the process that was called."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
