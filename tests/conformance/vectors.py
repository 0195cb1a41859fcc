"""Runs conformance vectors on the model, in instant time.

A vector describes a small machine, a program of hypercalls and guest stores, and what must come
back after every operation. Here the machine is built, the program is run, and every way in which
the model differs from the vector becomes a line of text. What the vector leaves open (null) is
not compared.
"""

import re
from collections.abc import Iterator
from itertools import count
from typing import Any, NamedTuple

from models.machine.frames import DOMID_XEN, NO_OWNER, FrameTable
from models.machine.tlb import FlushClock
from models.xen import abi as xen_abi
from models.xen.abi import FRESH_COUNT_INFO, find_abi
from models.xen.calls import Call, MmuextOp, MmuUpdate, Multicall, Unknown, UpdateVaMapping
from models.xen.emulation import emulate_store
from models.xen.hypervisor import hypercall
from models.xen.mmuext import BAD_BITMAP
from models.xen.page_type import get_page_type
from models.xen.references import get_page
from models.xen.state import Domain, Xen
from sim.instant import drain
from sim.oracle import ScriptedOracle

Vector = dict[str, Any]
Op = list[Any]

# The vectors' names of the mmuext commands, where they are not those of xen.h.
_COMMANDS = {name: command for command, name in xen_abi.MMUEXT_NAMES.items()} | {
    "PIN_L1": xen_abi.PIN_L1_TABLE,
    "PIN_L2": xen_abi.PIN_L2_TABLE,
    "PIN_L3": xen_abi.PIN_L3_TABLE,
    "PIN_L4": xen_abi.PIN_L4_TABLE,
    "UNPIN": xen_abi.UNPIN_TABLE,
    "MARK_SUPER": xen_abi.MARK_SUPER,
}
_OWNERS = {"xen": DOMID_XEN, "none": NO_OWNER}


class OutOfScope(Exception):
    """A vector needs something that the model does not have."""


class Answer(NamedTuple):
    """What the guest sees of an operation."""

    result: object
    """A return code, the codes of a multicall's entries, or what became of a store."""
    done: int | None = None
    """Requests completed, as a batch writes them to the guest's counter."""


class SinglePreemption(ScriptedOracle):
    """The hypervisor is preempted once, at its check number ``at``."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at
        self.checks = 0

    def preempt(self) -> bool:
        """Is it this one?"""
        self.checks += 1
        return self.checks == self.at + 1


class WatchedClock(FlushClock):
    """A flush clock that writes down what was flushed, and why."""

    def __init__(self) -> None:
        super().__init__(pcpus=1)
        self.flushes: list[str] = []
        self.reason = ""
        """Of a flush by the operation in progress."""
        self.type_change = ""
        """Of the flush that comes next, where that is a page's new type."""

    def flush(self, pcpu: int) -> None:
        """A full flush."""
        super().flush(pcpu)
        self.flushes.append(f"{self.type_change or self.reason}:{pcpu}")
        self.type_change = ""


