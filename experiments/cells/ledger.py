"""The ledger of a sweep: a row for each cell that was computed, or tried, under the cell's key.

SQLite with a write-ahead log: a row that was written is there after any end of the process, and
what was being written is there whole or not at all.
"""

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from experiments.cells.cell import Computed
from experiments.errors import InputError

VERSION = 1

_TABLE = """
CREATE TABLE IF NOT EXISTS cells (
    key TEXT PRIMARY KEY,
    record BLOB,
    error TEXT NOT NULL,
    wall_s REAL NOT NULL,
    attempts INTEGER NOT NULL,
    worker TEXT NOT NULL,
    CHECK ((record IS NULL) <> (error = ''))
)
"""
# A cell that failed before, or that a second worker has computed as well, keeps its first record.
_WRITE = """
INSERT INTO cells VALUES (:key, :record, :error, :wall_s, 1, :worker)
ON CONFLICT (key) DO UPDATE SET
    record = excluded.record, error = excluded.error, wall_s = excluded.wall_s,
    attempts = attempts + 1, worker = excluded.worker
WHERE record IS NULL
"""


class Ledger:
    """What is known of cells; one file."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Open the ledger, or make it. Raises InputError if the file is something else."""
        self._path = path
        try:
            self._connection = _opened(path, read_only=read_only)
        except sqlite3.Error as error:
            raise InputError(f"cannot use {path} as the ledger of a sweep: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._connection.close()

    def write(self, computed: Computed) -> None:
        """Keep what became of a cell; it is safe once this returns. Raises InputError."""
        row = {
            "key": computed.key,
            "record": computed.record,
            "error": computed.error,
            "wall_s": computed.wall_s,
            "worker": computed.worker,
        }
        try:
            with self._connection:
                self._connection.execute(_WRITE, row)
        except sqlite3.Error as error:
            raise InputError(f"cannot write to {self._path}: {error}") from error

    def done(self, keys: Iterable[str]) -> set[str]:
        """Those of the keys that there is a record for."""
        rows = self._connection.execute("SELECT key FROM cells WHERE record IS NOT NULL")
        return {key for (key,) in rows} & set(keys)

    def record(self, key: str) -> bytes | None:
        """The record of a cell in JSON, if there is one."""
        row = self._connection.execute("SELECT record FROM cells WHERE key = ?", (key,)).fetchone()
        found: bytes | None = row and row[0]
        return found

    def error(self, key: str) -> str:
        """Why there is no record of a cell that was tried; empty if it was not, or there is one."""
        row = self._connection.execute("SELECT error FROM cells WHERE key = ?", (key,)).fetchone()
        return str(row[0]) if row else ""


def _opened(path: Path, *, read_only: bool) -> sqlite3.Connection:
    connection = sqlite3.connect(_uri(path, read_only=read_only), uri=True, timeout=60)
    try:
        found = connection.execute("PRAGMA user_version").fetchone()[0]
        if found not in (0, VERSION):
            raise sqlite3.DatabaseError(f"its version is {found}, and this PinLab knows {VERSION}")
        if found == 0:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(_TABLE)
            connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("PRAGMA synchronous = NORMAL")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _uri(path: Path, *, read_only: bool) -> str:
    """How to open a ledger; without a file, one that may not be written is an empty one."""
    if not read_only:
        return f"{path.resolve().as_uri()}?mode=rwc"
    if not path.exists():
        return ":memory:"
    # A log beside it holds rows that are not in the file yet. Without one, SQLite would make it.
    log = path.with_name(f"{path.name}-wal")
    return f"{path.resolve().as_uri()}?{'mode=ro' if log.exists() else 'immutable=1'}"
