"""Runs conformance vectors on the model, in instant time.

A vector describes a small machine, a program of hypercalls and stores, and what must come
back after every step; this module builds the one, runs the other and lists the differences.
"""

import re
from collections.abc import Iterator
from typing import Any

from models.machine.frames import DOMID_XEN, NO_OWNER, FrameTable
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

_COMMANDS = {
    **{name: command for command, name in xen_abi.MMUEXT_NAMES.items()},
    "PIN_L1": 0,
    "PIN_L2": 1,
    "PIN_L3": 2,
    "PIN_L4": 3,
    "UNPIN": 4,
    "MARK_SUPER": xen_abi.MARK_SUPER,
}


class Bench:
    """The machine of one vector, ready to run its operations."""

    def __init__(self, vector: dict[str, Any]) -> None:
        self.vector = vector
        abi = find_abi(vector["version"])
        mfns = sorted(int(mfn, 16) for mfn in vector["pages"])
        frames = FrameTable(
            [(mfn, 1) for mfn in mfns], fresh=FRESH_COUNT_INFO, owner=vector["domid"]
        )
        for mfn, slots in vector["pages"].items():
            words = frames.words(int(mfn, 16))
            for slot, entry in slots.items():
                words[int(slot)] = int(entry, 16)
        for mfn, owner in vector.get("owner", {}).items():
            index = frames.index(int(mfn, 16))
            frames.owner[index] = {"xen": DOMID_XEN, "none": NO_OWNER}.get(owner, owner)
        for mfn, raw in (vector.get("frames") or {}).items():
            index = frames.index(int(mfn, 16))
            frames.count_info[index] = int(raw["count_info"], 16)
            frames.type_info[index] = int(raw["type_info"], 16)
        domain = Domain(
            vector["domid"],
            vector["iocaps"],
            io_denied=frozenset(int(mfn, 16) for mfn in vector.get("io_denied", ())),
        )
        m2p = [(int(mfn, 16), 1, int(pfn, 16)) for mfn, pfn in vector["m2p"].items()]
        self.xen = Xen(abi, frames, domain, m2p)
        self.vcpu = self.xen.vcpus[0]
        self.oracle = ScriptedOracle()
        for op in vector["setup"]:
            self.run(op)
        self.oracle = ScriptedOracle(map(bool, vector.get("preempt", ())))
        self.xen.console.lines.clear()
        self.xen.counters.clear()

    def run(self, op: list[Any]) -> tuple[Any, int | None]:
        """Run one operation: what the guest sees, and the requests completed."""
        kind, *arguments = op
        xen, vcpu = self.xen, self.vcpu
        if kind in ("ptwr", "ptwr_noassist"):
            va, value, *rest = (int(argument, 16) if isinstance(argument, str) else argument for argument in arguments)
            size = rest[0] if rest else 8
            expected = rest[1] if len(rest) > 1 else None
            outcome = drain(
                emulate_store(
                    xen, vcpu, va, value, size=size, expected=expected, assist=kind == "ptwr"
                ),
                self.oracle,
            )
            return outcome.value, None
        if kind == "guest_store":
            mfn, slot, value = (int(argument, 16) for argument in arguments[:3])
            n = arguments[3] if len(arguments) > 3 else 1
            words = xen.frames.words(mfn)
            for number in range(int(n, 16) if isinstance(n, str) else n):
                words[slot + number] = value
            return 0, None
        if kind == "pin_once":
            level = _COMMANDS[arguments[0]] + 1
            mfn = int(arguments[1], 16)
            index = get_page(xen, mfn)
            rc = drain(
                get_page_type(
                    xen, vcpu, mfn, index, xen.abi.table_types[level], preemptible=True
                ),
                self.oracle,
            )
            return rc, None
        if kind == "mmuext_for":
            raise NotImplementedError("operations on another domain")
        call = as_call(op)
        vcpu.done = 0
        result = drain(hypercall(xen, vcpu, call), self.oracle)
        batch = isinstance(call, MmuUpdate | MmuextOp)
        return list(result) if isinstance(result, tuple) else result, vcpu.done if batch else None


