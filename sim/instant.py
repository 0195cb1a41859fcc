"""The interpreter without a clock: activities are drained at once.

For single calls, conformance programs and tests. Several CPUs run one after the other in the
given order; a wait that cannot go on is an error, since nobody else would end it.
"""

from collections.abc import Iterable
from types import GeneratorType
from typing import Any

from sim.effects import (
    DECLINED,
    Acquire,
    Activity,
    Again,
    Await,
    AwaitAcks,
    Block,
    Boundary,
    Bulk,
    Choose,
    Draw,
    Irqs,
    Mark,
    Mode,
    Note,
    PreemptPoint,
    PreemptPoints,
    Release,
    Send,
    Spend,
    Spent,
    Step,
    Stretch,
    Trap,
    Unbroken,
    WaitUntil,
)
from sim.oracle import Oracle, ScriptedOracle
from sim.routines import not_an_effect

_TIMELESS = frozenset({Step, Spend, Mode, Irqs, AwaitAcks, Note, Boundary})
"""Effects that mean nothing without a clock."""
_AT_ONCE = frozenset({Bulk, Stretch, Unbroken})


_NOTHING_SPENT = Spent((), ())


class Stuck(RuntimeError):
    """An activity waits for something that only another CPU could do."""


def drain(activity: Activity, oracle: Oracle | None = None) -> Any:  # noqa: PLR0915 - a case each
    """Run one activity to its end and return what it returns.

    Raises:
        Stuck: it waits for a lock, a condition or an event of SimPy's.
        NotAnEffect: it has yielded something else.
    """
    if oracle is None:
        oracle = ScriptedOracle()
    callers: list[Any] = []
    send: Any = activity.send
    answer: Any = None
    while True:
        try:
            effect = send(answer)
        except StopIteration as end:
            if not callers:
                return end.value
            send, answer = callers.pop(), end.value
            continue
        kind = effect.__class__
        answer = None
        if kind in _TIMELESS:
            continue
        if kind is GeneratorType:
            callers.append(send)
            send = effect.send
        elif kind is Trap:
            if effect.at_once is not None and not oracle.may_preempt:
                whole = effect.at_once()
                if whole is not None:
                    answer = whole.answer
                    continue
            callers.append(send)
            send = effect.activity.send
        elif kind is PreemptPoint:
            answer = oracle.preempt()
        elif kind is PreemptPoints:
            answer = oracle.preempt_after(effect.n)
        elif kind in _AT_ONCE:
            broken = kind is Unbroken and oracle.may_preempt
            answer = DECLINED if broken else effect.all_at_once()
        elif kind is Mark:
            answer = None if oracle.may_preempt else effect
        elif kind is Again:
            answer = _NOTHING_SPENT
        elif kind is Acquire:
            if effect.lock.busy():
                raise Stuck(f"{effect.lock.key} is held")
            answer = effect.lock.take()
        elif kind is Release:
            effect.lock.release()
        elif kind is WaitUntil or kind is Block:
            if not effect.predicate():
                raise Stuck(f"waiting for {effect.what}")
        elif kind is Choose:
            answer = oracle.choose(effect.name, effect.options)
        elif kind is Draw:
            answer = oracle.draw(effect.stream, effect.distribution)
        elif kind is Send:
            for _ in effect.targets:
                drain(effect.handler(), oracle)
        elif kind is Await:
            raise Stuck(f"waiting for {effect.what}: SimPy's events come with a clock only")
        else:
            raise not_an_effect(send.__self__, effect)


def run_in_order(activities: Iterable[Activity], oracle: Oracle | None = None) -> list[Any]:
    """Run one activity a CPU, each to its end before the next begins."""
    return [drain(activity, oracle) for activity in activities]
