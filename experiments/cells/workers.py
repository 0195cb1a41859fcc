"""Cells on Dask's workers: processes of this machine, or those of a scheduler elsewhere.

Workers return what they computed and write nothing. Dask gives the cells of a worker that died to
another one; a cell that kills one worker after the other is given up and told as failed.

A worker of this machine is a process of the command ``dask worker``, which is started again when
it dies. Dask's own guardian of processes (the Nanny) is not used: it gives up a worker that dies
soon after its start, as one does that is handed a deadly cell first thing.
"""

import logging
import queue
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import TYPE_CHECKING, NamedTuple

from experiments.cells.cell import Computed, Task, compute, one_line
from experiments.cells.folder import SCRATCH_PREFIX
from experiments.cells.worker_processes import WorkerProcesses
from experiments.errors import InputError

if TYPE_CHECKING:
    from distributed import Client, Future

_SCHEDULER = {
    # A worker holds one cell, so that only the cell that kills a worker is blamed for it.
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.scheduler.work-stealing": False,
}
# For each worker: enough that none waits for this process, and Ctrl-C has little to take back.
_IN_FLIGHT = 3
_CONNECT_S = 10
_LOOK_S = 0.2
_FETCH_S = 1.0


class Workers(NamedTuple):
    """Where cells are computed."""

    client: "Client"
    threads: int
    look_after: Callable[[], None]
    """To be called every now and then."""


def compute_on_workers(
    tasks: Sequence[Task], scratch: Path, jobs: int, address: str | None
) -> Generator[Computed]:
    """What becomes of each cell, in the order in which they are done.

    ``jobs`` processes of this machine, with temporary files below ``scratch``, or the workers of
    the scheduler at ``address``.

    Raises:
        InputError: there is no scheduler at the address, or workers cannot be started.
    """
    chosen = _here(scratch, min(jobs, len(tasks))) if address is None else _elsewhere(address)
    with _late_interrupts() as raise_if_interrupted, _silence(), chosen as workers:
        waiting = iter(tasks)
        running: dict[Future[Computed], str] = {}
        done: queue.SimpleQueue[Future[Computed]] = queue.SimpleQueue()
        while True:
            raise_if_interrupted()
            while len(running) < _IN_FLIGHT * workers.threads:
                task = next(waiting, None)
                if task is None:
                    break
                # Not pure: under a key of its own, so that nothing which an earlier sweep left
                # on a scheduler is taken for a result.
                future = workers.client.submit(compute, task, pure=False)
                running[future] = task.key
                future.add_done_callback(done.put)
            if not running:
                return
            workers.look_after()
            try:
                future = done.get(timeout=_LOOK_S)
            except queue.Empty:
                continue

            def look_after() -> None:
                raise_if_interrupted()
                workers.look_after()

            yield _fetched(future, running.pop(future), look_after)


def _fetched(future: "Future[Computed]", key: str, look_after: Callable[[], None]) -> Computed:
    """What became of a cell that is done.

    Its worker may have died since, with the result. Dask then has it computed again, for which
    there must be a worker.
    """
    while True:
        try:
            return future.result(timeout=_FETCH_S)
        except TimeoutError:
            look_after()
        except Exception as error:  # noqa: BLE001 - whatever Dask says, the others go on
            return Computed(key=key, error=_reason(error))


def _reason(error: BaseException) -> str:
    from distributed import KilledWorker

    if isinstance(error, KilledWorker):
        return f"KilledWorker: {error.allowed_failures + 1} workers died while they computed it"
    return one_line(error)


@contextmanager
def _here(scratch: Path, jobs: int) -> Iterator[Workers]:
    """Workers on this machine, each a process with one thread; they and their files go again."""
    import dask
    from distributed import Client, LocalCluster

    with (
        dask.config.set(_SCHEDULER),
        LocalCluster(
            n_workers=0,
            processes=True,
            host="127.0.0.1",
            # Any free port, and nobody from outside; None would be 8787, whoever has it.
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        ) as cluster,
        TemporaryDirectory(prefix=SCRATCH_PREFIX, dir=scratch, ignore_cleanup_errors=True) as own,
        WorkerProcesses(cluster.scheduler_address, jobs, Path(own)) as processes,
        Client(cluster, set_as_default=False) as client,
    ):
        yield Workers(client, jobs, lambda: processes.restart_dead(_names(client)))


def _names(client: "Client") -> set[str]:
    """Of the workers that the scheduler knows."""
    workers = client.scheduler_info(n_workers=-1)["workers"]
    return {str(worker["name"]) for worker in workers.values()}


@contextmanager
def _elsewhere(address: str) -> Iterator[Workers]:
    """The workers of a scheduler that is there already."""
    from distributed import Client

    try:
        client = Client(address, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(f"no Dask scheduler at {address}: {one_line(error)}") from error
    with client:
        yield Workers(client, max(1, sum(client.nthreads().values())), lambda: None)


@contextmanager
def _late_interrupts() -> Iterator[Callable[[], None]]:
    """Ctrl-C waits until somebody asks for it, by calling what this yields; a second one does not.

    Dask's own code runs in this thread as well, and an exception in the middle of it is printed,
    or lost where the interpreter ignores it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    come = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:
        if come.is_set():
            signal.default_int_handler(number, frame)
        come.set()

    def raise_if_interrupted() -> None:
        if come.is_set():
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, note)
    try:
        yield raise_if_interrupted
        raise_if_interrupted()
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _silence() -> Iterator[None]:
    """Dask tells of every worker that comes and goes; a sweep tells of its cells.

    It sets the levels of its loggers when it is imported, some of them one by one, and closes
    connections still when its cluster has given back the silence that it was asked for.
    """
    import distributed  # noqa: F401 - for its levels, which are then ours to change

    loggers = [
        logging.getLogger(name)
        for name in list(logging.root.manager.loggerDict)
        if name.partition(".")[0] in ("distributed", "tornado", "asyncio")
    ]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
