"""A vCPU of an exploration: its activities, and the visible step that it stands before."""

from collections.abc import Callable, Hashable, Sequence
from types import GeneratorType
from typing import Any, NamedTuple

from sim.effects import (
    DECLINED,
    STEP,
    Acquire,
    Activity,
    Again,
    Await,
    AwaitAcks,
    Boundary,
    Bulk,
    Choose,
    Draw,
    Effect,
    Irqs,
    Mark,
    Mode,
    Note,
    PreemptPoint,
    PreemptPoints,
    Release,
    Send,
    Spend,
    Step,
    Trap,
    Unbroken,
    WaitUntil,
)
from sim.footprint import Access, Recorder
from sim.oracle import one_after_another
from sim.routines import not_an_effect

Choice = Callable[[str, int], int]
"""Answers a question, by its name, with one of so many alternatives."""


class CannotExplore(Exception):
    """The program is not one whose orders this search could enumerate."""


class Seen(NamedTuple):
    """What was seen of a step."""

    vcpu: int
    kind: str
    """step, acquire, release, wait, acks or interrupt."""
    lock: Hashable
    """The lock that was taken or given back; None where there was none."""
    accesses: tuple[Access, ...]
    """What it touched; empty where nobody recorded."""
    sent_to: tuple[int, ...]
    """vCPUs to which it sent interrupts."""

    @property
    def private(self) -> bool:
        """Does nothing of it concern anybody else? Known only where somebody records."""
        return not (self.accesses or self.sent_to or self.lock is not None)


_KINDS: dict[type, str] = {
    Step: "step",
    Acquire: "acquire",
    Release: "release",
    WaitUntil: "wait",
    AwaitAcks: "acks",
}


INTERRUPT = "interrupt"
"""The question whether one is taken before the next step, and the kind of step that does."""
_VISIBLE = (Step, Acquire, Release, WaitUntil, AwaitAcks)
_FREE = frozenset({Step, Release})
"""Steps that nothing can hold up."""
_PASSED = frozenset({Spend, Note, Boundary})
"""Effects that are nothing here."""
_A_STEP: tuple[str, Hashable] = "step", None


