"""One interleaving of a small program, as somebody decides it.

Each enabled vCPU may go next at each visible step; ``decide`` says which, and answers every
other open question, too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import GeneratorType
from typing import Any

from sim.effects import (
    STEP,
    Acquire,
    Activity,
    AwaitAcks,
    Bulk,
    Choose,
    Draw,
    Effect,
    Irqs,
    Note,
    PreemptPoint,
    Release,
    Send,
    Spend,
    Step,
    Trap,
    WaitUntil,
)
from sim.footprint import Access, Recorder

Decide = Callable[[int], int]
"""One of so many alternatives, by its number. Called only where there is more than one."""
Pick = Callable[[Sequence[int]], int]
"""Which of these vCPUs goes next; called for every step."""


class CannotExplore(Exception):
    """The program is not one whose orders this search could enumerate."""


@dataclass(frozen=True)
class Execution:
    """One interleaving and what came of it."""

    schedule: tuple[int, ...]
    """The vCPU that made each visible step."""
    path: tuple[int, ...]
    """The index of the alternative taken at each decision, steps and choices alike."""
    footprints: tuple[tuple[Access, ...], ...]
    """What each of these steps touched; empty where nobody recorded."""
    results: tuple[Any, ...]
    """What each vCPU's activity returned; None for those that never ended."""
    failure: Exception | None
    deadlock: bool


def execute(
    activities: Sequence[Activity],
    decide: Decide,
    look: Callable[[], None] | None = None,
    recorder: Recorder | None = None,
    *,
    pick: Pick | None = None,
    preempts: bool = True,
) -> Execution:
    """Run the activities, one a vCPU, in the order that ``decide`` chooses.

    ``look`` is called after every visible step; what it raises is a failure of the program.
    ``recorder``: the one that the models' state reports to, for the footprint of each step.
    ``pick`` chooses the vCPU in place of ``decide``, which is left with all other questions.
    Without ``preempts`` the hypervisor's checks for preemption find no reason.

    Raises:
        CannotExplore: the program sends interrupts of the hypervisor's that others could see, or
            ``decide`` raises it.
    """
    cpus: list[_Cpu] = []
    cpus += [_Cpu(activity, cpus, preempts=preempts) for activity in activities]
    schedule: list[int] = []
    path: list[int] = []
    footprints: list[tuple[Access, ...]] = []
    failure: Exception | None = None

    def decided(alternatives: int) -> int:
        path.append(decide(alternatives))
        return path[-1]

    try:
        for cpu in cpus:
            cpu.advance(None, decided)
        while ready := _ready(cpus):
            if pick is not None:
                number = pick(ready)
            else:
                number = ready[decided(len(ready))] if len(ready) > 1 else ready[0]
            number, takes_interrupt = number % len(cpus), number >= len(cpus)
            schedule.append(number)
            if recorder is not None:
                recorder.take()  # whether a vCPU can go on was looked up, not a step of its own
            if takes_interrupt:
                cpus[number].take_interrupt(decided)
            else:
                cpus[number].step(decided)
            if recorder is not None:
                footprints.append(recorder.take())
            if look is not None:
                look()
    except CannotExplore:
        raise
    except Exception as error:  # noqa: BLE001 - the answer: this order makes the model fail
        failure = error
    return Execution(
        schedule=tuple(schedule),
        path=tuple(path),
        footprints=tuple(footprints),
        results=tuple(cpu.result for cpu in cpus),
        failure=failure,
        deadlock=failure is None and any(cpu.pending is not None for cpu in cpus),
    )


def _ready(cpus: Sequence["_Cpu"]) -> list[int]:
    """Who can go on: vCPUs by their numbers, and those that can take an interrupt by n more."""
    ready = [number for number, cpu in enumerate(cpus) if cpu.enabled()]
    return ready + [
        number + len(cpus) for number, cpu in enumerate(cpus) if cpu.can_take_interrupt()
    ]


