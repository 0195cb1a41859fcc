"""Every interpreter knows every effect, and refuses what is none in the same words."""

from collections.abc import Callable, Iterator

import pytest

import sim.effects
from sim.distributions import Constant
from sim.effects import (
    AWAIT_ACKS,
    EFFECTS,
    ENTER_GUEST,
    IRQS_ON,
    MARK,
    PREEMPT_POINT,
    STEP,
    Acquire,
    Activity,
    Again,
    Await,
    Block,
    Boundary,
    Bulk,
    Choose,
    Draw,
    Effect,
    NotAnEffect,
    Note,
    PreemptPoints,
    Release,
    Send,
    Spend,
    Stretch,
    Trap,
    Unbroken,
    WaitUntil,
)
from sim.explore.cpu import CannotExplore
from sim.explore.execution import InTurn, execute
from sim.footprint import Recorder
from sim.instant import Stuck, drain
from sim.locks import SpinLock
from sim.recording import Recording
from sim.stepwise import after_every_step
from tests.sim.timed_run import busy, simulate

Interpreter = Callable[[Activity], object]


def idle() -> Activity:
    """Only somebody else who is there."""
    yield busy(1000)
    yield STEP


def stepwise(activity: Activity) -> object:
    """On the clock, looked at after every step."""
    return simulate(after_every_step(activity, lambda: None))


def recorded(activity: Activity) -> object:
    """On the clock, with its steps kept."""
    return simulate(Recording().activity(activity))


INTERPRETERS: dict[str, Interpreter] = {
    "instant": drain,
    "timed, alone": simulate,
    "timed, among others": lambda activity: simulate(activity, idle()),
    "timed, every event": lambda activity: simulate(activity, every_event=True),
    "stepwise": stepwise,
    "recording": recorded,
    "exploring": lambda activity: execute([activity], InTurn()),
    "exploring, recorded": lambda activity: execute([activity], InTurn(), recorder=Recorder()),
}


class Private(Effect):
    """Somebody's own effect, which no interpreter knows."""

    def __repr__(self) -> str:
        return "Private()"


def each(_: int) -> Activity:
    """An item of bulk work."""
    yield STEP


def trapped() -> Activity:
    """What a hypercall does."""
    yield STEP


def releasing() -> Activity:
    """A lock taken and given back."""
    lock = SpinLock("mm")
    yield Acquire(lock)
    yield Release(lock)


def repeating() -> Activity:
    """Alike work."""
    mark = yield MARK
    yield busy(3)
    yield Again(mark, 2, lambda what, _: what)


def only(effect: Effect) -> Activity:
    """One effect."""
    yield effect


EXAMPLES: dict[type[Effect], Callable[[], Activity]] = {
    Spend: lambda: only(busy(3)),
    sim.effects.Step: lambda: only(STEP),
    Bulk: lambda: only(Bulk((1, 2), each, lambda: None)),
    Stretch: lambda: only(Stretch((1, 2), each, lambda: None)),
    sim.effects.Mark: lambda: only(MARK),
    Again: repeating,
    Unbroken: lambda: only(Unbroken(lambda: None)),
    Acquire: releasing,
    Release: releasing,
    WaitUntil: lambda: only(WaitUntil("nothing", lambda: True)),
    Block: lambda: only(Block("nothing", lambda: True)),
    Await: lambda: only(Await("a bell", lambda env: env.timeout(5))),
    sim.effects.PreemptPoint: lambda: only(PREEMPT_POINT),
    PreemptPoints: lambda: only(PreemptPoints(3)),
    Choose: lambda: only(Choose("way", ("left", "right"))),
    Draw: lambda: only(Draw("gap", Constant(5.0))),
    sim.effects.Mode: lambda: only(ENTER_GUEST),
    Trap: lambda: only(Trap(trapped(), "ns")),
    sim.effects.Irqs: lambda: only(IRQS_ON),
    Send: lambda: only(Send("ipi", (0,), trapped)),
    sim.effects.AwaitAcks: lambda: only(AWAIT_ACKS),
    Boundary: lambda: only(Boundary("here")),
    Note: lambda: only(Note("here")),
}


def kinds(effect: type[Effect]) -> Iterator[type[Effect]]:
    """All kinds of effects of the engine's seam."""
    for kind in effect.__subclasses__():
        if kind.__module__ == sim.effects.__name__:
            yield kind
        yield from kinds(kind)


ALL = sorted(set(kinds(Effect)), key=lambda kind: kind.__name__)


def test_list_of_effects_is_complete() -> None:
    """An effect that is added has to be known to every interpreter, and to have an example."""
    assert set(ALL) == EFFECTS == EXAMPLES.keys()


@pytest.mark.parametrize("interpreter", INTERPRETERS)
@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_interpreter_knows_every_effect(kind: type[Effect], interpreter: str) -> None:
    """What only a clock has is refused in words elsewhere."""
    activity = EXAMPLES[kind]()
    if kind is Await and not interpreter.startswith(("timed", "stepwise", "recording")):
        with pytest.raises((Stuck, CannotExplore), match=r"waiting for a bell: .*SimPy's"):
            INTERPRETERS[interpreter](activity)
    else:
        INTERPRETERS[interpreter](activity)


def pin_table(what: object) -> Activity:
    """A model's slip, in a routine that is called by another."""
    yield busy(3)
    yield what  # type: ignore[misc]


def boot(what: object) -> Activity:
    """Calls the routine."""
    yield STEP
    yield from pin_table(what)


FOREIGN = {
    "a tuple": (("spend", 3), r"\('spend', 3\)"),
    "nothing": (None, "None"),
    "a call without its brackets": (pin_table, "<function pin_table at .*>"),
    "an effect's class": (Spend, "<class 'sim.effects.Spend'>"),
    "somebody's own effect": (Private(), r"Private\(\)"),
    "something on several lines": ("first\nsecond" + 500 * "x", r"'first.*x\.\.\."),
}


@pytest.mark.parametrize("interpreter", INTERPRETERS)
@pytest.mark.parametrize("what", FOREIGN)
def test_every_interpreter_refuses_what_is_no_effect(what: str, interpreter: str) -> None:
    """In one line that says what was yielded, and by which routine."""
    yielded, shown = FOREIGN[what]

    with pytest.raises(NotAnEffect) as caught:
        INTERPRETERS[interpreter](boot(yielded))

    assert isinstance(caught.value, TypeError)
    assert caught.match(f"^not an effect: {shown}, yielded by pin_table$")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
