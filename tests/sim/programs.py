"""Random small programs for several vCPUs: as data, and as the activities that they stand for."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from sim.distributions import Constant, Exponential, Lognormal, Uniform
from sim.effects import (
    AWAIT_ACKS,
    ENTER_GUEST,
    ENTER_HYPERVISOR,
    IRQS_OFF,
    IRQS_ON,
    PREEMPT_POINT,
    STEP,
    Acquire,
    Activity,
    Block,
    Bulk,
    Choose,
    Draw,
    Note,
    PreemptPoints,
    Release,
    Send,
    Spend,
    Trap,
    WaitUntil,
    Whole,
)
from sim.locks import SpinLock, TicketLock
from sim.oracle import SeededOracle, one_after_another
from sim.timed import Price
from tests.sim.timed_run import BriefLock

# Short whole numbers beside drawn ones: the former make steps fall on the same nanosecond.
PRICES = {
    "short": Price(Constant(1.0)),
    "long": Price(Constant(10.0)),
    "third": Price(Constant(1 / 3)),
    "flush": Price(Uniform(0.0, 20.0), "tlb"),
    "validate": Price(Lognormal(15.0, 0.8)),
}
WITH_SWITCH = PRICES | {"vcpu_context_switch": Price(Constant(7.0))}
WITH_HAND_OVER = PRICES | {"lock_handoff": Price(Constant(3.0))}
WORDS = 3
VCPUS = 4

Op = tuple[Any, ...]


@dataclass
class World:
    """What the vCPUs of a program share."""

    words: list[int] = field(default_factory=lambda: [0] * WORDS)
    locks: list[SpinLock | TicketLock] = field(
        default_factory=lambda: [
            SpinLock("mm"),
            SpinLock("pgd"),
            BriefLock("page"),
            TicketLock("ticket"),
        ]
    )
    asks_singly: bool = False
    """Preempt points that come in a row are effects of their own."""
    pcpus: int = VCPUS
    """A hypervisor's interrupts go to one of these."""


@dataclass(frozen=True)
class Seen:
    """What a vCPU saw of a word, noted right after its step."""

    word: int
    value: int
    hidden: bool
    """Under a brief lock, where steps are not told apart."""


class CoinOracle(SeededOracle):
    """Chance decides about preemption, too: whoever asks first gets the first answer."""

    def preempt(self) -> bool:
        """Heads or tails."""
        return self.draw("preempt", Uniform(0.0, 1.0)) < 0.5

    def preempt_after(self, n: int) -> int:
        """Heads or tails for each."""
        return one_after_another(self.preempt, n)


def activity(program: Sequence[Op], world: World, *, hidden: bool = False) -> Activity:
    """The activity of a program; everything that it hears is noted."""
    for op in program:
        yield from _perform(op, world, hidden=hidden)


def _perform(op: Op, world: World, *, hidden: bool) -> Activity:
    match op:
        case "spend", cost, n:
            yield Spend(cost, n)
        case "step", word:
            yield STEP
            world.words[word] += 1
            yield Note(Seen(word, world.words[word], hidden))
        case "bulk", word, n:

            def each(_: int) -> Activity:
                yield STEP
                world.words[word] += 1

            def all_at_once() -> None:
                world.words[word] += n

            yield Bulk(range(n), each, all_at_once)
            yield Note(Seen(word, world.words[word], hidden))
        case "locked", number, body:
            lock = world.locks[number]
            if (yield Acquire(lock)):
                yield from activity(body, world, hidden=hidden or lock.brief)
                yield Release(lock)
        case "wait", word, least:
            yield WaitUntil(f"word {word}", lambda: world.words[word] >= least)
            yield Note("waited")
        case "block", word, least:
            yield Block(f"word {word}", lambda: world.words[word] >= least)
            yield Note("woken")
        case "choose", options:
            yield Note((yield Choose("option", tuple(range(options)))))
        case "draw", mean:
            yield Note((yield Draw("gap", Exponential(mean))))
        case ("preempt",):
            yield Note((yield PREEMPT_POINT))
        case "preempts", n:
            noes = yield (_one_by_one(n) if world.asks_singly else PreemptPoints(n))
            yield Note(("noes", noes))
        case "hypercall", body:
            yield ENTER_HYPERVISOR
            yield from activity(body, world, hidden=hidden)
            yield ENTER_GUEST
        case "trap", cost, body:
            yield Note((yield Trap(_answering(body, world, hidden=hidden), cost)))
        case "plain trap", cost, number, words, declines:
            yield Note((yield _plain_trap(world, cost, world.locks[number], words, declines)))
        case "call", body:
            yield activity(body, world, hidden=hidden)
        case _:
            yield from _interrupt(op, world, hidden=hidden)


def _one_by_one(n: int) -> Activity:
    """What a row of preempt points asks, as single questions."""
    for noes in range(n):
        if (yield PREEMPT_POINT):
            return noes
    return n


