"""Litmus tests as a file has them, and what their operations mean.

The schema is ``pinlab.litmus/1``: two vCPUs of one domain start from the same state, each runs a
few operations, and the set of joint outcomes that a real Xen showed is listed.
``docs/reference/litmus-files.md`` describes it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from experiments.conformance.files import load_file
from experiments.conformance.machine import (
    Machine,
    check_frames,
    check_machine,
    check_slots,
    number,
)
from experiments.conformance.vectors import Hypercall, parse_op
from experiments.errors import InputError
from models.xen.versions.abi import Abi, find_abi, profile_names

SCHEMA = "pinlab.litmus/1"
_CALLS = ("mmuext", "mmu_update", "update_va_mapping", "multicall")

ReturnCode = int | Literal["#PF"] | list[int]
"""Of an operation; of a multicall, one for each entry; of a store 0 or a page fault."""


class Words(msgspec.Struct):
    """What the hypervisor keeps of a frame."""

    type_info: str
    count: int


class Observed(msgspec.Struct, kw_only=True):
    """One outcome that was seen; what it leaves out was not looked at."""

    rc0: list[ReturnCode]
    rc1: list[ReturnCode]
    done0: list[int | None] | None = None
    done1: list[int | None] | None = None
    final: dict[str, Words]
    entries: dict[str, dict[str, str]]
    faults: tuple[int, int]
    messages0: list[str]
    messages1: list[str]
    count: int | None = None


class _Initial(Machine, kw_only=True):
    """The machine before the test's own setup."""

    setup_vcpu1: list[list[Any]] = msgspec.field(default_factory=list)


class Record(msgspec.Struct, kw_only=True):
    """One test, as the file has it."""

    name: str
    note: str = ""
    xen: str
    iterations: int | None = None
    pages: dict[str, str] = {}
    """Names of frames."""
    initial: _Initial
    setup: list[list[Any]] = []
    warm_vcpu1: list[list[Any]] = []
    vcpu0: list[list[Any]]
    vcpu1: list[list[Any]]
    outcomes: list[Observed]


class _File(msgspec.Struct):
    schema: str
    tests: list[Record]


class Store(NamedTuple):
    """8 bytes that a vCPU's kernel stores, whatever the mapping then is."""

    va: int
    value: int


Operation = Hypercall | Store


class LitmusTest(NamedTuple):
    """A test whose operations have been understood."""

    record: Record
    abi: Abi
    debug: bool
    setup: tuple[tuple[int, Operation], ...]
    """(vCPU, operation) in order, up to the start of the two sides."""
    sides: tuple[tuple[Operation, ...], tuple[Operation, ...]]


def load_tests(path: Path) -> list[LitmusTest]:
    """All tests of a file (.json, or .json.gz).

    Raises:
        InputError: the file cannot be read, or is no file of litmus tests.
    """
    file = load_file(path, _File, SCHEMA, "litmus tests")
    return [understood(record, f"{path}: test {record.name}") for record in file.tests]


def understood(record: Record, where: str) -> LitmusTest:
    """A test with its operations parsed and its numbers checked.

    Raises:
        InputError: they are not what they should be; the message begins with ``where``.
    """
    check_machine(record.initial, where)
    check_frames(record.initial, list(record.pages.values()), where)
    for observed in record.outcomes:
        _check_outcome(record, observed, where)
    initial = record.initial
    setup = [
        *_operations(0, initial.setup, f"{where}: initial setup"),
        *_operations(1, initial.setup_vcpu1, f"{where}: setup_vcpu1"),
        *_operations(0, record.setup, f"{where}: setup"),
        *_operations(1, record.warm_vcpu1, f"{where}: warm_vcpu1"),
    ]
    return LitmusTest(
        record,
        _abi(record.xen, where),
        "CONFIG_DEBUG=n" not in record.xen,
        tuple(setup),
        (
            tuple(op for _, op in _operations(0, record.vcpu0, f"{where}: vcpu0")),
            tuple(op for _, op in _operations(1, record.vcpu1, f"{where}: vcpu1")),
        ),
    )


def _abi(version: str, where: str) -> Abi:
    """The model's version for one that was recorded on, say 4.17 for 4.17.7."""
    for name in profile_names():
        rest = version.removeprefix(name)
        if rest != version and not rest[:1].isalnum():
            return find_abi(name)
    allowed = ", ".join(profile_names())
    raise InputError(f"{where}: there is no such version of Xen: {version}; there are {allowed}")


def _check_outcome(record: Record, observed: Observed, where: str) -> None:
    """An outcome must have an answer to each operation, and name frames and slots there are."""
    for side, codes, done in (
        (0, observed.rc0, observed.done0),
        (1, observed.rc1, observed.done1),
    ):
        operations = len(record.vcpu1 if side else record.vcpu0)
        for name, column in ((f"rc{side}", codes), (f"done{side}", done)):
            if column is not None and len(column) != operations:
                raise InputError(
                    f"{where}: an outcome's {name} has {len(column)} items for {operations} "
                    "operations"
                )
    check_frames(record.initial, [*observed.final, *observed.entries], where)
    try:
        for words in observed.final.values():
            number(words.type_info)
        for slots in observed.entries.values():
            check_slots(slots)
    except ValueError as error:
        raise InputError(f"{where}: an outcome: {error}") from error


def _operations(vcpu: int, written: list[list[Any]], where: str) -> Iterator[tuple[int, Operation]]:
    for place, op in enumerate(written):
        yield vcpu, _operation(op, f"{where} {place}")


def _operation(op: list[Any], where: str) -> Operation:
    kind = op[0] if op else None
    if kind == "store":
        try:
            _, va, value = op
            return Store(number(va), number(value))
        except (TypeError, ValueError) as error:
            raise InputError(f"{where}: {op} cannot be understood: {error!r}") from error
    if kind not in _CALLS:
        known = ", ".join([*_CALLS, "store"])
        raise InputError(f"{where}: there is no operation {kind!r}; there are {known}")
    parsed = parse_op(op, where)
    assert isinstance(parsed, Hypercall)
    return parsed
