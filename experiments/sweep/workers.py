"""Cells on Dask's workers: processes of this machine, or those of a scheduler elsewhere.

Workers return what they computed and write nothing. Dask gives the cells of a worker that died to
another one; a cell that kills one worker after the other is given up and told as failed.
"""

import logging
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from experiments.errors import InputError
from experiments.sweep.cell import Computed, Task, compute, one_line
from experiments.sweep.folder import SCRATCH_PREFIX

_CONFIG: dict[str, Any] = {
    # A worker holds one cell, so that only the cell that kills a worker is blamed for it.
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.scheduler.work-stealing": False,
    "distributed.worker.profile.enabled": False,
    # Ctrl-C in a terminal reaches every process; the parent is the one to answer it.
    "distributed.worker.preload": ["experiments.sweep.worker_process"],
}
# Per worker thread: enough that none waits for the parent, and little is done twice after a death.
_IN_FLIGHT = 3
_CONNECT_S = 10


def compute_on_workers(
    tasks: Sequence[Task], scratch: Path, jobs: int, address: str | None
) -> Generator[Computed]:
    """What becomes of each cell, in the order in which they are done.

    ``jobs`` processes of this machine, with temporary files below ``scratch``, or the workers of
    the scheduler at ``address``.

    Raises:
        InputError: there is no scheduler at the address.
    """
    import dask
    from distributed import Client, as_completed

    with ExitStack() as stack:
        stack.enter_context(_silence())
        stack.enter_context(dask.config.set(_CONFIG))
        client: Client = stack.enter_context(
            _local_client(scratch, min(jobs, len(tasks))) if address is None else _client(address)
        )
        threads = sum(client.nthreads().values()) or jobs
        waiting = iter(tasks)
        # Not pure: a key of its own for each submission, so nothing that an earlier sweep left
        # on a scheduler is taken for a result.
        keys: dict[Any, str] = {}

        def submitted(number: int) -> Iterator[Any]:
            for task in islice(waiting, number):
                future = client.submit(compute, task, pure=False)
                keys[future.key] = task.key
                yield future

        running = as_completed(submitted(_IN_FLIGHT * threads), loop=client.loop)
        for future in running:
            running.update(submitted(1))
            error = future.exception()
            key = keys.pop(future.key)
            yield future.result() if error is None else Computed(key=key, error=one_line(error))


@contextmanager
def _local_client(scratch: Path, jobs: int) -> Iterator[Any]:
    """Workers on this machine, each a process with one thread; they and their files go again."""
    from distributed import Client, LocalCluster

    with (
        TemporaryDirectory(prefix=SCRATCH_PREFIX, dir=scratch, ignore_cleanup_errors=True) as folder,
        LocalCluster(
            n_workers=jobs,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
            local_directory=folder,
            memory_limit=0,
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@contextmanager
def _client(address: str) -> Iterator[Any]:
    """The workers of a scheduler that is there already."""
    from distributed import Client

    try:
        client = Client(address, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(f"no Dask scheduler at {address}: {one_line(error)}") from error
    with client:
        yield client


@contextmanager
def _silence() -> Iterator[None]:
    """Dask tells of every worker that comes and goes; a sweep tells of its cells."""
    loggers = [logging.getLogger(name) for name in ("distributed", "tornado", "asyncio")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