def _interrupt(op: Op, world: World, *, hidden: bool) -> Activity:
    match op:
        case "send", targets, hypervisor, body:
            if hypervisor:
                targets = tuple(sorted({number % world.pcpus for number in targets}))
            yield Send(
                "ipi",
                targets,
                lambda: activity(body, world, hidden=hidden),
                latency="short",
                hypervisor=hypervisor,
            )
        case ("acks",):
            yield AWAIT_ACKS
            yield Note("acknowledged")
        case "no irqs", body:
            yield IRQS_OFF
            yield from activity(body, world, hidden=hidden)
            yield IRQS_ON
        case _:
            raise AssertionError(op)


def _answering(body: Sequence[Op], world: World, *, hidden: bool) -> Activity:
    yield from activity(body, world, hidden=hidden)
    return len(body)


def _plain_trap(
    world: World,
    cost: str,
    lock: SpinLock | TicketLock,
    words: Sequence[int],
    declines: bool,  # noqa: FBT001 - drawn with the rest
) -> Trap:
    """Words counted up under a lock, in a step each or all at once, after all that is spent."""
    lead = (Spend("validate", 2), Spend("third"))

    def count(word: int) -> int:
        world.words[word] += 1
        return world.words[word]

    def stepping() -> Activity:
        yield from lead
        yield Acquire(lock)
        seen = []
        for word in words:
            yield STEP
            seen.append(count(word))
        yield Release(lock)
        return seen

    def at_once() -> Whole | None:
        return None if declines or lock.busy() else Whole([count(word) for word in words], lead)

    return Trap(stepping(), cost, at_once, lead)


_words = st.integers(0, WORDS - 1)
_spends = st.tuples(st.just("spend"), st.sampled_from(sorted(PRICES)), st.integers(0, 12))
_steps = st.tuples(st.just("step"), _words)
_plain_traps = st.tuples(
    st.just("plain trap"),
    st.sampled_from(sorted(PRICES)),
    st.integers(0, 2),
    st.lists(_words, max_size=2),
    st.booleans(),
)
_plain = st.one_of(
    _spends,
    _steps,
    st.tuples(st.just("bulk"), _words, st.integers(0, 4)),
    st.tuples(st.just("wait"), _words, st.integers(0, 4)),
    st.tuples(st.just("choose"), st.integers(1, 3)),
    st.tuples(st.just("draw"), st.sampled_from([5.0, 50.0])),
    st.just(("preempt",)),
    st.tuples(st.just("preempts"), st.integers(1, 6)),
    _plain_traps,
)


def _containers(bodies: st.SearchStrategy[list[Op]]) -> st.SearchStrategy[Op]:
    return st.one_of(
        st.tuples(st.just("locked"), st.integers(0, 2), bodies),
        st.tuples(st.just("hypercall"), bodies),
        st.tuples(st.just("trap"), st.sampled_from(sorted(PRICES)), bodies),
        st.tuples(st.just("call"), bodies),
    )


_inner = st.lists(_plain, min_size=1, max_size=4)
_ops = st.one_of(_plain, _containers(st.lists(st.one_of(_plain, _containers(_inner)), max_size=4)))

programs = st.lists(st.lists(_ops, max_size=7), min_size=1, max_size=VCPUS)
"""Programs of one to four vCPUs, some of which deadlock."""


@st.composite
def interrupting_programs(draw: st.DrawFn) -> list[list[Op]]:
    """Programs of two to four vCPUs that interrupt each other as well."""
    return _interrupting(draw, draw(st.integers(2, VCPUS)), _ops)


@st.composite
def crowded_programs(draw: st.DrawFn) -> tuple[list[list[Op]], int]:
    """The same with blocking and fair locks, and a smaller number of pCPUs."""
    vcpus = draw(st.integers(2, VCPUS))
    fair = st.tuples(st.just("locked"), st.just(3), _inner)
    blocks = st.tuples(st.just("block"), _words, st.integers(0, 4))
    long = st.tuples(st.just("spend"), st.just("long"), st.integers(3, 30))
    ops = st.one_of(_ops, fair, blocks, long)
    return _interrupting(draw, vcpus, ops), draw(st.integers(1, vcpus - 1))


def _interrupting(draw: st.DrawFn, vcpus: int, plain: st.SearchStrategy[Op]) -> list[list[Op]]:
    numbers = st.lists(st.integers(0, vcpus - 1), min_size=1, max_size=3, unique=True)
    handlers = st.lists(st.one_of(_spends, _steps), max_size=3)
    sends = st.tuples(st.just("send"), numbers.map(tuple), st.booleans(), handlers)
    quiet = st.tuples(st.just("no irqs"), st.lists(st.one_of(_spends, _steps), max_size=3))
    ops = st.one_of(plain, sends, sends, quiet, st.just(("acks",)))
    return draw(st.lists(st.lists(ops, max_size=7), min_size=vcpus, max_size=vcpus))
