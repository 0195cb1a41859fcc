"""One order of each class: compared with all orders there are, on random small programs."""

import json
import random
from collections.abc import Hashable, Mapping, Sequence
from itertools import islice
from typing import Any

import pytest

from sim.effects import (
    AWAIT_ACKS,
    IRQS_OFF,
    IRQS_ON,
    STEP,
    Acquire,
    Activity,
    Choose,
    Release,
    Send,
    WaitUntil,
)
from sim.explore.cpu import CannotExplore, Seen
from sim.explore.dependence import Dependence, History, parts
from sim.explore.execution import Execution, Scheduler
from sim.explore.program import Program
from sim.explore.searches import depth_first
from sim.explore.searches.checkpoint import (
    read_position,
    read_subtrees,
    write_position,
    write_subtrees,
)
from sim.explore.searches.dpor import ClassSearch, Position
from sim.explore.searches.subtrees import Subtrees
from sim.fields import Condition, Field, FieldWords
from sim.footprint import Kind, RecordedMap, RecordedWords, Recorder
from sim.locks import SpinLock

Op = tuple[Any, ...]

_MOST_ORDERS = 1000


COUNT, LOCK, PIN, KIND = 0xF, 1 << 4, 1 << 5, 3 << 6
FIELDS = (
    Field("count", COUNT, counts=True),
    Field("lock", LOCK),
    Field("pin", PIN),
    Field("kind", KIND),
)


LOCKABLE = Condition("lockable", PIN, COUNT, (0, COUNT))


class World:
    """Words and locks, begun anew for each execution."""

    def __init__(self, sides: Sequence[Sequence[Op]]) -> None:
        self.sides = sides
        self.recorder = Recorder()
        self.recorder.regimes["words"] = lambda value: value == 0
        self.words: Any = []
        self.locks: list[SpinLock] = []
        self.row: list[int] = []
        self.typed: Any = []
        self.map: Any = {}

    def begin(self) -> list[Activity]:
        """The activities, one a side."""
        self.words = RecordedWords([1, 0, 2], "words", self.recorder)
        self.locks = [SpinLock("a"), SpinLock("b")]
        self.row = [0] * 4
        self.recorder.of_fields.clear()
        self.typed = FieldWords([1, PIN | 2, 0], "typed", self.recorder, FIELDS, [LOCKABLE])
        self.map = RecordedMap({0: 5}, "map", self.recorder, lambda value: value or 0)
        return [_activity(self, side) for side in self.sides]

    def program(self) -> Program:
        """The same as something to be explored."""
        return Program(self.begin, recorder=self.recorder, at_most=200)


def _activity(world: World, side: Sequence[Op]) -> Activity:
    heard: list[Any] = []
    for op in side:
        yield from _perform(world, op, heard)
    return tuple(heard)


def _perform(world: World, op: Op, heard: list[Any]) -> Activity:
    words = world.words
    match op:
        case "read", word:
            yield STEP
            heard.append(words[word])
        case "write", word, value:
            yield STEP
            words[word] = value
        case "add", word, by:
            yield STEP
            words[word] += by
            heard.append(words[word] == 0)
        case "take", word:
            yield STEP
            if words[word]:
                words[word] -= 1
            heard.append(words[word] == 0)
        case "locked", lock, body:
            yield Acquire(world.locks[lock])
            for inner in body:
                yield from _perform(world, inner, heard)
            yield Release(world.locks[lock])
        case "locked look", lock, word, body:
            yield Acquire(world.locks[lock])
            heard.append(words[word])
            for inner in body:
                yield from _perform(world, inner, heard)
            yield Release(world.locks[lock])
        case "wait", word:
            yield WaitUntil("zero", lambda: words[word] == 0)
        case "fails", word:
            yield STEP
            if words[word] == 0:
                raise ArithmeticError("division by zero")
        case "choose", word:
            yield STEP
            words[word] = value = yield Choose("value", (0, 3))
            heard.append(value)
        case _:
            yield from _perform_other(world, op, heard)