class Bench:
    """The machine of one vector, ready to run its operations."""

    def __init__(self, vector: Vector, oracle: ScriptedOracle) -> None:
        mfns = sorted(int(mfn, 16) for mfn in vector["pages"])
        extents = [(mfn, 1) for mfn in mfns]
        frames = FrameTable(extents, fresh=FRESH_COUNT_INFO, owner=vector["domid"])
        for mfn, slots in vector["pages"].items():
            words = frames.words(int(mfn, 16))
            for slot, entry in slots.items():
                words[int(slot)] = int(entry, 16)
        for mfn, owner in vector["owner"].items():
            frames.owner[frames.index(int(mfn, 16))] = _OWNERS.get(owner, owner)
        for mfn, raw in vector.get("frames", {}).items():
            index = frames.index(int(mfn, 16))
            frames.count_info[index] = int(raw["count_info"], 16)
            frames.type_info[index] = int(raw["type_info"], 16)
        io_denied = frozenset(int(mfn, 16) for mfn in vector.get("io_denied", ()))
        domain = Domain(vector["domid"], vector["iocaps"], io_denied=io_denied)
        m2p = [(int(mfn, 16), 1, int(pfn, 16)) for mfn, pfn in vector["m2p"].items()]
        self.xen = Xen(find_abi(vector["version"]), frames, domain, m2p)
        self.xen.clock = self.clock = WatchedClock()
        self.xen.trace = self._note
        self.vcpu = self.xen.vcpus[0]
        self.oracle = ScriptedOracle()
        for op in vector["setup"]:
            self.run(op)
        self.oracle = oracle
        self.xen.console.lines.clear()
        self.xen.counters.clear()
        self.clock.flushes.clear()

    def run(self, op: Op) -> Answer:
        """Run one operation."""
        kind, *arguments = op
        self.clock.reason = _flush_kind(op)
        if kind in ("ptwr", "ptwr_noassist"):
            numbers = (int(text, 16) for text in arguments)
            return self._emulated_store(*numbers, assist=kind == "ptwr")
        if kind == "guest_store":
            return self._plain_store(*(int(text, 16) for text in arguments))
        if kind == "pin_once":
            return self._pin_once(_COMMANDS[arguments[0]] + 1, int(arguments[1], 16))
        call = _as_call(op)
        self.vcpu.done = 0
        invlpgs = self.xen.counters["tlb", "local_invlpg"]
        result = drain(hypercall(self.xen, self.vcpu, call), self.oracle)
        # INVLPG does not tick the clock.
        invlpgs = self.xen.counters["tlb", "local_invlpg"] - invlpgs
        self.clock.flushes += [f"{self.clock.reason}:{self.vcpu.pcpu}"] * invlpgs
        if isinstance(call, Multicall):
            return Answer(list(result))
        return Answer(result, self.vcpu.done if isinstance(call, MmuUpdate | MmuextOp) else None)

    def _emulated_store(
        self, va: int, value: int, size: int = 8, expected: int | None = None, *, assist: bool
    ) -> Answer:
        store = emulate_store(
            self.xen, self.vcpu, va, value, size=size, expected=expected, assist=assist
        )
        return Answer(drain(store, self.oracle).value)

    def _plain_store(self, mfn: int, slot: int, value: int, slots: int = 1) -> Answer:
        for offset in range(slots):
            self.xen.frames.words(mfn)[slot + offset] = value
        return Answer(0)

    def _pin_once(self, level: int, mfn: int) -> Answer:
        """The inside of a pin: take the type once, and do not come back after a preemption."""
        xen = self.xen
        kind = xen.abi.table_types[level]
        index = get_page(xen, mfn)
        once = get_page_type(xen, self.vcpu, mfn, index, kind, preemptible=True)
        return Answer(drain(once, self.oracle))

    def _note(self, kind: str, *fields: int) -> None:
        """What the hypervisor traces: of interest here is a type change that flushes."""
        if kind == "T":
            self.clock.type_change = f"typechange mfn {fields[0]:x}"


def differences(vector: Vector) -> list[str]:
    """What the model does differently from the vector.

    Where a recording was preempted, at which check is inferred: any single one that gives the
    record is as good.
    """
    script = vector.get("preempt", ())
    found = list(_differences(vector, ScriptedOracle(map(bool, script))))
    if not found or not any(script) or vector["origin"] != "real":
        return found
    for at in count():
        oracle = SinglePreemption(at)
        elsewhere = list(_differences(vector, oracle))
        if oracle.checks <= at:
            return found
        if not elsewhere:
            return []
    raise AssertionError("unreachable: some check is the last one")


def _differences(vector: Vector, oracle: ScriptedOracle) -> Iterator[str]:
    bench = Bench(vector, oracle)
    xen = bench.xen
    listed: dict[str, Any] = {}
    for number, op in enumerate(vector["ops"]):
        first_line = len(xen.console.lines)
        answer = bench.run(op)
        lines = xen.console.lines[first_line:]
        # A frame not listed again has not changed since it was.
        listed |= vector["after"][number] or {}
        info = [place for place, line in enumerate(lines) if line.info]
        for difference in (
            *_difference("returned", answer.result, vector["expect"][number]),
            *_difference("completed", answer.done, vector["done"][number]),
            *_printed(vector, [line.text for line in lines], vector["messages"][number]),
            *_difference("INFO lines", info, vector["info"][number]),
            *_frames(xen, listed),
        ):
            yield f"op {number} {op}: {difference}"
    continuations = xen.counters["calls", "continuations"]
    for difference in (
        *_frames(xen, vector["final"]),
        *_entries(xen, vector["final_ptes"]),
        *_difference("flushed", bench.clock.flushes, vector["flushes"]),
        *_difference("continuations", continuations, vector["continuations"]),
    ):
        yield f"at the end: {difference}"


