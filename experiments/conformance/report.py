"""What became of conformance vectors, for people and for programs."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from experiments.conformance.bench import Difference, differences
from experiments.conformance.vectors import Vector, load_programs
from experiments.decoding.line_values import summary
from experiments.decoding.words import entry_flags, read_type_info
from experiments.provenance import contents, provenance
from experiments.record.record import Provenance
from models.machine.entries import mfn_of
from models.xen.versions.abi import Abi, find_abi

SCHEMA = "pinlab.conform/1"


class Failure(NamedTuple):
    """A vector to which the model answers otherwise."""

    vector: Vector
    differences: Sequence[Difference]


class Report(NamedTuple):
    """All vectors of a run."""

    passed: int
    failures: Sequence[Failure]
    made: Provenance


def conform(files: Sequence[Path]) -> Report:
    """Run the vectors of all files.

    Raises:
        InputError: a file cannot be used; nothing has been run then.
    """
    programs = [program for path in files for program in load_programs(path)]
    failures = [
        Failure(program.vector, found) for program in programs if (found := differences(program))
    ]
    made = provenance({"files": contents(files)}, __name__)
    return Report(len(programs) - len(failures), failures, made)


def as_document(report: Report) -> dict[str, Any]:
    """The report as plain data: of each failure, what differs by where and what it is."""
    return {
        "schema": SCHEMA,
        "provenance": report.made,
        "passed": report.passed,
        "failed": len(report.failures),
        "failures": [
            {
                "name": vector.name,
                "version": vector.version,
                "expected": {f"{d.where}: {d.what}": d.expected for d in found},
                "got": {f"{d.where}: {d.what}": d.got for d in found},
            }
            for vector, found in report.failures
        ],
    }


def conform_table(report: Report) -> RenderableType:
    """The failures, operation by operation, and a line that counts."""
    verdict = f"{report.passed} passed, {len(report.failures)} failed"
    return Group(*(_failure(failure) for failure in report.failures), Text(verdict, style="bold"))


def _failure(failure: Failure) -> RenderableType:
    vector, found = failure
    parts: list[RenderableType] = [Text(f"{vector.name} ({vector.version})", style="bold")]
    for where, group in groupby(found, key=lambda difference: difference.where):
        parts.append(Text(f"  {where}{_operation(vector, where)}"))
        table = Table.grid(padding=(0, 2, 0, 0))
        for difference in group:
            _add_rows(table, find_abi(vector.version), difference)
        parts.append(table)
    return Group(*parts, Text())


def _operation(vector: Vector, where: str) -> str:
    """What was done there, as the vector has it."""
    kind, _, number = where.partition(" ")
    return f": {vector.ops[int(number)]}" if kind == "op" else ""


def _add_rows(table: Table, abi: Abi, difference: Difference) -> None:
    """What was expected beside what came; lists a line each, words with what they mean."""
    _, what, expected, got = difference
    for title, value in (("expected", expected), ("got", got)):
        lines = value if isinstance(value, list) else [value]
        for number, line in enumerate(lines or ["nothing"]):
            first = number == 0
            table.add_row(
                Text(f"    {what}" if first and title == "expected" else ""),
                Text(title if first else "", style="bold" if first else ""),
                Text(f"{line}{_meaning(abi, what, line)}"),
            )


def _meaning(abi: Abi, what: str, value: object) -> str:
    """What a word says, in brackets."""
    if what.endswith("type_info"):
        return f"  ({summary(read_type_info(abi, int(str(value), 16)))})"
    if what.startswith("entry"):
        entry = int(str(value), 16)
        return f"  (mfn {mfn_of(entry):x}, {' '.join(entry_flags(entry)) or 'no flags'})"
    return ""
