"""Records and documents for data frames and notebooks."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

_SHOWN = 24
"""Columns of a table in a notebook; the rest is in the data frame."""


def scalars(document: Mapping[str, Any]) -> dict[str, Any]:
    """The single values of a document, with dotted names; lists are left out."""
    return dict(_scalars(msgspec.to_builtins(dict(document)), ""))


def _scalars(values: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _scalars(value, f"{path}{name}.")
        elif not isinstance(value, list):
            yield f"{path}{name}", value


def as_polars(rows: Sequence[Mapping[str, Any]]) -> "pl.DataFrame":
    """The rows as a data frame; what a row lacks is null."""
    import polars as pl

    return pl.DataFrame(_filled(rows), infer_schema_length=None)


def as_pandas(rows: Sequence[Mapping[str, Any]]) -> "pd.DataFrame":
    """The rows as a data frame; what a row lacks is missing.

    Raises:
        ImportError: pandas is not installed; PinLab does without it.
    """
    import pandas as pd

    return pd.DataFrame(_filled(rows))


def _filled(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    keys = dict.fromkeys(key for row in rows for key in row)
    return [{key: row.get(key) for key in keys} for row in rows]


def html_table(heading: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """A table for a notebook: a line a key, a column a row."""
    filled = _filled(rows)
    keys = [
        key for key in (filled[0] if filled else ()) if any(row[key] is not None for row in filled)
    ][:_SHOWN]
    lines = (
        f"<tr><th style='text-align:left'>{escape(key)}</th>"
        + "".join(f"<td>{escape(_shown(row[key]))}</td>" for row in filled)
        + "</tr>"
        for key in keys
    )
    return f"<p>{escape(heading)}</p><table>{''.join(lines)}</table>"


def _shown(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "" if value is None else str(value)
