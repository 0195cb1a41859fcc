"""Operations of litmus tests as people call them, with the names of the frames."""

from collections.abc import Mapping

from experiments.litmus.recorded import LitmusTest, Operation, Store
from models.machine.entries import MFN_MASK, PAGE_SHIFT, PRESENT, RW
from models.xen.hypercalls import Call, MmuextOp, MmuUpdate, Multicall, UpdateVaMapping
from models.xen.words import (
    COPY_PAGE,
    INVLPG_ALL,
    INVLPG_LOCAL,
    INVLPG_MULTI,
    MMUEXT_NAMES,
    TLB_FLUSH_ALL,
    TLB_FLUSH_LOCAL,
    TLB_FLUSH_MULTI,
)


def operation_text(test: LitmusTest, operation: Operation) -> str:
    """An operation on one line."""
    frames = {int(mfn, 16): name for name, mfn in test.record.pages.items()}
    if isinstance(operation, Store):
        return f"store to {operation.va:x}"
    return _call_text(operation.call, frames)


def _call_text(call: Call, frames: Mapping[int, str]) -> str:
    match call:
        case UpdateVaMapping():
            return f"update_va_mapping of {call.va:x} to {_entry(call.entry, frames)}"
        case MmuUpdate():
            changes = [
                f"{_frame(pointer >> PAGE_SHIFT, frames)}[{(pointer & 0xFFF) >> 3}] = "
                f"{_entry(value, frames)}"
                for pointer, value in call.requests
            ]
            return f"mmu_update {', '.join(changes)}"
        case MmuextOp():
            return ", ".join(_command_text(*command, frames) for command in call.operations)
        case Multicall():
            return f"multicall {{{'; '.join(_call_text(entry, frames) for entry in call.calls)}}}"
    return "hypercall"


def _command_text(command: int, first: int, second: int, frames: Mapping[int, str]) -> str:
    name = MMUEXT_NAMES.get(command, str(command))
    if command in (INVLPG_LOCAL, INVLPG_MULTI, INVLPG_ALL):
        return f"{name} {first:x}"
    if command in (TLB_FLUSH_LOCAL, TLB_FLUSH_MULTI, TLB_FLUSH_ALL):
        return name
    source = f" from {_frame(second, frames)}" if command == COPY_PAGE else ""
    return f"{name} {_frame(first, frames)}{source}"


def _frame(mfn: int, frames: Mapping[int, str]) -> str:
    return frames.get(mfn, f"{mfn:x}")


def _entry(entry: int, frames: Mapping[int, str]) -> str:
    if not entry & PRESENT:
        return "nothing" if not entry else f"{entry:x}"
    name = frames.get(entry >> PAGE_SHIFT & MFN_MASK)
    return f"{entry:x}" if name is None else f"{name} {'read-write' if entry & RW else 'read-only'}"
