"""The world of a litmus test, and its two sides as a program whose orders can be tried."""

from collections.abc import Iterable, Sequence

from experiments.conformance.machine import build_xen
from experiments.conformance.vectors import Hypercall, bitmaps
from experiments.litmus.outcome import Answers, Outcome, kinds_of, watched
from experiments.litmus.recorded import LitmusTest, Operation, Store
from models.xen.calls import MmuextOp, MmuUpdate
from models.xen.hypervisor import hypercall, store
from models.xen.state import Xen
from sim.effects import Activity
from sim.explore.execution import Execution
from sim.explore.program import Program
from sim.footprint import Recorder
from sim.instant import drain

PAGE_FAULT = "#PF"
_MOST_STEPS = 200_000


class SetupFailed(Exception):
    """What comes before the two sides did not succeed."""


class Stage:
    """Makes the world of a test anew for each execution, and looks at what one has left."""

    def __init__(self, test: LitmusTest, *, preempts: bool = False) -> None:
        self._test = test
        self._watched = watched(test)
        self.xen = self._prepared()
        recorder = Recorder()
        self._recorder = recorder
        self.program = Program(
            self._begin, recorder=recorder, preempts=preempts, at_most=_MOST_STEPS
        )

    def _prepared(self) -> Xen:
        """The machine at the start of the two sides."""
        test = self._test
        xen = build_xen(test.record.initial, test.abi, vcpus=2, debug=test.debug)
        for op in (op for _, op in test.setup), *test.sides:
            for operation in op:
                if isinstance(operation, Hypercall):
                    xen.vcpu_bitmaps.update(bitmaps(operation.call))
        for vcpu, operation in test.setup:
            ((answer, _),) = drain(run_side(xen, vcpu, [operation]))
            if answer == PAGE_FAULT or any(answer if isinstance(answer, tuple) else (answer,)):
                raise SetupFailed(f"{operation} of vCPU {vcpu} before the start gives {answer}")
        xen.console.lines.clear()
        return xen

    def _begin(self) -> Sequence[Activity]:
        self.xen = self._prepared()
        self.xen.record(self._recorder)
        return [run_side(self.xen, number, side) for number, side in enumerate(self._test.sides)]

    def outcome(self, execution: Execution) -> Outcome:
        """What the execution that has just ended has come to."""
        xen = self.xen
        frames, general = xen.frames, xen.abi.general_count
        sides = [side or () for side in execution.results]
        answers: list[Answers] = [tuple(answer for answer, _ in side) for side in sides]
        final = []
        for mfn in self._watched.frames:
            index = frames.index(int(mfn, 16))
            word = f"{frames.type_info[index]:016x}"
            final.append((mfn, word, frames.count_info[index] & general))
        entries = [
            (mfn, slot, f"{frames.words(int(mfn, 16))[int(slot)]:016x}")
            for mfn, slot in self._watched.entries
        ]
        end = "nobody can go on" if execution.deadlock else ""
        if execution.failure is not None:
            end = f"{type(execution.failure).__name__}: {execution.failure}"
        lines = xen.console.lines
        return Outcome(
            answers=(answers[0], answers[1]),
            done=(
                tuple(done for _, done in sides[0]),
                tuple(done for _, done in sides[1]),
            ),
            final=tuple(final),
            entries=tuple(entries),
            faults=(answers[0].count(PAGE_FAULT), answers[1].count(PAGE_FAULT)),
            messages=(kinds_of(lines, 0), kinds_of(lines, 1)),
            end=end,
        )


def run_side(xen: Xen, number: int, operations: Iterable[Operation]) -> Activity:
    """The operations of one vCPU in order: of each its answer, and the requests completed.

    The guest goes on after a page fault with the next operation.
    """
    vcpu = xen.vcpus[number]
    answers: list[tuple[int | str | tuple[int, ...], int | None]] = []
    for operation in operations:
        if isinstance(operation, Store):
            stored = yield from store(xen, vcpu, operation.va, operation.value)
            answers.append((0 if stored else PAGE_FAULT, None))
            continue
        call = operation.call
        vcpu.done = 0
        answer = yield from hypercall(xen, vcpu, call)
        answers.append((answer, vcpu.done if _is_batch(operation) else None))
    return tuple(answers)


def _is_batch(operation: Hypercall) -> bool:
    call = operation.call
    if isinstance(call, MmuUpdate):
        return len(call.requests) > 1
    return isinstance(call, MmuextOp) and len(call.operations) > 1