def _perform_other(world: World, op: Op, heard: list[Any]) -> Activity:
    match op:
        case "scan", first, last:
            yield STEP
            world.recorder.scan("row", first, last)
            heard.append(tuple(world.row[first : last + 1]))
        case "store", place, value:
            yield STEP
            world.recorder.write(("row", place), world.row[place], value)
            world.recorder.store("row", place)
            world.row[place] = value
        case (("lookup" | "put" | "pop" | "clear"), *_):
            yield STEP
            heard.append(_map_operation(world.map, op))
        case name, word, change if name in TYPED:
            yield STEP
            heard.append(_TYPED[name](world.typed, word, change))
        case "wait for count", word:
            yield WaitUntil("uses", lambda: world.typed[word] & COUNT == 0)
        case "send", to, body:
            yield STEP
            yield Send("ipi", (to,), lambda: _activity(world, body))
            yield AWAIT_ACKS
        case "irqs off", body:
            yield IRQS_OFF
            for inner in body:
                yield from _perform(world, inner, heard)
            yield IRQS_ON
        case _:
            raise AssertionError(op)


PLAIN = {"read": 4, "write": 4, "add": 6, "locked": 4, "wait": 1, "fails": 0.3, "choose": 0.5}
TAKES = {"add": 4, "take": 6, "read": 1}
LOOKS = {"read": 2, "write": 4, "add": 2, "locked look": 6}
SCANS = {"scan": 4, "store": 6, "locked": 2, "read": 1, "write": 1}
MAPS = {"lookup": 4, "put": 3, "pop": 2, "clear": 2, "read": 1}
TYPED = {"use": 5, "drop": 5, "lock": 4, "unlock": 3, "flag": 3, "look": 2, "copy": 1, "reset": 0.5}
TYPED_AND_MORE = {**TYPED, "locked": 2, "wait for count": 1, "choose": 0.5, "send": 0.5}
INTERRUPTS = {"read": 3, "write": 3, "locked": 2, "send": 2, "irqs off": 2}


def _end(world: World, execution: Execution) -> Hashable:
    """Everything that an execution has come to."""
    words = [int(word) for word in world.typed]
    return execution.results, execution.deadlock, tuple(words), tuple(world.words)


def _map_operation(found: Any, op: Op) -> Any:  # noqa: ANN401 - whatever was there
    kind, key, value = op
    match kind:
        case "lookup":
            return found.get(key)
        case "put":
            found[key] = value
        case "pop":
            return found.pop(key, None)
        case "clear":
            found.clear()
    return None


def _use(words: Any, word: int, kind: int) -> object:  # noqa: ANN401 - words that are recorded
    """Take a use of a word as this kind, which changes while nobody uses it."""
    found = words[word]
    if found & COUNT == COUNT:
        return "full"
    if not found & COUNT:
        words[word] = (found + 1 & ~(KIND | PIN)) | kind << 6
        return "first"
    if found & KIND != kind << 6:
        return "refused"
    words[word] = found + 1
    return "used"


def _drop(words: Any, word: int, _: int) -> object:  # noqa: ANN401
    found = words[word]
    if found & COUNT == 0:
        return "unused"
    words[word] = found - 1
    return bool(found & COUNT == 1)


def _lock(words: Any, word: int, _: int) -> object:  # noqa: ANN401
    found = words[word]
    if not LOCKABLE.holds(found):
        return "refused"
    if found & LOCK:
        return False
    words[word] = (found | LOCK) + 1
    return True


def _unlock(words: Any, word: int, _: int) -> object:  # noqa: ANN401
    found = words[word]
    if not found & LOCK or found & COUNT <= 1:
        return "not locked"
    words[word] = (found & ~LOCK) - 1
    return None


def _flag(words: Any, word: int, change: int) -> object:  # noqa: ANN401
    if change == 2:
        return bool(words[word] & PIN)
    words[word] = words[word] | PIN if change else words[word] & ~PIN
    return None