class _Cpu:
    """An activity that stands before its next visible step."""

    def __init__(self, activity: Activity, cpus: Sequence["_Cpu"], *, preempts: bool) -> None:
        self._stack = [activity]
        self._traps: list[Activity] = []
        """Those of the stack that run in the hypervisor."""
        self._cpus = cpus
        self._preempts = preempts
        self._irqs_enabled = True
        self._interrupts: list[tuple[Send, _Cpu]] = []
        """What has been sent and not been taken, and by whom."""
        self._interrupted: list[tuple[list[Activity], Effect | None, bool, _Cpu]] = []
        self._unacknowledged = 0
        self.pending: Effect | None = None
        self.result: Any = None

    def enabled(self) -> bool:
        """Can its next step be made now?"""
        effect = self.pending
        if isinstance(effect, Acquire):
            return not effect.lock.busy()
        if isinstance(effect, WaitUntil):
            return effect.predicate()
        if isinstance(effect, AwaitAcks):
            return not self._unacknowledged
        return effect is not None

    def can_take_interrupt(self) -> bool:
        """Is there one, and are interrupts on?"""
        return bool(self._interrupts) and self._irqs_enabled and not self._traps

    def take_interrupt(self, decide: Decide) -> None:
        """Leave what is running for the handler, which runs with interrupts off."""
        interrupt, sender = self._interrupts.pop(0)
        self._interrupted.append((self._stack, self.pending, self._irqs_enabled, sender))
        self._stack, self._irqs_enabled = [interrupt.handler()], False
        self.advance(None, decide)

    def step(self, decide: Decide) -> None:
        """Make the pending step and go on to the next."""
        effect = self.pending
        answer: Any = None
        if isinstance(effect, Acquire):
            answer = effect.lock.take()
        elif isinstance(effect, Release):
            effect.lock.release()
        self.advance(answer, decide)

    def advance(self, answer: Any, decide: Decide) -> None:
        """Run up to the next effect that others can see."""
        while True:
            try:
                effect = self._stack[-1].send(answer)
            except StopIteration as end:
                ended = self._stack.pop()
                answer = end.value
                if self._traps and self._traps[-1] is ended:
                    self._traps.pop()
                if self._stack:
                    continue
                if self._interrupted:
                    self._stack, self.pending, self._irqs_enabled, by = self._interrupted.pop()
                    by._unacknowledged -= 1  # noqa: SLF001 - one of its own kind
                else:
                    self.pending, self.result = None, answer
                return
            answer = None
            if isinstance(effect, Irqs):
                self._irqs_enabled = effect.enabled
                if effect.enabled and self._interrupts:
                    self.pending = STEP
                    return
            if isinstance(effect, AwaitAcks) and not self._unacknowledged:
                continue
            if isinstance(effect, Step | Acquire | Release | WaitUntil | AwaitAcks):
                self.pending = effect
                return
            if isinstance(effect, GeneratorType):
                self._stack.append(effect)
            elif isinstance(effect, Trap):
                self._stack.append(effect.activity)
                self._traps.append(effect.activity)
            elif isinstance(effect, Bulk):
                self._stack.append(_one_by_one(effect))
            elif isinstance(effect, Choose):
                answer = effect.options[decide(len(effect.options))]
            elif isinstance(effect, PreemptPoint):
                answer = self._preempts and bool(decide(2))
            elif isinstance(effect, Draw):
                answer = effect.distribution.mean
            elif isinstance(effect, Send):
                self._send(effect)

    def _send(self, interrupt: Send) -> None:
        if interrupt.hypervisor:
            if not _does_nothing_visible(interrupt):
                # Left out silently, the orders of their handlers would seem to be safe.
                raise CannotExplore(
                    "this search knows no interrupts of the hypervisor's that others could see"
                )
            return
        self._unacknowledged += len(interrupt.targets)
        for number in interrupt.targets:
            self._cpus[number]._interrupts.append((interrupt, self))  # noqa: SLF001


def _does_nothing_visible(interrupt: Send) -> bool:
    """A hypervisor's interrupt that only takes time, and so no part in any order."""
    return all(isinstance(effect, Spend | Note) for effect in interrupt.handler())


def _one_by_one(bulk: Bulk) -> Activity:
    """Bulk work item by item, where others can see it; without items it is a step all the same."""
    stopped = None
    visible = False
    for item in bulk.items:
        visible = True
        stopped = yield from bulk.each(item)
        if stopped is not None:
            break
    if not visible:
        yield STEP
    return stopped
