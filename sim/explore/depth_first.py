"""Every interleaving of a small program, one after the other.

Each enabled vCPU may go next at each visible step. Generators cannot be copied, so an
execution is begun anew for every path: the prefix of choices is repeated, then the first
untried choice is taken. Plain enumeration, for programs of a few steps and as the measure of
searches that try fewer orders.
"""

from collections.abc import Callable, Iterator, Sequence
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
    PreemptPoint,
    Release,
    Send,
    Step,
    Trap,
    WaitUntil,
)


class CannotExplore(Exception):
    """The program is not one whose orders this search could enumerate."""


@dataclass(frozen=True)
class Execution:
    """One interleaving and what came of it."""

    schedule: tuple[int, ...]
    """The vCPU that made each visible step."""
    path: tuple[int, ...]
    """The index of the alternative taken at each decision, steps and choices alike."""
    results: tuple[Any, ...]
    """What each vCPU's activity returned; None for those that never ended."""
    failure: Exception | None
    deadlock: bool


def explore(build: Callable[[], Sequence[Activity]]) -> Iterator[Execution]:
    """Run every interleaving of the activities that ``build`` makes, each from a fresh world.

    Raises:
        CannotExplore: something outside the effects decides the program, or it sends
            interrupts.
    """
    path: list[tuple[int, int]] = []  # (alternative taken, how many there were)
    while True:
        yield _execute(build(), path)
        while path and path[-1][0] + 1 == path[-1][1]:
            path.pop()
        if not path:
            return
        taken, alternatives = path[-1]
        path[-1] = (taken + 1, alternatives)


def _execute(activities: Sequence[Activity], path: list[tuple[int, int]]) -> Execution:
    """Follow the path, extend it by first alternatives, and tell what happened."""
    decided = 0

    def decide(alternatives: int) -> int:
        nonlocal decided
        if decided == len(path):
            path.append((0, alternatives))
        taken, expected = path[decided]
        if expected != alternatives:
            raise CannotExplore(
                f"decision {decided} offered {expected} alternatives before and {alternatives} "
                "now: something outside the effects decides this program"
            )
        decided += 1
        return taken

    cpus = [_Cpu(activity) for activity in activities]
    schedule: list[int] = []
    failure: Exception | None = None
    try:
        for cpu in cpus:
            cpu.advance(None, decide)
        while ready := [number for number, cpu in enumerate(cpus) if cpu.enabled()]:
            number = ready[decide(len(ready))] if len(ready) > 1 else ready[0]
            schedule.append(number)
            cpus[number].step(decide)
    except CannotExplore:
        raise
    except Exception as error:  # noqa: BLE001 - the answer: this order makes the model fail
        failure = error
    if decided < len(path):
        raise CannotExplore(
            f"the program ended after {decided} of {len(path)} known decisions: something outside "
            "the effects decides it"
        )
    return Execution(
        schedule=tuple(schedule),
        path=tuple(taken for taken, _ in path[:decided]),
        results=tuple(cpu.result for cpu in cpus),
        failure=failure,
        deadlock=failure is None and any(cpu.pending is not None for cpu in cpus),
    )


class _Cpu:
    """An activity that stands before its next visible step."""

    def __init__(self, activity: Activity) -> None:
        self._stack = [activity]
        self.pending: Effect | None = None
        self.result: Any = None

    def enabled(self) -> bool:
        """Can its next step be made now?"""
        effect = self.pending
        if isinstance(effect, Acquire):
            return not effect.lock.busy()
        if isinstance(effect, WaitUntil):
            return effect.predicate()
        return effect is not None

    def step(self, decide: Callable[[int], int]) -> None:
        """Make the pending step and go on to the next."""
        effect = self.pending
        answer: Any = None
        if isinstance(effect, Acquire):
            answer = effect.lock.take()
        elif isinstance(effect, Release):
            effect.lock.release()
        self.advance(answer, decide)

    def advance(self, answer: Any, decide: Callable[[int], int]) -> None:
        """Run up to the next effect that others can see."""
        while True:
            try:
                effect = self._stack[-1].send(answer)
            except StopIteration as end:
                self._stack.pop()
                answer = end.value
                if self._stack:
                    continue
                self.pending, self.result = None, answer
                return
            answer = None
            if isinstance(effect, Step | Acquire | Release | WaitUntil):
                self.pending = effect
                return
            if isinstance(effect, GeneratorType):
                self._stack.append(effect)
            elif isinstance(effect, Trap):
                self._stack.append(effect.activity)
            elif isinstance(effect, Bulk):
                self._stack.append(_one_by_one(effect))
            elif isinstance(effect, Choose):
                answer = effect.options[decide(len(effect.options))]
            elif isinstance(effect, PreemptPoint):
                answer = bool(decide(2))
            elif isinstance(effect, Draw):
                answer = effect.distribution.mean
            elif isinstance(effect, Send | AwaitAcks):
                # Left out silently, the orders of their handlers would seem to be safe.
                raise CannotExplore("this search knows no interrupts")


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