def _look(words: Any, word: int, change: int) -> object:  # noqa: ANN401
    if change == 2:
        return f"{words[word]:x}"
    return words[word] & (COUNT | KIND)  # kept: a number from the end of the step on


def _copy(words: Any, word: int, _: int) -> object:  # noqa: ANN401
    words[2] = words[word] & ~LOCK
    return None


def _reset(words: Any, word: int, _: int) -> object:  # noqa: ANN401
    words[word] = 1
    return None


_TYPED = {
    "use": _use,
    "drop": _drop,
    "lock": _lock,
    "unlock": _unlock,
    "flag": _flag,
    "look": _look,
    "copy": _copy,
    "reset": _reset,
}


def _random_op(rng: random.Random, kinds: Mapping[str, float], depth: int = 0) -> Op:
    kind = rng.choices(list(kinds), list(kinds.values()))[0]
    word = rng.randrange(3)
    if kind in ("locked", "locked look", "irqs off", "send"):
        if depth > 1:
            return "read", word
        body = [_random_op(rng, kinds, depth + 1) for _ in range(rng.randrange(3))]
    match kind:
        case "write":
            return kind, word, rng.randrange(2)
        case "add":
            return kind, word, rng.choice([-1, 1])
        case "lookup" | "put" | "pop" | "clear":
            return kind, rng.randrange(2), rng.randrange(2)
        case _ if kind in TYPED:
            return kind, rng.randrange(2), rng.randrange(3)
        case "scan":
            first = rng.randrange(4)
            return kind, first, rng.randrange(first, 4)
        case "store":
            return kind, rng.randrange(4), rng.randrange(2)
        case "locked":
            return kind, rng.randrange(2), body
        case "locked look":
            return kind, rng.randrange(2), word, body
        case "send":
            return kind, rng.randrange(2), [op for op in body if op[0] in ("read", "write")]
        case "irqs off":
            return kind, body
    return kind, word


def _random_sides(rng: random.Random, kinds: Mapping[str, float], longest: int) -> list[list[Op]]:
    return [
        [_random_op(rng, kinds) for _ in range(rng.randint(1, longest))]
        for _ in range(rng.choice([2, 2, 3]))
    ]


class _Everything:
    """All orders, where a failure ends its vCPU only: as the other search runs them."""

    def __init__(self, program: Program) -> None:
        self._program = program

    def run(self, scheduler: Scheduler) -> Execution:
        return self._program.run(scheduler, goes_on=True)


def class_of(execution: Execution, dependence: Dependence) -> Hashable:
    """What all equivalent orders have in common: each step, and what happened before it."""
    history = History(len(execution.results), dependence)
    for seen in execution.steps:
        history.add(history.event(seen))
    events = frozenset(
        (event.seen.vcpu, event.seen.kind, tuple(event.clock), _written(event.seen))
        for event in history.events
    )
    return events, execution.results, execution.deadlock


def _written(seen: Seen) -> tuple[int, ...]:
    return tuple(access.after for access in parts(seen) if access.kind is Kind.WRITE)


def _compare(sides: Sequence[Sequence[Op]], *, once: bool = True) -> tuple[int, int] | None:
    """How many classes and given-up executions there are; None where orders are too many."""
    world = World(sides)
    everything: Any = _Everything(world.program())
    executions = list(islice(depth_first.explore(everything), _MOST_ORDERS))
    if len(executions) == _MOST_ORDERS:
        return None

    search = ClassSearch(world.program())
    found = list(search)
    expected = {class_of(execution, search.dependence) for execution in executions}
    classes = [class_of(execution, search.dependence) for execution in found][
        -search.position.classes :
    ]

    assert expected == set(classes), sides
    assert not once or len(classes) == len(set(classes)), sides
    return search.position.classes, search.position.blocked


@pytest.mark.parametrize("block", range(4))
def test_classes_are_those_of_all_orders(block: int) -> None:
    """The set of them, and each only once, on programs with locks that deadlock, and failures."""
    compared = classes = blocked = 0
    for seed in range(block * 40, (block + 1) * 40):
        counts = _compare(_random_sides(random.Random(seed), PLAIN, 4))
        if counts is not None:
            compared += 1
            classes += counts[0]
            blocked += counts[1]

    assert compared > 20
    assert blocked <= classes / 5


