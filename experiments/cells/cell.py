"""Computing one cell, here or on a worker: it gives its record, or the reason why there is none."""

import os
import socket
import time

import msgspec

from experiments.cells.plan import Cell
from experiments.code_version import code_version
from experiments.record.record import Record
from experiments.scenario.scenario import Scenario
from experiments.subjects.kinds import run


class Computed(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a cell."""

    key: str
    record: bytes | None = None
    """A run record in JSON."""
    error: str = ""
    """One line, if there is no record."""
    wall_s: float = 0.0
    worker: str = ""
    """Host and process."""


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """As much of a cell as a worker needs."""

    key: str
    scenario: Scenario
    seed: int
    replication: int
    code: str


def task(cell: Cell, code: str) -> Task:
    """What to compute for a cell, with this version of the code."""
    return Task(
        key=cell.key,
        scenario=cell.scenario,
        seed=cell.seed,
        replication=cell.replication,
        code=code,
    )


def compute(task: Task) -> Computed:
    """Run a cell. Whatever it raises, except an interrupt, becomes the reason of its failure."""
    start = time.perf_counter()
    record, error = None, ""
    try:
        record = msgspec.json.encode(_record(task))
    except Exception as raised:  # noqa: BLE001 - one cell's fault must not end the sweep
        error = one_line(raised)
    return Computed(
        key=task.key,
        record=record,
        error=error,
        wall_s=round(time.perf_counter() - start, 3),
        worker=f"{socket.gethostname()}:{os.getpid()}",
    )


def _record(task: Task) -> Record:
    if code_version() != task.code:
        raise RuntimeError("this worker has another version of PinLab's code; restart it")
    return run(task.scenario, seed=task.seed, replication=task.replication)


def one_line(error: BaseException) -> str:
    """What was raised, and what it says."""
    return " ".join(f"{type(error).__name__}: {error}".rstrip(": ").split())