def as_call(op: list[Any]) -> Call:
    """A hypercall as the vectors write it, as the gate takes it."""
    kind, *arguments = op
    if kind == "mmuext":
        return MmuextOp(tuple(_operation(*operation) for operation in arguments))
    if kind == "mmu_update":
        return MmuUpdate(tuple((int(p, 16), int(v, 16)) for p, v in arguments))
    if kind == "update_va_mapping":
        va, entry, flags = (int(argument, 16) for argument in arguments[:3])
        if len(arguments) > 3:
            flags = BAD_BITMAP | flags & 3
        return UpdateVaMapping(va, entry, flags)
    if kind == "multicall":
        return Multicall(tuple(as_call(entry) for entry in arguments))
    if kind == "hypercall":
        number = arguments[0]
        return Unknown(int(number, 16) if isinstance(number, str) else number)
    raise ValueError(f"an operation of another kind: {op}")


def _operation(name: str, *arguments: Any) -> tuple[int, int, int]:
    values = [
        BAD_BITMAP if argument == "bad_bitmap" else int(argument, 16) for argument in arguments
    ]
    if name == "RAW":
        return values[0], 0, 0
    first, second = (*values, 0, 0)[:2]
    return _COMMANDS[name], first, second


def differences(vector: dict[str, Any]) -> Iterator[str]:
    """What the model does differently from the vector, op by op."""
    bench = Bench(vector)
    xen = bench.xen
    known: dict[str, Any] = {}
    for number, op in enumerate(vector["ops"]):
        seen = len(xen.console.lines)
        got, done = bench.run(op)
        expect = vector["expect"][number]
        if expect is not None and got != expect:
            yield f"op {number} {op}: returned {got}, expected {expect}"
        wanted = (vector.get("done") or {}) and vector["done"][number]
        if wanted is not None and done is not None and done != wanted:
            yield f"op {number} {op}: completed {done}, expected {wanted}"
        lines = xen.console.lines[seen:]
        messages = (vector.get("messages") or [None] * 99)[number]
        if messages is not None:
            texts = [line.text for line in lines]
            if len(texts) != len(messages) or not all(
                _matches(vector, text, message)
                for text, message in zip(texts, messages, strict=True)
            ):
                yield f"op {number} {op}: printed {texts}, expected {messages}"
            info = (vector.get("info") or [None] * 99)[number]
            levels = [place for place, line in enumerate(lines) if line.info]
            if info is not None and levels != info:
                yield f"op {number} {op}: INFO lines {levels}, expected {info}"
        after = (vector.get("after") or [None] * 99)[number]
        if after is not None:
            known.update(after)
            yield from (f"op {number} {op}: {text}" for text in _frames(xen, known))
    if vector.get("final"):
        yield from (f"at the end: {text}" for text in _frames(xen, vector["final"]))
    for mfn, slots in (vector.get("final_ptes") or {}).items():
        words = xen.frames.words(int(mfn, 16))
        for slot, entry in slots.items():
            if words[int(slot)] != int(entry, 16):
                yield f"at the end: entry {mfn}[{slot}] is {words[int(slot)]:016x}, expected {entry}"
    continuations = xen.counters["calls", "continuations"]
    if vector.get("continuations") is not None and continuations != vector["continuations"]:
        yield f"{continuations} continuations, expected {vector['continuations']}"


def _matches(vector: dict[str, Any], text: str, pattern: str) -> bool:
    escaped = re.escape(pattern).replace("<va>", "(0x|<va>|[0-9a-f])[0-9a-f]*")
    escaped = re.sub(r"<dom\d+>", r".*", escaped)
    if vector["origin"] == "real":
        escaped = escaped.replace("<line>", r"\d+")
    return re.fullmatch(escaped, text) is not None


def _frames(xen: Xen, expected: dict[str, Any]) -> Iterator[str]:
    for mfn, words in expected.items():
        index = xen.frames.index(int(mfn, 16))
        if words.get("type_info") is not None:
            got = f"{xen.frames.type_info[index]:016x}"
            if got != words["type_info"]:
                yield f"mfn {mfn} type_info {got}, expected {words['type_info']}"
        if words.get("count") is not None:
            count = xen.frames.count_info[index] & xen.abi.general_count
            if count != words["count"]:
                yield f"mfn {mfn} count {count}, expected {words['count']}"