class Cpu:
    """An activity that stands before its next visible step."""

    def __init__(
        self,
        number: int,
        cpus: Sequence["Cpu"],
        recorder: Recorder | None,
        preempts: bool,  # noqa: FBT001 - passed on from a keyword
    ) -> None:
        self.number = number
        self._cpus = cpus
        self._recorder = recorder
        self._preempts = preempts
        self.stack: list[Activity] = []
        self.traps: list[Activity] = []
        """Those of the stack that run in the hypervisor."""
        self._irqs_enabled = True
        self._interrupts: list[tuple[Send, Cpu]] = []
        """What has been sent and not been taken, and by whom."""
        self._interrupted: list[tuple[list[Activity], Effect | None, bool, Cpu]] = []
        self._put_off: Send | None = None
        """An interrupt that was not taken when it could be; only private steps came since."""
        self._unacknowledged = 0
        self._made: tuple[str, Hashable] = "step", None
        self._sent_to: tuple[int, ...] = ()
        self.pending: Effect | None = None
        self.result: Any = None

    def start(self, activity: Activity, choose: Choice) -> None:
        """Run up to the first visible step."""
        self.stack = [activity]
        self._advance(None, choose)

    def fail(self) -> None:
        """Make no further step."""
        self.pending = None
        self._interrupts = []

    def enabled(self) -> bool:
        """Can it make a step now: its own next one, or take an interrupt?"""
        return self.pending.__class__ in _FREE or self._can_go_on() or self._can_take_interrupt()

    def step(self, choose: Choice) -> None:
        """Make the pending step, or take an interrupt instead, and go on to the next step."""
        recorder = self._recorder
        self._sent_to = ()
        effect = self.pending
        takes_interrupt = bool(self._interrupts) and self._can_take_interrupt()
        if takes_interrupt and self._can_go_on():
            takes_interrupt = self._rather_takes_interrupt(choose)
        if recorder is not None:
            recorder.take()  # what was looked up before is no part of the step
        if takes_interrupt:
            self._looks_at_condition()
            self._take_interrupt(choose)
            return
        if effect.__class__ is Step:
            self._made = _A_STEP
            self._advance(None, choose)
            return
        answer: Any = None
        lock: Hashable = None
        if isinstance(effect, Acquire):
            lock = effect.lock.key
            answer = effect.lock.take()
        elif isinstance(effect, Release):
            lock = effect.lock.key
            effect.lock.release()
        elif isinstance(effect, WaitUntil):
            effect.predicate()
        elif isinstance(effect, AwaitAcks):
            self._looks_for_acks()
        # A lock that is refused is none.
        self._made = _KINDS.get(effect.__class__, "wait"), None if answer is False else lock
        self._advance(answer, choose)

    def seen(self) -> Seen:
        """What was seen of the step that has just been made."""
        accesses = () if self._recorder is None else self._recorder.take()
        seen = Seen(self.number, *self._made, accesses, self._sent_to)
        if self._put_off is not None and (self._recorder is None or not seen.private):
            self._put_off = None
        return seen

    def made_again(self, seen: Seen) -> None:
        """The step that has just been made is one whose footprint is known, as here.

        Raises:
            CannotExplore: it was of another kind, took another lock or interrupted others.
        """
        if (*self._made, self._sent_to) != (seen.kind, seen.lock, seen.sent_to):
            made = Seen(self.number, *self._made, seen.accesses, self._sent_to)
            raise CannotExplore(
                f"vCPU {self.number} made another step before ({_outline(seen)}) than it makes now "
                f"({_outline(made)}): something outside the effects decides this program"
            )
        if self._put_off is not None and not seen.private:
            self._put_off = None

    def before(self) -> Seen | None:
        """What would be seen of the beginning of the pending step; None if there is none."""
        effect = self.pending
        if effect is None:
            return None
        recorder = self._recorder
        lock = effect.lock.key if isinstance(effect, Acquire | Release) else None
        if recorder is not None:
            recorder.take()
        self._looks_at_condition()
        accesses = () if recorder is None else recorder.take()
        return Seen(self.number, _KINDS.get(effect.__class__, "wait"), lock, accesses, ())

    def _can_go_on(self) -> bool:
        effect = self.pending
        if isinstance(effect, Acquire):
            return not effect.lock.busy()
        if isinstance(effect, WaitUntil):
            return effect.predicate()
        if isinstance(effect, AwaitAcks):
            return not self._unacknowledged
        return effect is not None

    def _can_take_interrupt(self) -> bool:
        return bool(self._interrupts) and self._irqs_enabled and not self.traps

    def _rather_takes_interrupt(self, choose: Choice) -> bool:
        """Is the interrupt taken before the next step? Asked where that has not been tried yet."""
        interrupt, _ = self._interrupts[0]
        if self._put_off is interrupt:
            return False
        takes = bool(choose(INTERRUPT, 2))
        self._put_off = None if takes else interrupt
        return takes

    def _take_interrupt(self, choose: Choice) -> None:
        """Leave what is running for the handler, which runs with interrupts off."""
        interrupt, sender = self._interrupts.pop(0)
        self._interrupted.append((self.stack, self.pending, self._irqs_enabled, sender))
        self.stack, self._irqs_enabled = [interrupt.handler()], False
        self._made = INTERRUPT, None
        self._advance(None, choose)

    def _advance(self, answer: Any, choose: Choice) -> None:
        """Run up to the next effect that others can see."""
        while True:
            try:
                effect = self.stack[-1].send(answer)
                if effect.__class__ is Step:
                    self.pending = effect
                    return
            except StopIteration as end:
                ended = self.stack.pop()
                answer = end.value
                if self.traps and self.traps[-1] is ended:
                    self.traps.pop()
                if self.stack:
                    continue
                if self._interrupted:
                    self.stack, self.pending, self._irqs_enabled, by = self._interrupted.pop()
                    by._unacknowledged -= 1  # noqa: SLF001 - one of its own kind
                    if self._recorder is not None:
                        self._recorder.touch(acks_word(by.number))
                else:
                    self.pending, self.result = None, answer
                return
            answer = None
            if effect.__class__ is GeneratorType:
                self.stack.append(effect)
                continue
            if effect.__class__ in _PASSED:
                continue
            if isinstance(effect, Irqs):
                self._irqs_enabled = effect.enabled
                if effect.enabled and self._interrupts:
                    self.pending = STEP
                    return
            if isinstance(effect, AwaitAcks):
                self._looks_for_acks()
                if not self._unacknowledged:
                    continue
            if isinstance(effect, _VISIBLE):
                self.pending = effect
                return
            if isinstance(effect, Trap):
                self.stack.append(effect.activity)
                self.traps.append(effect.activity)
            elif isinstance(effect, Bulk):
                self.stack.append(_one_by_one(effect))
            elif isinstance(effect, Send):
                self._send(effect)
            else:
                answer = self._answer(effect, choose)

    def _answer(self, effect: Effect | Activity, choose: Choice) -> Any:
        """The answer to an effect that is no step and begins none."""
        if isinstance(effect, Choose):
            n = len(effect.options)
            return effect.options[choose(effect.name, n) if n > 1 else 0]
        if isinstance(effect, PreemptPoint):
            return self._preempts and bool(choose("preempt", 2))
        if isinstance(effect, PreemptPoints):
            if not self._preempts:
                return effect.n
            return one_after_another(lambda: bool(choose("preempt", 2)), effect.n)
        if isinstance(effect, Draw):
            return effect.distribution.mean
        if isinstance(effect, Await):
            raise CannotExplore(
                f"waiting for {effect.what}: no search knows the events of SimPy's own processes"
            )
        if isinstance(effect, Unbroken):
            return DECLINED
        if isinstance(effect, Mode | Irqs | Mark | Again):
            return None
        raise not_an_effect(self.stack[-1], effect)

    def _looks_at_condition(self) -> None:
        """See whether the pending step can be made, which leaves its trace in the footprint."""
        effect = self.pending
        if isinstance(effect, Acquire):
            effect.lock.busy()
            if self._recorder is not None:
                self._recorder.read(lock_word(effect.lock.key), 0)
        elif isinstance(effect, WaitUntil):
            effect.predicate()
        elif isinstance(effect, AwaitAcks):
            self._looks_for_acks()

    def _looks_for_acks(self) -> None:
        if self._recorder is not None:
            self._recorder.read(acks_word(self.number), 0)

    def _send(self, interrupt: Send) -> None:
        if interrupt.hypervisor:
            if not _does_nothing_visible(interrupt):
                # Left out silently, the orders of their handlers would seem to be safe.
                raise CannotExplore(
                    "this search knows no interrupts of the hypervisor's that others could see"
                )
            return
        self._unacknowledged += len(interrupt.targets)
        self._sent_to += interrupt.targets
        for number in interrupt.targets:
            self._cpus[number]._interrupts.append((interrupt, self))  # noqa: SLF001


def _outline(seen: Seen) -> str:
    lock = "" if seen.lock is None else f" of {seen.lock}"
    return f"{seen.kind}{lock}, {len(seen.sent_to)} interrupts"


def lock_word(key: Hashable) -> Hashable:
    """The word that stands for a lock's being taken or not."""
    return "lock", key


def acks_word(vcpu: int) -> Hashable:
    """The word that counts the handlers which a vCPU waits for."""
    return "acknowledgements of vCPU", vcpu


def _does_nothing_visible(interrupt: Send) -> bool:
    """A hypervisor's interrupt that only takes time, and so no part in any order."""
    return all(isinstance(effect, Spend | Note | Boundary) for effect in interrupt.handler())


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
