"""The world of a litmus test, and its two sides as a program whose orders can be tried."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from experiments.conformance.machine import build_xen
from experiments.conformance.vectors import Hypercall, bitmaps
from experiments.litmus.outcome import Answers, Outcome, kinds_of, watched
from experiments.litmus.recorded import LitmusTest, Operation, Store
from experiments.litmus.wording import operation_text
from models.xen.accesses import store
from models.xen.gate import hypercall
from models.xen.hypercalls import MmuextOp, MmuUpdate
from models.xen.state import Xen
from sim.effects import Activity
from sim.explore.attempts import TapedProgram
from sim.explore.cpu import Cpu, Seen
from sim.explore.execution import Execution, Known, Scheduler
from sim.explore.world.snapshot import Snapshot
from sim.footprint import Recorder
from sim.instant import drain

PAGE_FAULT = "#PF"
_MOST_STEPS = 200_000


class SetupFailed(Exception):
    """What comes before the two sides did not succeed."""


@dataclass(frozen=True)
class Sides(TapedProgram):
    """A program in which a side that fails is no end of the other one, whoever searches."""

    def run(
        self,
        scheduler: Scheduler,
        *,
        goes_on: bool = False,  # noqa: ARG002 - the overridden method's signature
        seen: Callable[[Seen], None] | None = None,
        before: Callable[[Cpu], None] | None = None,
        known: Sequence[Known] = (),
    ) -> Execution:
        """One execution."""
        return super().run(scheduler, goes_on=True, seen=seen, before=before, known=known)


class Stage:
    """Puts the world of a test back for each execution, and looks at what one has left.

    Raises:
        SetupFailed: something before the start of the two sides is refused.
    """

    def __init__(self, test: LitmusTest) -> None:
        self._sides = test.sides
        self._watched = watched(test)
        self.xen = prepared(test)
        self.at = [0, 0]
        """The operation that each side is in, by its number; how many there are at its end."""
        recorder = Recorder()
        self.xen.record(recorder)
        self._start = Snapshot(self.xen)
        self.program = Sides(self._begin, recorder=recorder, preempts=False, at_most=_MOST_STEPS)

    def _begin(self) -> Sequence[Activity]:
        self._start.restore()
        self.at[:] = 0, 0
        return [
            run_side(self.xen, number, side, self.at) for number, side in enumerate(self._sides)
        ]

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
            final.append((mfn, word, int(frames.count_info[index] & general)))
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


def prepared(test: LitmusTest) -> Xen:
    """The machine at the start of the two sides.

    Raises:
        SetupFailed: something before it is refused.
    """
    xen = build_xen(test.record.initial, test.abi, vcpus=2, debug=test.debug)
    before = [operation for _, operation in test.setup]
    for operation in (*before, *test.sides[0], *test.sides[1]):
        if isinstance(operation, Hypercall):
            xen.vcpu_bitmaps.update(bitmaps(operation.call))
    for vcpu, operation in test.setup:
        ((answer, _),) = drain(run_side(xen, vcpu, [operation]))
        codes = answer if isinstance(answer, tuple) else (answer,)
        if any(codes):
            raise SetupFailed(f"vCPU {vcpu} gets {answer} for {operation_text(test, operation)}")
    xen.console.lines.clear()
    return xen


def run_side(
    xen: Xen, number: int, operations: Iterable[Operation], at: list[int] | None = None
) -> Activity:
    """The operations of one vCPU in order: of each its answer, and the requests completed.

    The guest goes on after a page fault with the next operation. ``at[number]`` counts the
    operations that have ended.
    """
    vcpu = xen.vcpus[number]
    answers: list[tuple[int | str | tuple[int, ...], int | None]] = []
    for place, operation in enumerate(operations, start=1):
        if isinstance(operation, Store):
            stored = yield from store(xen, vcpu, operation.va, operation.value)
            answers.append((0 if stored else PAGE_FAULT, None))
        else:
            vcpu.done = 0
            answer = yield from hypercall(xen, vcpu, operation.call)
            answers.append((answer, vcpu.done if _is_batch(operation) else None))
        if at is not None:
            at[number] = place
    return tuple(answers)


def _is_batch(operation: Hypercall) -> bool:
    call = operation.call
    if isinstance(call, MmuUpdate):
        return len(call.requests) > 1
    return isinstance(call, MmuextOp) and len(call.operations) > 1
