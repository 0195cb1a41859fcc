"""The results of a sweep: its files, its rows, and the table of all cells.

A row of the table is a cell, in the order of the plan. Columns, all nullable but the first:

* ``cell``: the number, from 1; ``error``: the reason, where a cell has no record;
* a column for each key that varies, ``guest.ram``: sizes in bytes, durations in ns, and what is no
  single value as JSON;
* the run record with dotted names: ``outcome``, ``time_ns.total``, ``counts.traps``,
  ``failure.pfn``. Those of ``experiments.record.columns`` are there in every table; the numbers and
  texts of a record's mappings stand behind them by name.

The file has the same bytes for the same plan and code, whoever computed the cells, in any order.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from experiments.cells.ledger import Ledger
from experiments.cells.plan import Cell, Sweep
from experiments.errors import InputError
from experiments.provenance import provenance
from experiments.record.columns import columns
from experiments.record.record import Provenance, Record, decoded

if TYPE_CHECKING:
    import polars as pl

MANIFEST_SCHEMA = "pinlab.sweep-manifest/1"


class Files(NamedTuple):
    """What a sweep keeps in its folder."""

    ledger: Path
    manifest: Path
    results: Path


class Row(NamedTuple):
    """A cell with what became of it."""

    cell: Cell
    record: Record | None
    error: str


def files(out: Path) -> Files:
    """Where a sweep keeps what in the folder ``out``."""
    return Files(out / "ledger.sqlite", out / "manifest.json", out / "results.parquet")


def rows(cells: Iterable[Cell], ledger: Ledger) -> Iterator[Row]:
    """The cells in their order, each with its record or the reason why there is none."""
    for cell in cells:
        found = ledger.record(cell.key)
        if found is None:
            yield Row(cell, None, ledger.error(cell.key))
        else:
            # The name is the only part of a record that its key does not cover.
            record = msgspec.structs.replace(decoded(found), scenario=cell.scenario.name)
            yield Row(cell, record, "")


def read(sweep: Sweep, out: str | Path) -> Iterator[Row]:
    """What the folder's ledger has of the cells. Raises InputError."""
    with Ledger(files(Path(out)).ledger, read_only=True) as ledger:
        yield from rows(sweep.cells, ledger)


def table(sweep: Sweep, ledger: Ledger) -> "pl.DataFrame":
    """All cells as a table; its columns are described at the top of this module."""
    import polars as pl

    errors: list[str | None] = []
    records: list[dict[str, Any]] = []
    for row in rows(sweep.cells, ledger):
        errors.append(row.error or None)
        records.append({} if row.record is None else row.record.row())
    fixed = _schema()
    settings = [key for axis in sweep.axes for key in axis.keys]
    more = sorted({key for record in records for key in record} - fixed.keys())
    return pl.DataFrame(
        [
            pl.Series("cell", [cell.number for cell in sweep.cells], pl.Int64),
            pl.Series("error", errors, pl.String),
            *(_settings_column(key, sweep.cells) for key in settings),
            *(
                pl.Series(key, [record.get(key) for record in records], kind)
                for key, kind in fixed.items()
            ),
            *(_series(key, [record.get(key) for record in records]) for key in more),
        ]
    )


def write(path: Path, frame: "pl.DataFrame") -> None:
    """Write a table as Parquet, the whole file or nothing. Raises InputError."""
    buffer = BytesIO()
    frame.write_parquet(buffer, compression="zstd", compression_level=3, row_group_size=1 << 16)
    replace(path, buffer.getvalue())


def write_manifest(path: Path, sweep: Sweep) -> None:
    """Write down what is swept. Raises InputError."""
    manifest = {
        "schema": MANIFEST_SCHEMA,
        "provenance": made_by(sweep),
        "name": sweep.name,
        "file": sweep.origin,
        "sha256": hashlib.sha256(sweep.text.encode()).hexdigest(),
        "code": sweep.code,
        "seed": sweep.seed,
        "replications": sweep.replications,
        "axes": [
            {"kind": axis.kind, "keys": axis.keys, "points": len(axis.points)}
            for axis in sweep.axes
        ],
        "cells": len(sweep.cells),
        "text": sweep.text,
    }
    replace(path, msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")


def made_by(sweep: Sweep) -> Provenance:
    """What makes the records of a sweep: the code, its seed, and what its file says."""
    settings = {"kind": "sweep", "name": sweep.name, "text": sweep.text}
    return provenance(settings, seed=sweep.seed)


def code_of(path: Path) -> str:
    """The version of the code in a manifest; empty where there is no manifest that says one."""
    try:
        return str(msgspec.json.decode(path.read_bytes())["code"])
    except (OSError, msgspec.DecodeError, KeyError, TypeError):
        return ""


def replace(path: Path, content: bytes) -> None:
    """Give a file a new content: all of it, or the file stays as it is. Raises InputError."""
    growing = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        growing.write_bytes(content)
        growing.replace(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error
    finally:
        with suppress(OSError):
            growing.unlink()


def _schema() -> "dict[str, Any]":
    """The columns of every table."""
    import polars as pl

    kinds: dict[type, Any] = {
        str: pl.String,
        int: pl.Int64,
        float: pl.Float64,
        bool: pl.Boolean,
        list: pl.List(pl.String),
    }
    return {key: kinds[kind] for key, kind in columns(Record).items()}


def _settings_column(key: str, cells: Sequence[Cell]) -> "pl.Series":
    """The values of a key, as the checked scenarios have them."""
    values: list[Any] = []
    for cell in cells:
        value: Any = cell.scenario
        for step in key.split("."):
            value = value[step] if isinstance(value, dict) else getattr(value, step)
        is_number = isinstance(value, int) and not isinstance(value, bool)
        # A size or a page number is a subclass of int.
        values.append(int(value) if is_number else value)
    return _series(key, values)


def _series(key: str, values: Sequence[Any]) -> "pl.Series":
    """A column of the narrowest type that holds all values; of JSON, if they are of many kinds."""
    import polars as pl

    kinds = {type(value) for value in values if value is not None}
    for held, kind in (
        ({str}, pl.String),
        ({bool}, pl.Boolean),
        ({int}, pl.Int64),
        ({int, float}, pl.Float64),
    ):
        if kinds <= held:
            return pl.Series(key, values, kind, strict=False)
    return pl.Series(
        key,
        [None if value is None else _json(value) for value in values],
        pl.String,
    )


def _json(value: object) -> str:
    return msgspec.json.encode(value, enc_hook=int).decode()
