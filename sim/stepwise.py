"""Look at a model's state wherever another CPU could: between any two steps of an activity."""

from collections.abc import Callable
from types import GeneratorType

from sim.effects import (
    DECLINED,
    EFFECTS,
    MARK,
    Activity,
    Boundary,
    Mode,
    Note,
    PreemptPoint,
    PreemptPoints,
    Send,
    Spend,
    Trap,
    Unbroken,
)
from sim.routines import not_an_effect

Look = Callable[[], Note | None]

INVISIBLE = frozenset({Spend, Mode, Note, Boundary, PreemptPoint, PreemptPoints})
"""Effects after which no activity changes what others can see before its next effect."""


def after_every_step(activity: Activity, look: Look) -> Activity:
    """The same activity; ``look()`` is called at the end of each of its steps.

    So are the activities that it starts in its turn. A step is what follows an effect after
    which state may change, up to the next effect. ``look`` must not change any state; a note that
    it returns is made there.
    """
    answer: object = None
    stepped = False
    while True:
        try:
            effect = activity.send(answer)
        except StopIteration as end:
            if stepped and (note := look()) is not None:
                yield note
            return end.value
        kind = effect.__class__
        if kind not in EFFECTS and kind is not GeneratorType:
            raise not_an_effect(activity, effect)
        if isinstance(effect, Unbroken):
            answer = DECLINED  # it is looked at after each of its steps
            continue
        if effect is MARK:
            answer = None  # nothing is told from one of many
            continue
        if stepped and (note := look()) is not None:
            yield note
        stepped = kind not in INVISIBLE
        if isinstance(effect, GeneratorType):
            effect = after_every_step(effect, look)
        elif isinstance(effect, Trap):
            effect = Trap(after_every_step(effect.activity, look), effect.cost)
        elif isinstance(effect, Send):
            effect = _looked_at(effect, look)
        answer = yield effect


def _looked_at(send: Send, look: Look) -> Send:
    return Send(
        send.name,
        send.targets,
        lambda: after_every_step(send.handler(), look),
        latency=send.latency,
        hypervisor=send.hypervisor,
    )
