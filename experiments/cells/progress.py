"""How far a sweep is: a bar on a terminal, log records elsewhere."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from experiments.cells.cell import Computed
from experiments.cells.execute import Watch
from experiments.cells.plan import Cell
from experiments.record.record import decoded

if TYPE_CHECKING:
    from experiments.run_log import RunLog


def watching(cells: int, logger: "RunLog | None") -> AbstractContextManager[Watch]:
    """Show how many of so many cells are done, in a bar if there is no logger."""
    return _bar(cells) if logger is None else _records(cells, logger)


@contextmanager
def _bar(cells: int) -> Iterator[Watch]:
    """A bar on stderr for so many cells, which goes away at the end."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[failed]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("cells", total=cells, failed="")
        failed = 0

        def watch(_: Cell, computed: Computed) -> None:
            nonlocal failed
            failed += computed.record is None
            progress.update(task, advance=1, failed=f"{failed} failed" if failed else "")

        yield watch


@contextmanager
def _records(cells: int, logger: "RunLog") -> Iterator[Watch]:
    """A log record for each cell."""
    logger.info("sweep started", cells=cells)

    def watch(cell: Cell, computed: Computed) -> None:
        bound = logger.bind(cell=cell.number, settings=cell.settings, replication=cell.replication)
        if computed.record is None:
            bound.warning("cell failed", error=computed.error, wall_s=computed.wall_s)
        else:
            outcome = decoded(computed.record).outcome
            bound.info("cell finished", outcome=outcome, wall_s=computed.wall_s)

    yield watch
    logger.info("sweep finished")
