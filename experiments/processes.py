"""Worker processes of this machine: how they begin, and how they end.

A process that has no thread but one is forked: a worker then has everything that is imported and
loaded here, and starts in a few milliseconds. Where other threads run (a line of progress, a
script's own, those of a library) a fork could find a lock held for ever, so workers are started
anew, and import what they need. Tasks and results are plain data in both cases.
"""

import pickle
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Protocol, TypeVar

from experiments.errors import InputError
from experiments.threads import one_thread_in_children

Task = TypeVar("Task")
Result = TypeVar("Result")

_THREADS = Path("/proc/self/task")


class InOrder(Protocol):
    """Something like ``map``: results in the order of the tasks, each as soon as it is there."""

    def __call__(
        self, function: Callable[[Task], Result], tasks: Iterable[Task], /
    ) -> Iterable[Result]:
        """``function`` of each task."""


@contextmanager
def worker_pool(jobs: int) -> Iterator[Executor]:
    """So many processes without threads; they end with the block, whatever they are at."""
    context = get_context("fork" if _has_one_thread() else "spawn")
    with one_thread_in_children():
        pool = ProcessPoolExecutor(jobs, context, initializer=_leave_interrupts)
        try:
            yield pool
        finally:
            # Its processes are made when it gets its first task; None: it is broken already.
            processes = list((pool._processes or {}).values())  # noqa: SLF001 - no other way
            pool.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                process.kill()
            for process in processes:
                process.join()


@contextmanager
def in_order(jobs: int, chunk: int = 1) -> Iterator[InOrder]:
    """Something like ``map`` that uses so many processes; with one it is this process itself.

    A process is handed ``chunk`` tasks at once.

    Raises:
        InputError: one of them has died.
    """
    if jobs <= 1:
        yield map
        return
    with worker_pool(jobs) as pool:

        def spread(function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterable[Result]:
            return pool.map(partial(_done, function), tasks, chunksize=chunk)

        try:
            yield spread
        except BrokenProcessPool as error:
            raise InputError(
                "a process that did part of the work has died; --jobs 1 does without them"
            ) from error


def _has_one_thread() -> bool:
    """Is there no other thread in this process, of Python or of a library?"""
    if not _THREADS.is_dir():
        return False
    return threading.active_count() == 1 and len(list(_THREADS.iterdir())) == 1


def _leave_interrupts() -> None:
    """Ctrl-C in a terminal is for the process that began the work."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _done(function: Callable[[Task], Result], task: Task) -> Result:
    """What ``function`` returns or raises, the latter such that it can be sent.

    An exception that cannot be made again from its arguments would look like a worker's death.
    """
    try:
        return function(task)
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
        except Exception:  # noqa: BLE001 - whatever a stranger's exception does there
            raise RuntimeError(f"{type(error).__name__}: {error}") from None
        raise
