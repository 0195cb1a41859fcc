"""The timing log: one row for each hypercall and each write that Xen emulated.

Rows are buffered in columns during the run and written once, at its end.
"""

import os
from array import array
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path

import msgspec

from experiments.errors import InputError
from experiments.record.record import Provenance

SUFFIXES = (".jsonl", ".parquet")
SCHEMA = "pinlab.log/1"
METADATA = "pinlab"
"""The key of a Parquet file's metadata: schema and provenance as JSON."""


class Row(msgspec.Struct, frozen=True):
    """One row as JSON lines hold it; Parquet has the same columns, target and value as integers."""

    start_ns: int
    """When the call was made, in simulated nanoseconds."""
    duration_ns: int
    """How long it took."""
    vcpu: int
    """The number of the vCPU that made it."""
    kind: str
    """update_va_mapping, mmu_update, mmuext_op, multicall or ptwr."""
    op: str
    """The operation, for instance PIN_L1_TABLE; of a multicall, the kinds of its entries."""
    target: str | None
    """A virtual address, a machine address or an mfn."""
    value: str | None
    """The new entry."""
    entries: int
    """How many requests, operations or entries it holds."""
    result: int
    """What it returned: 0, or an errno below 0."""


class TimingLog:
    """Collects rows and writes them to a file; ``len()`` is their number."""

    def __init__(self) -> None:
        self._start_ns = array("q")
        self._duration_ns = array("q")
        self._vcpu = array("q")
        self._kind: list[str] = []
        self._op: list[str] = []
        self._target: list[int | None] = []
        self._value: list[int | None] = []
        self._entries = array("q")
        self._result = array("q")

    def __len__(self) -> int:
        return len(self._kind)

    def append(  # noqa: PLR0913, PLR0917 - an argument a column; a record for each call would cost more
        self,
        start_ns: int,
        duration_ns: int,
        vcpu: int,
        kind: str,
        op: str,
        target: int | None,
        value: int | None,
        entries: int,
        result: int,
    ) -> None:
        """Add a row; what the columns hold stands with ``Row``."""
        self._start_ns.append(start_ns)
        self._duration_ns.append(duration_ns)
        self._vcpu.append(vcpu)
        self._kind.append(kind)
        self._op.append(op)
        self._target.append(target)
        self._value.append(value)
        self._entries.append(entries)
        self._result.append(result)

    def rows(self) -> Iterator[Row]:
        """The rows in the order in which they were added."""
        return map(
            Row,
            self._start_ns,
            self._duration_ns,
            self._vcpu,
            self._kind,
            self._op,
            map(_hexadecimal, self._target),
            map(_hexadecimal, self._value),
            self._entries,
            self._result,
        )

    def write(self, path: Path, made: Provenance) -> None:
        """Write the rows as the path's suffix says: the whole file or nothing.

        What made them is in a Parquet file's own metadata, under :data:`METADATA`; beside JSON
        lines it is a file of its own (:func:`beside`).

        Raises InputError if that fails.
        """
        told = msgspec.json.encode({"schema": SCHEMA, "provenance": made})
        in_parquet = path.suffix == ".parquet"
        files = {path: self._parquet(told) if in_parquet else self._lines()}
        if not in_parquet:
            files[beside(path)] = msgspec.json.format(told) + b"\n"
        for file, content in files.items():
            with _growing_beside(file) as partial:
                partial.write_bytes(content)
                partial.replace(file)

    def _lines(self) -> bytes:
        return msgspec.json.Encoder().encode_lines(self.rows())

    def _parquet(self, told: bytes) -> bytes:
        import polars as pl

        frame = pl.DataFrame(
            [
                pl.Series("start_ns", self._start_ns, pl.Int64),
                pl.Series("duration_ns", self._duration_ns, pl.Int64),
                pl.Series("vcpu", self._vcpu, pl.Int64),
                pl.Series("kind", self._kind, pl.String),
                pl.Series("op", self._op, pl.String),
                pl.Series("target", self._target, pl.UInt64),
                pl.Series("value", self._value, pl.UInt64),
                pl.Series("entries", self._entries, pl.Int64),
                pl.Series("result", self._result, pl.Int64),
            ]
        )
        buffer = BytesIO()
        frame.write_parquet(buffer, metadata={METADATA: told.decode()})
        return buffer.getvalue()


def beside(path: Path) -> Path:
    """The file that says what made JSON lines: ``calls.provenance.json`` of ``calls.jsonl``."""
    return path.with_suffix(".provenance.json")


def check_destination(path: Path) -> None:
    """Raise InputError unless a log can be written to ``path``; nothing is left there."""
    if path.suffix not in SUFFIXES:
        raise InputError(
            f"cannot write a log to {path}: its name ends in none of {', '.join(SUFFIXES)}"
        )
    with _growing_beside(path):
        if path.is_dir():
            raise InputError(f"cannot write a log to {path}: it is a directory")
        if path.exists() and not os.access(path, os.W_OK):
            raise InputError(f"cannot write a log to {path}: it is write-protected")


@contextmanager
def _growing_beside(path: Path) -> Iterator[Path]:
    """A file in the same folder, to be renamed to ``path`` once complete; or else it goes."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.touch()
        yield partial
    except OSError as error:
        raise InputError(f"cannot write a log to {path}: {error.strerror}") from error
    finally:
        with suppress(OSError):
            partial.unlink()


def _hexadecimal(number: int | None) -> str | None:
    return None if number is None else hex(number)