def test_classes_are_those_of_all_orders_where_who_takes_a_lock_looks_at_once() -> None:
    """What is written under the lock before is no reason to take it for decided who was first."""
    compared = [
        _compare(_random_sides(random.Random(seed), LOOKS, 3)) is not None for seed in range(80)
    ]

    assert sum(compared) > 30


def test_classes_are_those_of_all_orders_where_additions_depend_on_what_is_left() -> None:
    """A vCPU that sleeps is woken by an addition that its own would notice."""
    compared = [
        _compare(_random_sides(random.Random(seed), TAKES, 4)) is not None for seed in range(120)
    ]

    assert sum(compared) > 60


def test_classes_are_those_of_all_orders_where_rows_are_scanned() -> None:
    """Who scans meets who stores at one of the places, and nobody else."""
    compared = [
        _compare(_random_sides(random.Random(seed), SCANS, 4)) is not None for seed in range(50)
    ]

    assert sum(compared) > 25


@pytest.mark.parametrize(
    ("scan", "places", "classes"),
    [((0, 3), (1, 2), 4), ((0, 1), (1, 2), 2), ((0, 0), (1, 2), 1), ((1, 3), (1, 1), 6)],
)
def test_classes_of_a_scan_and_two_stores(
    scan: tuple[int, int], places: tuple[int, int], classes: int
) -> None:
    """Each store that the scan meets comes before or after it; two at one place have an order."""
    sides: list[list[Op]] = [[("scan", *scan)], *([("store", place, 1)] for place in places)]
    search = ClassSearch(World(sides).program())

    assert classes == sum(1 for _ in search)


def test_classes_are_those_of_all_orders_where_maps_are_cleared() -> None:
    """Who finds nothing does not meet who clears what was empty; who puts something in does."""
    compared = [
        _compare(_random_sides(random.Random(seed), MAPS, 4)) is not None for seed in range(50)
    ]

    assert sum(compared) > 25


@pytest.mark.parametrize("block", range(2))
def test_classes_are_those_of_all_orders_of_words_of_fields(block: int) -> None:
    """With questions about counts, masks, and words that are kept, compared and copied."""
    compared = 0
    for seed in range(block * 30, (block + 1) * 30):
        sides = _random_sides(random.Random(seed), TYPED, 4)
        compared += _compare(sides) is not None

    assert compared > 12


def test_classes_are_those_of_all_orders_of_words_of_fields_among_others() -> None:
    """With locks, waits, choices and interrupts."""
    compared = 0
    for seed in range(40):
        sides = _random_sides(random.Random(seed), TYPED_AND_MORE, 3)
        compared += _compare(sides, once=False) is not None

    assert compared > 15


def test_results_are_those_of_all_orders_of_words_of_fields() -> None:
    """What each vCPU hears and what the words are in the end, whatever a class is taken to be."""
    for seed in range(40, 70):
        world = World(_random_sides(random.Random(seed), TYPED_AND_MORE, 3))
        everything: Any = _Everything(world.program())
        ends = set()
        executions = depth_first.explore(everything)
        for execution in islice(executions, _MOST_ORDERS):
            ends.add(_end(world, execution))
        if next(executions, None) is not None:
            continue
        found = {_end(world, execution) for execution in ClassSearch(world.program())}

        assert ends == found


def test_classes_are_those_of_all_orders_with_interrupts() -> None:
    """A handler may begin before each step of the vCPU it is sent to, where these are enabled."""
    compared = [
        _compare(_random_sides(random.Random(seed), INTERRUPTS, 3), once=False) is not None
        for seed in range(50)
    ]

    assert sum(compared) > 15


