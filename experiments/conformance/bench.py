"""Runs conformance vectors on the model, in instant time, and finds what differs.

The machine of a vector is built, its program is run, and every way in which the model answers
otherwise becomes a :class:`Difference`. What a vector leaves open (null) is not compared.
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import count
from typing import Any, NamedTuple, TypeVar

from experiments.conformance.machine import build_xen
from experiments.conformance.vectors import (
    EmulatedStore,
    Hypercall,
    Operation,
    PinOnce,
    PlainStore,
    Program,
    Vector,
    bitmaps,
)
from models.machine.tlb import FlushClock
from models.xen.calls.emulation import emulate_store
from models.xen.calls.mmuext import pin_table
from models.xen.gate import hypercall
from models.xen.hypercalls import MmuextOp, MmuUpdate, Multicall, UpdateVaMapping
from models.xen.state import Xen
from models.xen.versions.abi import find_abi
from models.xen.versions.errno import ERESTART
from models.xen.versions.panic import HostCrash, NotModelled
from models.xen.words import MMUEXT_NAMES
from sim.instant import Stuck, drain
from sim.oracle import ScriptedOracle, one_after_another

_T = TypeVar("_T")


class Difference(NamedTuple):
    """One way in which the model answers otherwise."""

    where: str
    """``op 3`` or ``at the end``."""
    what: str
    """``return code``, ``mfn 100 type_info``, ..."""
    expected: object
    got: object


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
        self.may_preempt = True
        self.at = at
        self.checks = 0

    def preempt(self) -> bool:
        """Is it this one?"""
        self.checks += 1
        return self.checks == self.at + 1

    def preempt_after(self, n: int) -> int:
        """Is it one of these?"""
        return one_after_another(self.preempt, n)


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

    def invalidate(self, pcpu: int, va: int) -> None:
        """A flush of one page."""
        super().invalidate(pcpu, va)
        self.flushes.append(f"{self.reason}:{pcpu}")


class Bench:
    """The machine of one vector, ready to run its operations."""

    def __init__(self, program: Program, oracle: ScriptedOracle) -> None:
        vector = program.vector
        self.xen = build_xen(vector, find_abi(vector.version))
        self.xen.clock = self.clock = WatchedClock()
        self.xen.trace = self._note
        self.vcpu = self.xen.vcpus[0]
        self.oracle = ScriptedOracle()
        for op in program.setup:
            self.run(op)
        self.oracle = oracle
        self.xen.console.lines.clear()
        self.xen.counters.clear()
        self.clock.flushes.clear()

    def run(self, op: Operation) -> Answer:
        """Run one operation."""
        xen, vcpu = self.xen, self.vcpu
        match op:
            case Hypercall(call):
                xen.vcpu_bitmaps.update(bitmaps(call))
                self.clock.reason = _flush_kind(op)
                vcpu.done = 0
                result = drain(hypercall(xen, vcpu, call), self.oracle)
                if isinstance(call, Multicall):
                    return Answer(list(result))
                return Answer(result, vcpu.done if isinstance(call, MmuUpdate | MmuextOp) else None)
            case EmulatedStore(va, value, size, expected, assist):
                store = emulate_store(
                    xen, vcpu, va, value, size=size, expected=expected, assist=assist
                )
                return Answer(drain(store, self.oracle).value)
            case PlainStore(mfn, slot, value, slots):
                for offset in range(slots):
                    xen.frames.words(mfn)[slot + offset] = value
                return Answer(0)
            case PinOnce(level, mfn):
                rc = drain(pin_table(xen, vcpu, xen.domid, level, mfn), self.oracle)
                return Answer(-xen.abi.restart_errno if rc == -ERESTART else rc)

    def _note(self, kind: str, *fields: int) -> None:
        """What the hypervisor traces: of interest here is a type change that flushes."""
        if kind == "T":
            self.clock.type_change = f"typechange mfn {fields[0]:x}"


def differences(program: Program) -> list[Difference]:
    """What the model does differently from the vector.

    Where a recording was preempted, at which check is inferred: any single one that gives the
    record is as good.
    """
    script = program.vector.preempt
    found = _run(program, ScriptedOracle(map(bool, script)))
    if not found or not any(script) or program.vector.origin != "real":
        return found
    for at in count():
        oracle = SinglePreemption(at)
        elsewhere = _run(program, oracle)
        if oracle.checks <= at:
            return found
        if not elsewhere:
            return []
    raise AssertionError("unreachable: some check is the last one")


def _run(program: Program, oracle: ScriptedOracle) -> list[Difference]:
    found: list[Difference] = []
    vector = program.vector
    where = "setup"
    try:
        bench = Bench(program, oracle)
        listed: dict[str, Any] = {}
        for number, op in enumerate(program.ops):
            where = f"op {number}"
            found += _step(bench, vector, number, op, listed)
        where = "at the end"
        found += _at_the_end(bench, vector)
    except (HostCrash, NotModelled, Stuck) as stopped:
        found.append(Difference(where, "run", "goes on", str(stopped)))
    return found


def _step(
    bench: Bench, vector: Vector, number: int, op: Operation, listed: dict[str, Any]
) -> Iterator[Difference]:
    console = bench.xen.console.lines
    first_line = len(console)
    answer = bench.run(op)
    lines = console[first_line:]
    if vector.after:
        # A frame not listed again has not changed since it was.
        listed |= vector.after[number] or {}
    where = f"op {number}"
    yield from _difference(where, "return code", answer.result, _at(vector.expect, number))
    yield from _difference(where, "done", answer.done, _at(vector.done, number))
    texts = [line.text for line in lines]
    patterns = _at(vector.messages, number)
    if patterns is not None and not _all_match(texts, patterns, real=vector.origin == "real"):
        yield Difference(where, "console", patterns, texts)
    info = [place for place, line in enumerate(lines) if line.info]
    yield from _difference(where, "INFO lines", info, _at(vector.info, number))
    yield from _frames(bench.xen, where, listed)


def _at_the_end(bench: Bench, vector: Vector) -> Iterator[Difference]:
    xen = bench.xen
    where = "at the end"
    yield from _frames(xen, where, vector.final or {})
    for mfn, slots in (vector.final_ptes or {}).items():
        words = xen.frames.words(int(mfn, 16))
        for slot, entry in slots.items():
            got = f"{words[int(slot)]:016x}"
            yield from _difference(where, f"entry {slot} of mfn {mfn}", got, entry)
    if vector.flushes is not None and not _same_flushes(bench.clock.flushes, vector.flushes):
        yield Difference(where, "flushes", vector.flushes, bench.clock.flushes)
    continuations = xen.counters["calls", "continuations"]
    yield from _difference(where, "continuations", continuations, vector.continuations)


def _at(column: Sequence[_T | None] | None, number: int) -> _T | None:
    return column[number] if column else None


def _difference(where: str, what: str, got: object, expected: object) -> Iterator[Difference]:
    if expected is not None and got != expected:
        yield Difference(where, what, expected, got)


def _same_flushes(got: list[str], expected: list[str | None]) -> bool:
    return len(got) == len(expected) and all(
        want in (None, flush) for flush, want in zip(got, expected, strict=True)
    )


def _all_match(texts: list[str], patterns: list[str], *, real: bool) -> bool:
    return len(texts) == len(patterns) and all(
        text == pattern or _expression(pattern, real=real).fullmatch(text)
        for text, pattern in zip(texts, patterns, strict=True)
    )


@lru_cache
def _expression(pattern: str, *, real: bool) -> re.Pattern[str]:
    """The lines that a pattern allows: placeholders, of a recording also its line number."""
    # Addresses of Xen's own are not the model's: any will do.
    expression = re.sub(r"<va>|<dom\d+>", "[0-9a-f]+", re.escape(pattern))
    if real:
        expression = expression.replace("<line>", "[0-9]+")
    return re.compile(expression)


def _frames(xen: Xen, where: str, expected: dict[str, Any]) -> Iterator[Difference]:
    for mfn, words in expected.items():
        index = xen.frames.index(int(mfn, 16))
        type_info = f"{xen.frames.type_info[index]:016x}"
        held = xen.frames.count_info[index] & xen.abi.general_count
        # What is not given is unknown.
        yield from _difference(where, f"mfn {mfn} type_info", type_info, words.get("type_info"))
        yield from _difference(where, f"mfn {mfn} count", held, words.get("count"))


def _flush_kind(op: Hypercall) -> str:
    """How the vectors call a flush that is made for this operation."""
    call = op.call
    if isinstance(call, MmuUpdate):
        return "flush_linear_pt"
    if isinstance(call, UpdateVaMapping):
        whole = "tlb" if call.flags & 3 == 1 else "invlpg"
        return f"uvm_{whole}_{'all' if call.flags & ~3 else 'local'}"
    if isinstance(call, MmuextOp):
        names = [MMUEXT_NAMES.get(command, "") for command, *_ in call.operations]
        return "+".join("cr3" if name == "NEW_BASEPTR" else name for name in names)
    return ""
