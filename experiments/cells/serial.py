"""Cells one after another, in this process."""

from collections.abc import Iterable, Iterator

from experiments.cells.cell import Computed, Task, compute


def compute_here(tasks: Iterable[Task]) -> Iterator[Computed]:
    """What becomes of each cell, in their order."""
    return map(compute, tasks)
