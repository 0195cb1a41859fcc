"""What a model may ask of the engine.

A model activity is a generator. Between two yields it changes model state with ordinary
Python; it yields an *effect* for everything that involves time, another CPU or chance, and
receives the effect's answer as the value of the yield. One activity calls another by ``yield
from``; where the callers above are many, it yields the other one instead, which the interpreter
then runs on a stack of its own: each effect saves the way through the callers. (An exception
then ends the run; it does not pass through the caller.) The interpreters
(:mod:`sim.instant`, :mod:`sim.timed`, :mod:`sim.explore`) give the same effects different
meanings, so a model is written once.

Effects without arguments are constants (``STEP``, ``PREEMPT_POINT``, ...): a model yields
the same object each time, which costs nothing to build.
"""

from collections.abc import Callable, Generator, Iterable
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from sim.distributions import Distribution
from sim.locks import Lock

if TYPE_CHECKING:
    from simpy import Environment, Event


class CpuMode(Enum):
    """Whose code a CPU executes: decides who is charged and where interrupts are taken."""

    GUEST = "guest"
    HYPERVISOR = "hypervisor"


class Effect:
    """Base of all effects. An effect is never changed once it has been yielded."""

    __slots__ = ()


class NotAnEffect(TypeError):
    """An activity has yielded what no interpreter knows; the message says what, and which function.

    Often that is a call without its ``yield from``, or an effect's arguments without the effect.
    :func:`sim.routines.not_an_effect` makes it.
    """


class Spend(Effect):
    """This CPU is busy for ``n`` units of the named cost; the answer is None.

    Each unit is an independent draw. The work is divisible in guest mode (an interrupt may
    split it) and indivisible in hypervisor mode between preemption points.
    """

    __slots__ = ("cost", "n")

    def __init__(self, cost: str, n: int = 1) -> None:
        self.cost = cost
        self.n = n


class Step(Effect):
    """What follows, up to the next effect, is one atomic step that other CPUs can see."""

    __slots__ = ()


class Bulk(Effect):
    """The same work in two bodies: one step for all items, or one step an item.

    ``each(item)`` is an activity that returns None to go on or anything else to stop;
    ``all_at_once()`` does the same work at once. The answer is what stopped it, or None.
    The two bodies must leave the same state and give the same answer; ``all_at_once`` may
    return ``DECLINED``, having touched nothing. Models yield it through :func:`in_bulk`.
    """

    __slots__ = ("all_at_once", "each", "items")

    def __init__(
        self,
        items: Iterable[Any],
        each: Callable[[Any], "Activity"],
        all_at_once: Callable[[], Any],
    ) -> None:
        self.items = items
        self.each = each
        self.all_at_once = all_at_once


class Stretch(Bulk):
    """The same work in two bodies, and others could see what lies between the items.

    ``all_at_once()`` does it where a CPU is alone or there is no clock; among others the answer is
    ``DECLINED``. Models yield it through :func:`in_a_stretch`.
    """

    __slots__ = ()


class Mark(Effect):
    """Alike work begins: the answer is a mark for :class:`Again`, or None.

    It is None where somebody else could see the work or has a part in it: among other CPUs, where
    each step is to be looked at, told or kept, or where the hypervisor may be preempted.
    """

    __slots__ = ()


class Again(Effect):
    """What was spent and told since a mark is spent and told ``times`` more; the answer is it.

    The answer is a :class:`Spent`, or None, and nothing is done, if something has happened since
    the mark that cannot be told again. ``moved(what, n)`` is what the observers hear in the nth
    repetition in place of ``what``. A mark serves once. The model changes its state itself.
    """

    __slots__ = ("mark", "moved", "times")

    def __init__(self, mark: object, times: int, moved: Callable[[object, int], object]) -> None:
        self.mark = mark
        self.times = times
        self.moved = moved


class Spent(NamedTuple):
    """What was spent and told since a mark: equal for alike work but for what was told of it."""

    units: tuple[tuple[tuple[str, str, int], ...], ...]
    """(mode, cost, units) of all costs, before the first thing told, before the second, ..., and
    behind the last."""
    told: tuple[object, ...]


