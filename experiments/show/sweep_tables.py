"""A sweep for people, on the terminal, and for programs."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from experiments.cells.execute import Swept
from experiments.cells.plan import Cell, Sweep
from experiments.cells.results import Row, made_by
from experiments.record.record import Record
from experiments.scenario.quantities import DURATION_UNITS, as_written, duration_unit

SCHEMA = "pinlab.sweep/1"
MOST_ROWS = 60
"""Longer tables are summed up."""

_STYLES = {"ok": "green", "latent": "yellow"}


def plan_table(sweep: Sweep, missing: int) -> RenderableType:
    """What a sweep consists of and how much of it is left to do."""
    axes = Table.grid(padding=(0, 3, 0, 0))
    for axis in sweep.axes:
        for number, key in enumerate(axis.keys):
            values = [as_written(point[number]) for point in axis.points]
            head = f"{axis.kind}, {len(axis.points)} points" if number == 0 else ""
            axes.add_row(Text(head), Text(key, style="bold"), Text(_shortened(values)))
    axes.add_row(Text("replications"), Text(str(sweep.replications), style="bold"), "")
    return Group(
        Text(f"{sweep.name}: {len(sweep.cells):,} cells, seed {sweep.seed}, code {sweep.code}"),
        axes,
        Text(f"{len(sweep.cells) - missing:,} from the ledger, {missing:,} to compute"),
    )


def sweep_table(sweep: Sweep, swept: Swept, rows: Iterable[Row], where: str) -> RenderableType:
    """A line a cell, or a line a strategy and outcome if that would be many; and the sum."""
    table = _cells(sweep, list(rows)) if len(sweep.cells) <= MOST_ROWS else _summary(rows)
    return Group(table, "", Text(tally(sweep, swept)), Text(f"results: {where}", style="dim"))


def tally(sweep: Sweep, swept: Swept) -> str:
    """How many cells there are, and where their records come from."""
    return (
        f"{len(sweep.cells):,} cells: {swept.reused:,} from the ledger, {swept.computed:,} "
        f"computed, {len(swept.failed):,} failed"
    )


def sweep_document(sweep: Sweep, swept: Swept, rows: Iterable[Row], where: str) -> dict[str, Any]:
    """The sweep with all records, schema ``pinlab.sweep/1``."""
    return {
        "schema": SCHEMA,
        "provenance": made_by(sweep),
        "name": sweep.name,
        "cells": len(sweep.cells),
        "computed": swept.computed,
        "reused": swept.reused,
        "failed": len(swept.failed),
        "results": where,
        "rows": [
            _about(row.cell) | msgspec.to_builtins(row.record)
            for row in rows
            if row.record is not None
        ],
        "failures": [_about(row.cell) | {"error": row.error} for row in swept.failed],
    }


def plan_document(sweep: Sweep, missing: int) -> dict[str, Any]:
    """What ``--dry-run`` tells, as plain data."""
    return {
        "schema": SCHEMA,
        "provenance": made_by(sweep),
        "name": sweep.name,
        "dry_run": True,
        "cells": len(sweep.cells),
        "computed": 0,
        "reused": len(sweep.cells) - missing,
        "failed": 0,
        "to_compute": missing,
        "replications": sweep.replications,
        "seed": sweep.seed,
        "axes": [
            {"kind": axis.kind, "keys": axis.keys, "points": axis.points} for axis in sweep.axes
        ],
        "rows": [],
    }


def _about(cell: Cell) -> dict[str, Any]:
    return {"cell": cell.number, "settings": cell.settings}


def _cells(sweep: Sweep, rows: Sequence[Row]) -> Table:
    keys = [key for axis in sweep.axes for key in axis.keys]
    several = sweep.replications > 1
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("cell", justify="right")
    for key in keys:
        table.add_column(key.rpartition(".")[2])
    if several:
        table.add_column("replication", justify="right")
    times = [row.record.time_ns for row in rows if row.record]
    longest = max((time.total for time in times if time), default=0)
    unit = duration_unit(longest)
    table.add_column("outcome")
    for head in (f"time ({unit})", "traps", "tables"):
        table.add_column(head, justify="right")
    for row in rows:
        table.add_row(
            str(row.cell.number),
            *(_value(row.cell.settings[key]) for key in keys),
            *([str(row.cell.replication)] if several else []),
            *_figures(row.record, unit),
        )
    return table


def _figures(record: Record | None, unit: str) -> tuple[Text | str, ...]:
    if record is None:
        return Text("failed", style="bold red"), "", "", ""
    time, pages = record.time_ns, record.pages
    return (
        _outcome(record.outcome),
        "" if time is None else f"{time.total / DURATION_UNITS[unit]:,.3f}",
        f"{record.counts.traps:,}",
        "" if pages is None else f"{pages.tables:,}",
    )


def _summary(rows: Iterable[Row]) -> Table:
    """How often each strategy came to which outcome."""
    counts = Counter(
        (row.cell.scenario.guest.strategy, row.record.outcome if row.record else "failed")
        for row in rows
    )
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("strategy")
    table.add_column("outcome")
    table.add_column("cells", justify="right")
    for (strategy, outcome), count in counts.items():
        table.add_row(strategy, _outcome(outcome), f"{count:,}")
    return table


def _outcome(outcome: str) -> Text:
    return Text(outcome, style=_STYLES.get(outcome, "bold red"))


def _value(value: object) -> Text:
    return Text(value if isinstance(value, str) else as_written(value), overflow="fold")


def _shortened(values: Sequence[str]) -> str:
    return ", ".join(values if len(values) <= 6 else [*values[:3], "...", values[-1]])