def _difference(what: str, got: object, expected: object) -> Iterator[str]:
    if expected is not None and got != expected:
        yield f"{what} {got}, expected {expected}"


def _printed(vector: Vector, texts: list[str], patterns: list[str] | None) -> Iterator[str]:
    if patterns is None:
        return
    real = vector["origin"] == "real"
    if len(texts) != len(patterns) or not all(
        _matches(text, pattern, real=real) for text, pattern in zip(texts, patterns, strict=True)
    ):
        yield f"printed {texts}, expected {patterns}"


def _matches(text: str, pattern: str, *, real: bool) -> bool:
    """Is the line equal, apart from placeholders (of a recording also its line number)?"""
    # Addresses of Xen's own are not the model's: any will do.
    expression = re.sub(r"<va>|<dom\d+>", "[0-9a-f]+", re.escape(pattern))
    if real:
        expression = expression.replace("<line>", "[0-9]+")
    return re.fullmatch(expression, text) is not None


def _frames(xen: Xen, expected: dict[str, Any]) -> Iterator[str]:
    for mfn, words in expected.items():
        index = xen.frames.index(int(mfn, 16))
        held = xen.frames.count_info[index] & xen.abi.general_count
        type_info = f"{xen.frames.type_info[index]:016x}"
        yield from _difference(f"mfn {mfn} type_info", type_info, words["type_info"])
        yield from _difference(f"mfn {mfn} count", held, words["count"])


def _entries(xen: Xen, expected: dict[str, dict[str, str]]) -> Iterator[str]:
    for mfn, slots in expected.items():
        words = xen.frames.words(int(mfn, 16))
        for slot, entry in slots.items():
            yield from _difference(f"entry {mfn}[{slot}]", f"{words[int(slot)]:016x}", entry)


def _as_call(op: Op) -> Call:
    """A hypercall as the vectors write it, as the call gate takes it."""
    kind, *arguments = op
    if kind == "mmuext":
        return MmuextOp(tuple(_mmuext_command(*command) for command in arguments))
    if kind == "mmu_update":
        return MmuUpdate(tuple((int(ptr, 16), int(val, 16)) for ptr, val in arguments))
    if kind == "update_va_mapping":
        va, entry, flags = (int(text, 16) for text in arguments[:3])
        unreadable = arguments[3:] == ["bad_bitmap"]
        return UpdateVaMapping(va, entry, BAD_BITMAP | flags & 3 if unreadable else flags)
    if kind == "multicall":
        return Multicall(tuple(_as_call(entry) for entry in arguments))
    if kind == "hypercall":
        return Unknown(int(arguments[0], 16))
    raise OutOfScope(f"operation {kind}")


def _mmuext_command(name: str, *arguments: str) -> tuple[int, int, int]:
    values = [BAD_BITMAP if text == "bad_bitmap" else int(text, 16) for text in arguments]
    if name == "RAW":
        return values[0], 0, 0
    first, second = (*values, 0, 0)[:2]
    return _COMMANDS[name], first, second


def _flush_kind(op: Op) -> str:
    """How the vectors call a flush that is made for this operation."""
    kind, *arguments = op
    if kind == "mmu_update":
        return "flush_linear_pt"
    if kind == "update_va_mapping":
        flags = int(arguments[2], 16)
        whole = "tlb" if flags & 3 == 1 else "invlpg"
        return f"uvm_{whole}_{'all' if flags & ~3 else 'local'}"
    if kind == "mmuext":
        names = [command[0] for command in arguments]
        return "+".join("cr3" if name == "NEW_BASEPTR" else name for name in names)
    return str(kind)
