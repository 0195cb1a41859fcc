"""What came of an execution, read from the machine, the hypervisor's console and the guest."""

import re
from dataclasses import dataclass
from typing import Literal

from models.linux.crash import GuestCrash
from models.machine.entries import ENTRIES, PAGE_SHIFT, RW
from models.machine.walk import find_page
from models.races.race import DETECTORS, Race, Stage
from models.races.seen import Seen
from models.xen.checks.invariants import InvariantViolation, check
from models.xen.hypercalls import MmuextOp, MmuUpdate, Unknown, UpdateVaMapping
from models.xen.versions.errno import ENOSYS
from models.xen.words import (
    COUNT,
    MMUEXT_NAMES,
    PIN_L1_TABLE,
    PIN_L4_TABLE,
    VALIDATED,
)
from sim.environment import Deadlock


@dataclass(frozen=True)
class Verdict:
    """How it came out; ``detector`` is None where nothing failed."""

    outcome: Literal["ok", "crash", "latent", "deadlock"]
    detector: str | None = None
    explanation: str = ""
    console: tuple[str, ...] = ()
    """What the hypervisor printed ..."""
    guest_console: tuple[str, ...] = ()
    """... and the guest."""


OK = Verdict("ok")
_BAD_TYPE = re.compile(r"Bad type \(saw ([0-9a-f]+) != exp ")


def judge(race: Race, stage: Stage, failure: BaseException | None) -> Verdict:
    """The verdict on an execution that ended with this failure, or with none.

    Raises:
        BaseException: the failure, where it is none of the guest's.
    """
    kernel = stage.kernel
    console = tuple(line.text for line in kernel.xen.console.lines)
    warnings = tuple(_warning(call, rc) for call, rc in kernel.refused_calls)
    if isinstance(failure, Deadlock):
        return Verdict("deadlock", "D5", f"nobody can go on: {failure}.", console, warnings)
    if kernel.refused_calls:
        detector, said = _refusal(stage, *kernel.refused_calls[0])
        stopped = tuple(failure.console) if isinstance(failure, GuestCrash) else ()
        outcome: Literal["crash", "latent"] = "crash" if stopped else "latent"
        return Verdict(outcome, detector, f"{DETECTORS[detector]}: {said}.", console,
                       (*warnings, *stopped))  # fmt: skip
    if isinstance(failure, GuestCrash):
        detector = race.bug
        if failure.kind == "oops" and failure.pfn is not None:
            detector = _detector_of_oops(stage, kernel.mfn(failure.pfn))
        said = f"{DETECTORS[detector]}: {failure.message}"
        if failure.why:
            said += f"; {failure.why}"
        return Verdict("crash", detector, f"{said}.", console, tuple(failure.console))
    if failure is not None:
        raise failure
    found = None if race.inspect is None else race.inspect(stage)
    if found is not None:
        detector, said = found
        return Verdict("latent", detector, f"{DETECTORS[detector]}: {said}.", console)
    return OK


def wrong_accounts(stage: Stage) -> tuple[str, str] | None:
    """What a recount of the whole machine finds to be otherwise than the hypervisor has it."""
    try:
        check(stage.kernel.xen)
    except InvariantViolation as violation:
        return "D12", str(violation)
    return None


def _detector_of_oops(stage: Stage, mfn: int) -> str:
    if live_table(stage, mfn) and mfn not in stage.kernel.pinned:
        return "D11"
    # Since the fault others may have made it a table; a writable page was not refused as read-only.
    return "D9" if writable(stage, mfn) else "D1"


def read_only_and_untyped(stage: Stage, mfn: int) -> bool:
    """Is a page read-only in the direct map, and no L1 that Xen would emulate a store to?"""
    return not writable(stage, mfn) and live_table(stage, mfn) != 1


def live_table(stage: Stage, mfn: int) -> int:
    """The level of the table that a page is for Xen, validated and in use; 0 if it is none."""
    xen = stage.kernel.xen
    return _level_in_use(stage, xen.frames.type_info[xen.frames.index(mfn)])


def _level_in_use(stage: Stage, word: int) -> int:
    xen = stage.kernel.xen
    return xen.abi.level(word) if word & COUNT and word & VALIDATED else 0


def writable(stage: Stage, mfn: int) -> bool:
    """May the kernel store to a page through the direct map?"""
    kernel = stage.kernel
    found = find_page(kernel.frames, kernel.init_l4, kernel.va(mfn))
    return found is not None and found.writable


def seen_live_table(stage: Stage, seen: Seen, mfn: int) -> int:
    """:func:`live_table`, as a look at a window reads it."""
    frames = stage.kernel.xen.frames
    return _level_in_use(stage, seen.word(frames.type_info, frames.index(mfn)))


def seen_writable(stage: Stage, seen: Seen, mfn: int) -> bool:
    """:func:`writable`, as a look at a window reads it."""
    kernel = stage.kernel
    found = find_page(seen, kernel.init_l4, kernel.va(mfn))
    return found is not None and found.writable


def _refusal(
    stage: Stage, call: MmuextOp | MmuUpdate | UpdateVaMapping | Unknown, rc: int
) -> tuple[str, str]:
    """The detector of a refused call, and what was refused."""
    said = _told(call, rc)
    if isinstance(call, Unknown) or rc == -ENOSYS:
        return "D10", said
    if isinstance(call, MmuextOp):
        commands = {command for command, _, _ in call.operations}
        if commands & set(range(PIN_L1_TABLE, PIN_L4_TABLE + 1)):
            return "D2", said
        return "D8", said
    saw = _types_seen(stage)
    if isinstance(call, UpdateVaMapping) and call.entry & RW and stage.kernel.xen.abi.l4 in saw:
        # Its pin has gone just before, so what holds the type is a base pointer.
        return "D3", f"{said}, as a CPU still has it loaded"
    return "D2" if saw or isinstance(call, UpdateVaMapping) else "D8", said


def _types_seen(stage: Stage) -> set[int]:
    """The types that pages had where another one was asked for, as the console tells."""
    mask = stage.kernel.xen.abi.type_mask
    found = (_BAD_TYPE.search(line.text) for line in stage.kernel.xen.console.lines)
    return {int(match[1], 16) & mask for match in found if match}


def _told(call: MmuextOp | MmuUpdate | UpdateVaMapping | Unknown, rc: int) -> str:
    if isinstance(call, MmuextOp):
        what = ", ".join(
            f"{MMUEXT_NAMES[command]} of mfn {first:x}" for command, first, _ in call.operations
        )
    elif isinstance(call, UpdateVaMapping):
        what = f"update_va_mapping of {call.va:x} to {call.entry:016x}"
    elif isinstance(call, MmuUpdate):
        pointer, value = call.requests[0]
        slot = pointer >> 3 & ENTRIES - 1
        what = f"mmu_update of mfn {pointer >> PAGE_SHIFT:x}, slot {slot}, to {value:016x}"
    else:
        what = f"hypercall number {call.number:#x}"
    return f"{what} gave {rc}"


def _warning(call: MmuextOp | MmuUpdate | UpdateVaMapping | Unknown, rc: int) -> str:
    """What the kernel prints of a refused entry.

    Source: Linux arch/x86/xen/multicalls.c, xen_mc_flush.
    """
    return f"multicall entry failed: {_told(call, rc)}"