class Unbroken(Effect):
    """Work that may be done at once where nothing could break it off or look into it.

    Done step by step, others could see what lies between the steps, and the hypervisor would ask
    there whether to let somebody else run. ``all_at_once()`` does it where a CPU is alone or there
    is no clock, *and* no such question could be answered yes. Else, or where the body itself
    declines, the answer is ``DECLINED``, nothing has been touched, and the model does it step by
    step. The two must leave the same state; what would have been asked, the model asks afterwards.
    """

    __slots__ = ("all_at_once",)

    def __init__(self, all_at_once: Callable[[], Any]) -> None:
        self.all_at_once = all_at_once


class Acquire(Effect):
    """Take a lock, waiting while it is busy; the answer is False where it is refused."""

    __slots__ = ("lock",)

    def __init__(self, lock: Lock) -> None:
        self.lock = lock


class Release(Effect):
    """Give a lock back."""

    __slots__ = ("lock",)

    def __init__(self, lock: Lock) -> None:
        self.lock = lock


class WaitUntil(Effect):
    """Wait until ``predicate()`` holds; ``what`` names the condition in reports.

    ``computing``: the CPU does work of its own meanwhile that nobody looks at; the time is then
    that of its guest, not of waiting.
    """

    __slots__ = ("computing", "predicate", "what")

    def __init__(
        self, what: str, predicate: Callable[[], bool], *, computing: bool = False
    ) -> None:
        self.what = what
        self.predicate = predicate
        self.computing = computing


class Block(WaitUntil):
    """The same for a guest that leaves its CPU to others meanwhile; it wakes for interrupts, too.

    The time counts as idle, not as waiting.
    """

    __slots__ = ()


class Await(Effect):
    """Wait for an event of SimPy's, beside processes of SimPy's on the same clock.

    ``event(env)`` makes the event or finds it, given the simulation's environment, when the clock
    stands at this CPU's time: ``lambda _: store.get()``. Nothing else of a model may touch SimPy's
    objects. The answer is the event's value; the exception of one that fails ends the run. ``what``
    names the event in reports. The CPU is for others meanwhile and wakes for interrupts, as with
    :class:`Block`; the event is made once. There is no such thing without a clock.
    """

    __slots__ = ("event", "what")

    def __init__(self, what: str, event: "Callable[[Environment], Event]") -> None:
        self.what = what
        self.event = event


class PreemptPoint(Effect):
    """The hypervisor asks whether it should let somebody else run; the answer is a bool.

    If so, the model ends the call and makes its continuation, by way of ``ENTER_GUEST`` and
    ``ENTER_HYPERVISOR``: there the others get their turn.
    """

    __slots__ = ()


class PreemptPoints(Effect):
    """``n`` such questions in a row, with nothing in between; the answer is an int.

    It says how many were answered no before one was answered yes, and the asking ended; ``n`` if
    none was.
    """

    __slots__ = ("n",)

    def __init__(self, n: int) -> None:
        self.n = n


class Choose(Effect):
    """Finite nondeterminism: the answer is one of ``options``."""

    __slots__ = ("name", "options")

    def __init__(self, name: str, options: tuple[Any, ...]) -> None:
        self.name = name
        self.options = options


class Draw(Effect):
    """A random number from the named stream."""

    __slots__ = ("distribution", "stream")

    def __init__(self, stream: str, distribution: Distribution) -> None:
        self.stream = stream
        self.distribution = distribution


class Mode(Effect):
    """From here on the CPU runs in this mode."""

    __slots__ = ("mode",)

    def __init__(self, mode: CpuMode) -> None:
        self.mode = mode


class Whole(NamedTuple):
    """What an activity came to that was carried out at once: its answer, and what it spent."""

    answer: Any
    spent: tuple[Spend, ...]