class _Fickle:
    """A world that is another one from the third execution on."""

    def __init__(self, before: Sequence[Op], after: Sequence[Op], others: Sequence[Op]) -> None:
        self._world = World([before, others])
        self._after = after
        self._begun = 0

    def begin(self) -> list[Activity]:
        """The activities; that of the first vCPU changes."""
        self._begun += 1
        if self._begun == 3:
            self._world.sides = [self._after, self._world.sides[1]]
        return self._world.begin()

    def program(self) -> Program:
        """The same as something to be explored."""
        return Program(self.begin, recorder=self._world.recorder)


_READS: list[Op] = [("read", 0), ("read", 1), ("read", 0), ("read", 1)]


@pytest.mark.parametrize(
    ("after", "told"),
    [
        ([("locked", 0, [])], r"another step before \(step, 0 interrupts\)"),
        ([("send", 1, []), *_READS], "another step before"),
        ([("wait", 1), *_READS], r"another step before .* \(wait"),
        ([("read", 0), ("wait", 2), *_READS], "could make step 1 before, and now it cannot"),
        ([], "could make step 0 before, and now it cannot"),
        ([("choose", 0), *_READS], "'value' was not asked before"),
        (_READS[:1], "could make step 1 before, and now it cannot"),
    ],
)
def test_program_that_changes_between_executions_is_refused(after: list[Op], told: str) -> None:
    """Also in steps that are known and are not looked at again."""
    fickle = _Fickle(_READS, after, [("write", 0, 1), ("write", 1, 1)])

    with pytest.raises(CannotExplore, match=told):
        list(ClassSearch(fickle.program()))


class _Counting(Recorder):
    """Counts what it is told."""

    heard = 0

    def read(self, word: Hashable, value: int) -> None:
        """As any recorder."""
        self.heard += not self.muted
        super().read(word, value)


def test_known_steps_are_not_looked_at_again() -> None:
    """The recorder hears only of steps that are new; an execution shows all of them."""
    world = World([[("read", 0), ("write", 1, 1)], [("write", 0, 1), ("read", 1)]])
    world.recorder = recorder = _Counting()
    executions = list(ClassSearch(world.program()))

    assert all(step.accesses for execution in executions for step in execution.steps)
    assert 2 * len(executions) > recorder.heard > 0


def test_search_goes_on_from_its_position() -> None:
    """Stopped after any execution, another process finds the rest: together they are the same."""
    sides = [[("add", 2, 1), ("read", 0), ("write", 1, 1)], [("write", 0, 1), ("read", 1)]] * 2
    world = World(sides)
    whole = ClassSearch(world.program())
    expected = [run.schedule for run in whole][-whole.position.classes :]

    found: list[tuple[int, ...]] = []
    position: Position | None = None
    while position is None or not position.over:
        search = ClassSearch(World(sides).program(), position)
        found += [execution.schedule for execution in islice(search, 7)]
        position = read_position(json.loads(json.dumps(write_position(search.position))))

    assert expected == found[-position.classes :]
    assert whole.position.classes == position.classes


@pytest.mark.parametrize("block", range(2))
def test_parts_together_are_the_whole(block: int) -> None:
    """Cut after every few executions, each class is still run once."""
    compared = 0
    for seed in range(block * 40, (block + 1) * 40):
        sides = _random_sides(random.Random(seed), PLAIN, 4)
        whole = ClassSearch(World(sides).program())
        expected = [run.schedule for run in islice(whole, 400)]
        if len(expected) == 400 or whole.position.classes < 10:
            continue
        compared += 1
        parts = Subtrees([Position()])
        found: set[Hashable] = set()
        begun_again = 0
        while parts.waiting:
            position = parts.waiting.pop(seed % len(parts.waiting))
            search = ClassSearch(World(sides).program(), position)
            runs = list(islice(search, 3))
            if position.begun_again > begun_again:
                begun_again = position.begun_again
                runs, found = runs[len(runs) - position.classes :], set()
            found |= {class_of(run, whole.dependence) for run in runs}
            parts.put_back(position)
            parts = read_subtrees(json.loads(json.dumps(write_subtrees(parts))))

        assert len(found) == parts.classes == whole.position.classes, sides

    assert compared >= 5
