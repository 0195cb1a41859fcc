"""Carrying out a sweep: what the ledger lacks is computed, and then the results are written."""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from experiments.cells import results
from experiments.cells.cell import Computed, Task, task
from experiments.cells.folder import owned_folder
from experiments.cells.ledger import Ledger
from experiments.cells.plan import Cell, Sweep
from experiments.cells.serial import compute_here

if TYPE_CHECKING:
    import polars as pl

Watch = Callable[[Cell, Computed], None]


class Swept(NamedTuple):
    """A sweep that was carried out."""

    frame: "pl.DataFrame"
    """All cells; the columns are described in ``experiments.cells.results``."""
    computed: int
    reused: int
    failed: Sequence[results.Row]
    """Cells without a record."""


def run_sweep(
    sweep: Sweep,
    out: str | Path,
    *,
    jobs: int = 1,
    dask: str | None = None,
    watch: Watch | None = None,
) -> "pl.DataFrame":
    """Carry out a sweep in the folder ``out`` and return the table of all its cells.

    Cells that the folder's ledger has a record of are not run again; ``experiments.cells.results``
    describes the table, which is also written to ``results.parquet``. A cell that fails has a row
    with its ``error``, and is tried again by the next call.

    ``jobs``: with more than one, so many worker processes. ``dask``: the address of a Dask
    scheduler whose workers to use instead. ``watch`` is told of every cell that was computed.

    Raises:
        InputError: the folder cannot be used, or the scheduler cannot be reached.
    """
    return carry_out(sweep, out, jobs=jobs, dask=dask, watch=watch).frame


def carry_out(
    sweep: Sweep,
    out: str | Path,
    *,
    jobs: int = 1,
    dask: str | None = None,
    watch: Watch | None = None,
) -> Swept:
    """As :func:`run_sweep`, and tell as well how many cells were computed and which failed."""
    where = results.files(Path(out))
    with owned_folder(Path(out)), Ledger(where.ledger) as ledger:
        results.write_manifest(where.manifest, sweep)
        missing = missing_cells(sweep, ledger)
        tasks = [task(cell, sweep.code) for cell in missing.values()]
        with closing(_computing(tasks, Path(out), jobs, dask)) as computing:
            for computed in computing:
                ledger.write(computed)
                if watch is not None:
                    watch(missing[computed.key], computed)
        failed = [
            row
            for row in results.rows((c for c in sweep.cells if c.key in missing), ledger)
            if row.record is None
        ]
        frame = results.table(sweep, ledger)
    results.write(where.results, frame)
    tried = sum(cell.key in missing for cell in sweep.cells)
    return Swept(frame, tried - len(failed), len(sweep.cells) - tried, failed)


def left_to_do(sweep: Sweep, out: str | Path) -> int:
    """How many cells have no record in the folder yet; writes nothing. Raises InputError."""
    with Ledger(results.files(Path(out)).ledger, read_only=True) as ledger:
        missing = missing_cells(sweep, ledger)
    return sum(cell.key in missing for cell in sweep.cells)


def of_other_code(sweep: Sweep, out: str | Path) -> str:
    """The version of the code that the folder was last swept with, if it is not this one.

    No record of that is used: a cell's key holds for one version. Empty: there is none.
    """
    code = results.code_of(results.files(Path(out)).manifest)
    return "" if code == sweep.code else code


def missing_cells(sweep: Sweep, ledger: Ledger) -> dict[str, Cell]:
    """What a ledger has no record of, by key: of cells that are alike, the first."""
    done = ledger.done(cell.key for cell in sweep.cells)
    missing: dict[str, Cell] = {}
    for cell in sweep.cells:
        if cell.key not in done:
            missing.setdefault(cell.key, cell)
    return missing


def _computing(
    tasks: Sequence[Task], scratch: Path, jobs: int, dask: str | None
) -> Generator[Computed]:
    """What becomes of the cells, as it becomes known."""
    if not tasks:
        return
    if dask is None and jobs == 1:
        yield from compute_here(tasks)
    else:
        from experiments.cells.workers import compute_on_workers

        yield from compute_on_workers(tasks, scratch, jobs, dask)