class Trap(Effect):
    """Enter the hypervisor, which costs one unit of ``cost``, and run ``activity`` there.

    The answer is what the activity returns; the CPU is in its former mode again then.
    ``at_once()``, if given, does the same work for a CPU that is alone and not preempted; it
    returns None where that must be left to the activity: to all of it, having touched nothing, or
    to the rest of one that knows how far the work has come.

    ``lead``, if given, are the effects that the activity begins with. What ``at_once`` does is then
    a matter of the one moment after them, in which the activity would spend, ask and wait for
    nothing; so among others, too, it may be made by a CPU whose turn has come.
    """

    __slots__ = ("activity", "at_once", "cost", "lead")

    def __init__(
        self,
        activity: "Activity",
        cost: str,
        at_once: Callable[[], Whole | None] | None = None,
        lead: tuple[Spend, ...] | None = None,
    ) -> None:
        self.activity = activity
        self.cost = cost
        self.at_once = at_once
        self.lead = lead


class Irqs(Effect):
    """The guest's interrupts are taken from here on, or held back; the hypervisor's always are."""

    __slots__ = ("enabled",)

    def __init__(self, *, enabled: bool) -> None:
        self.enabled = enabled


class Send(Effect):
    """Send an inter-processor interrupt to other CPUs, by their numbers.

    ``handler()`` makes the activity that each target runs. ``latency`` names the cost of the
    way there. A guest's interrupt waits until its target runs guest code with interrupts on,
    which needs a pCPU; it wakes a target that is idle. A hypervisor's (``hypervisor=True``) is for
    pCPUs, and is taken at once, in either mode, by whichever vCPU runs there (vCPU n on pCPU n
    where there are as many).
    """

    __slots__ = ("handler", "hypervisor", "latency", "name", "targets")

    def __init__(
        self,
        name: str,
        targets: tuple[int, ...],
        handler: Callable[[], "Activity"],
        *,
        latency: str | None = None,
        hypervisor: bool = False,
    ) -> None:
        self.name = name
        self.targets = targets
        self.handler = handler
        self.latency = latency
        self.hypervisor = hypervisor


class AwaitAcks(Effect):
    """Wait until every target of this CPU's interrupts has finished its handler."""

    __slots__ = ()


class Note(Effect):
    """Tell the observers, with the CPU and the time, that ``what`` has happened here."""

    __slots__ = ("what",)

    def __init__(self, what: object) -> None:
        self.what = what


class Boundary(Effect):
    """A :class:`Note` at which times are read: it is told when nobody has anything left before."""

    __slots__ = ("what",)

    def __init__(self, what: object) -> None:
        self.what = what


Activity = Generator["Effect | Activity", Any, Any]


class Declined(Enum):
    """The answer of a vectorised body that leaves the work to the item-by-item one."""

    DECLINED = "declined"


DECLINED = Declined.DECLINED


def in_bulk(
    items: Iterable[Any], each: Callable[[Any], Activity], all_at_once: Callable[[], Any]
) -> Activity:
    """The work of a :class:`Bulk`, item by item where the vectorised body declines."""
    answer = yield Bulk(items, each, all_at_once)
    if answer is not DECLINED:
        return answer
    return (yield from _one_by_one(items, each))


def in_a_stretch(
    items: Iterable[Any], each: Callable[[Any], Activity], all_at_once: Callable[[], Any]
) -> Activity:
    """The work of a :class:`Stretch`, item by item among others or where the body declines."""
    answer = yield Stretch(items, each, all_at_once)
    if answer is not DECLINED:
        return answer
    return (yield from _one_by_one(items, each))


def _one_by_one(items: Iterable[Any], each: Callable[[Any], Activity]) -> Activity:
    for item in items:
        answer = yield from each(item)
        if answer is not None:
            return answer
    return None


STEP = Step()
MARK = Mark()
PREEMPT_POINT = PreemptPoint()
AWAIT_ACKS = AwaitAcks()
ENTER_HYPERVISOR = Mode(CpuMode.HYPERVISOR)
ENTER_GUEST = Mode(CpuMode.GUEST)
IRQS_ON = Irqs(enabled=True)
IRQS_OFF = Irqs(enabled=False)

EFFECTS = frozenset(
    {
        Spend,
        Step,
        Bulk,
        Stretch,
        Mark,
        Again,
        Unbroken,
        Acquire,
        Release,
        WaitUntil,
        Block,
        Boundary,
        Await,
        PreemptPoint,
        PreemptPoints,
        Choose,
        Draw,
        Mode,
        Trap,
        Irqs,
        Send,
        AwaitAcks,
        Note,
    }
)
"""All that an activity may yield, but for other activities."""
