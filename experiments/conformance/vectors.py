"""Conformance vectors: what a file of them may hold, and what its operations mean.

The schema is ``pinlab.conformance/1``: each vector builds a small machine, runs a program of
hypercalls and guest stores on it, and states what must come back after every step.
``docs/reference/conformance-files.md`` describes it.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from experiments.conformance.files import load_file
from experiments.conformance.machine import (
    Machine,
    check_frames,
    check_machine,
    check_slots,
    number,
)
from experiments.errors import InputError
from models.machine.entries import ENTRIES
from models.xen import words as xen_words
from models.xen.hypercalls import Call, MmuextOp, MmuUpdate, Multicall, Unknown, UpdateVaMapping
from models.xen.versions.abi import profile_names

SCHEMA = "pinlab.conformance/1"
UNREADABLE = ~3 & (1 << 64) - 1
"""The address of a bitmap of vCPUs that cannot be read."""

# The vectors' names of the mmuext commands: those of xen.h, and shorter ones.
_COMMANDS = {name: command for command, name in xen_words.MMUEXT_NAMES.items()} | {
    "PIN_L1": xen_words.PIN_L1_TABLE,
    "PIN_L2": xen_words.PIN_L2_TABLE,
    "PIN_L3": xen_words.PIN_L3_TABLE,
    "PIN_L4": xen_words.PIN_L4_TABLE,
    "UNPIN": xen_words.UNPIN_TABLE,
}
_BITMAP = "bad_bitmap"

Words = dict[str, dict[str, Any]]


class Vector(Machine, kw_only=True):
    """One vector, as the file has it. The lists run parallel to ``ops``; None is unknown."""

    name: str
    version: str
    origin: str = "read"
    preempt: list[int] = msgspec.field(default_factory=list)
    ops: list[list[Any]]
    expect: list[Any] | None = None
    done: list[int | None] | None = None
    messages: list[list[str] | None] | None = None
    info: list[list[int] | None] | None = None
    after: list[Words | None] | None = None
    final: Words | None = None
    final_ptes: dict[str, dict[str, str]] | None = None
    flushes: list[str | None] | None = None
    continuations: int | None = None
    source: str = ""
    note: str = ""


class _File(msgspec.Struct):
    schema: str
    vectors: list[Vector]


class Hypercall(NamedTuple):
    """A hypercall, made until the guest sees a result."""

    call: Call


class EmulatedStore(NamedTuple):
    """A store to a read-only mapped address; ``expected``: a compare-and-exchange."""

    va: int
    value: int
    size: int = 8
    expected: int | None = None
    assist: bool = True


class PlainStore(NamedTuple):
    """A store through a writable mapping, to so many slots of a frame."""

    mfn: int
    slot: int
    value: int
    slots: int = 1


class PinOnce(NamedTuple):
    """The inside of a pin command: not tried again after a preemption."""

    level: int
    mfn: int


Operation = Hypercall | EmulatedStore | PlainStore | PinOnce


class Program(NamedTuple):
    """A vector whose operations have been understood."""

    vector: Vector
    setup: list[Operation]
    ops: list[Operation]


def load_programs(path: Path) -> list[Program]:
    """All vectors of a file (.json, or .json.gz).

    Raises:
        InputError: the file cannot be read, or is no file of vectors.
    """
    file = load_file(path, _File, SCHEMA, "vectors")
    return [_program(path, vector) for vector in file.vectors]


def _program(path: Path, vector: Vector) -> Program:
    where = f"{path}: vector {vector.name} ({vector.version})"
    if vector.version not in profile_names():
        allowed = ", ".join(profile_names())
        raise InputError(f"{where}: there is no such version of Xen; there are {allowed}")
    for name in ("expect", "done", "messages", "info", "after"):
        column = getattr(vector, name)
        if column is not None and len(column) != len(vector.ops):
            raise InputError(
                f"{where}: {name} has {len(column)} items for {len(vector.ops)} operations"
            )
    check_machine(vector, where)
    _check_end(vector, where)
    return Program(
        vector,
        [parse_op(op, f"{where}: setup {number}") for number, op in enumerate(vector.setup)],
        [parse_op(op, f"{where}: op {number}") for number, op in enumerate(vector.ops)],
    )


def _check_end(vector: Vector, where: str) -> None:
    """Entries and frames that are compared must be numbers and frames of the machine."""
    try:
        for slots in (vector.final_ptes or {}).values():
            check_slots(slots)
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error
    named = [*(vector.final or {}), *(mfn for words in vector.after or () for mfn in words or ())]
    check_frames(vector, named, where)


def _slots(first: int, slots: int) -> None:
    if not 0 <= first < first + slots <= ENTRIES:
        raise ValueError(f"a table has no slot {first + slots - 1}")


def parse_op(op: list[Any], where: str) -> Operation:
    """An operation as the vectors write it.

    Raises:
        InputError: it is none; the message begins with ``where``.
    """
    kind = op[0] if op else None
    try:
        if kind in ("ptwr", "ptwr_noassist"):
            return _emulated_store(op[1:], assist=kind == "ptwr")
        if kind == "guest_store":
            store = PlainStore(*(number(text) for text in op[1:]))
            _slots(store.slot, store.slots)
            return store
        if kind == "pin_once":
            return PinOnce(_COMMANDS[op[1]] + 1, number(op[2]))
        if kind in _CALLS:
            return Hypercall(_CALLS[kind](op[1:]))
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise InputError(f"{where}: {op} cannot be understood: {error!r}") from error
    known = ", ".join(["guest_store", "pin_once", "ptwr", "ptwr_noassist", *_CALLS])
    raise InputError(f"{where}: there is no operation {kind!r}; there are {known}")


def bitmaps(call: Call) -> Mapping[int, int]:
    """The vCPU bitmaps that a call of a vector reads, by address.

    The argument of a flush command stands for the bitmap itself; the flags of an
    update_va_mapping hold the address of one that names vCPU 0.
    """
    if isinstance(call, Multicall):
        return {address: mask for entry in call.calls for address, mask in bitmaps(entry).items()}
    if isinstance(call, UpdateVaMapping):
        address = call.flags & ~xen_words.UVMF_FLUSH_TYPE
        return {} if address == UNREADABLE else {address: 1}
    if isinstance(call, MmuextOp):
        return {
            bitmap: bitmap
            for command, _, bitmap in call.operations
            if command in (xen_words.TLB_FLUSH_MULTI, xen_words.INVLPG_MULTI)
            and bitmap != UNREADABLE
        }
    return {}


def _emulated_store(arguments: list[str], *, assist: bool) -> EmulatedStore:
    va, value, *rest = (number(text) for text in arguments)
    size = rest[0] if rest else 8
    expected = rest[1] if rest[1:] else None
    return EmulatedStore(va, value, size, expected, assist)


def _mmuext(arguments: list[Any]) -> Call:
    return MmuextOp(tuple(_mmuext_command(*command) for command in arguments))


def _mmuext_for(arguments: list[Any]) -> Call:
    commands = tuple(_mmuext_command(*command) for command in arguments[1:])
    return MmuextOp(commands, foreign=number(arguments[0]))


def _mmuext_command(name: str, *arguments: str) -> tuple[int, int, int]:
    values = [UNREADABLE if text == _BITMAP else number(text) for text in arguments]
    if name == "RAW":
        return values[0], 0, 0
    first, second = (*values, 0, 0)[:2]
    command = _COMMANDS[name]
    return (command, 0, first) if command == xen_words.TLB_FLUSH_MULTI else (command, first, second)


def _mmu_update(arguments: list[Any]) -> Call:
    return MmuUpdate(tuple((number(pointer), number(value)) for pointer, value in arguments))


def _update_va_mapping(arguments: list[str]) -> Call:
    va, entry, flags = (number(text) for text in arguments[:3])
    unreadable = arguments[3:] == [_BITMAP]
    kind = flags & xen_words.UVMF_FLUSH_TYPE
    return UpdateVaMapping(va, entry, UNREADABLE | kind if unreadable else flags)


def _multicall(arguments: list[list[Any]]) -> Call:
    return Multicall(tuple(_CALLS[kind](rest) for kind, *rest in arguments))


def _unknown(arguments: list[str]) -> Call:
    return Unknown(number(arguments[0]))


_CALLS: dict[str, Callable[[list[Any]], Call]] = {
    "mmuext": _mmuext,
    "mmuext_for": _mmuext_for,
    "mmu_update": _mmu_update,
    "update_va_mapping": _update_va_mapping,
    "multicall": _multicall,
    "hypercall": _unknown,
}
