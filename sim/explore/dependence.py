"""Which steps depend on each other, and which step happened before which.

Two steps of different vCPUs depend on each other if their order matters: both touch a word and
one of them writes it, one looks through places of a row of words and the other stores at one of
these, both take or give back a lock, or one interrupts the other's vCPU.
Additions to a word commute. That holds as long as nobody who counts notices in which order they
came, so the words are looked for of which that is not so (see :meth:`History.noticed`).
"""

from collections.abc import Hashable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from sim.explore.cpu import Seen, acks_word, lock_word
from sim.footprint import Access, Kind, Question, Recorder

_OF_COUNTS = frozenset({Kind.ADD, Kind.TEST})
_OF_ROWS = frozenset({Kind.SCAN, Kind.STORE})
_WAITS = frozenset({"wait", "interrupt"})

Clock = list[int]
"""For each vCPU, how many of its steps happened before."""


class Step(NamedTuple):
    """What matters to others of all steps that do the same."""

    seen: Seen
    accesses: tuple[Access, ...]
    """What they touch, their being interruptible included; each access is made once."""
    counted: tuple[Hashable, ...]
    """Words that they add to or ask the count of."""


class Event(NamedTuple):
    """A step in the history of an execution."""

    number: int
    seen: Seen
    step: Step
    clock: Clock
    """Of each vCPU, the steps up to which it happened before this one or is this one."""
    held: frozenset[Hashable]
    """The locks that its vCPU held when it was made."""
    depends_on: "list[tuple[Event, bool]]"
    """Earlier steps of other vCPUs; and whether the two could have come the other way round."""

    def is_before(self, other: "Event") -> bool:
        """Did this one happen before the other, which came later?"""
        vcpu = self.seen.vcpu
        return self.clock[vcpu] <= other.clock[vcpu]


def parts(seen: Seen) -> list[Access]:
    """What a step touches: words, and of words of fields the fields."""
    accesses: list[Access] = []
    for access in seen.accesses:
        if access.fields is None:
            accesses.append(access)
        else:
            accesses += access.fields
    return accesses


class Dependence:
    """Tells whether steps depend on each other."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self._interrupts = False
        self._noticed: set[Hashable] = set()
        self._steps: dict[Hashable, Step] = {}
        """Those so far by what they do: they are few, and are made many times."""
        self._conflicts: dict[int, dict[int, bool]] = {}
        """Of accesses of these steps, by the identity of the later one, then of the earlier one:
        does their order matter?"""
        self._between: dict[tuple[int, int], bool] = {}
        """Of two of these steps: does their order matter?"""
        self._in_doubt: dict[tuple[int, int], frozenset[Hashable]] = {}
        """Of two of these steps: see :meth:`in_doubt`."""

    @property
    def interrupts(self) -> bool:
        """The program sends some, so every step can be interrupted."""
        return self._interrupts

    @property
    def noticed(self) -> AbstractSet[Hashable]:
        """Words to which additions do not commute."""
        return self._noticed

    def learn(self, *, interrupts: bool = False, noticed: Iterable[Hashable] = ()) -> None:
        """More depends on each other than was known up to now."""
        self._interrupts = self._interrupts or interrupts
        self._noticed = self._noticed.union(noticed)
        self._conflicts, self._between, self._in_doubt = {}, {}, {}

    def step(self, seen: Seen) -> Step:
        """What matters of a step to others; the same object for steps that do the same."""
        vcpu, kind, lock, accesses, sent_to = seen
        # The step keeps what its key names by identity, and none is ever forgotten.
        key = self._interrupts, vcpu, kind, lock, id(accesses), sent_to
        step = self._steps.get(key)
        if step is None:
            counted = {access.word for access in parts(seen) if access.kind in _OF_COUNTS}
            step = self._steps[key] = Step(seen, self._accesses(seen), tuple(counted))
        return step

    def _accesses(self, seen: Seen) -> tuple[Access, ...]:
        """What a step touches, its being interruptible included.

        Before a step that touches nothing an interrupt does the same as after it.
        """
        accesses = parts(seen)
        if not self.interrupts or (seen.private and seen.kind != "interrupt"):
            return tuple(accesses)
        own = Access(Kind.READ, ("interrupts of vCPU", seen.vcpu), 0, 0)
        sent = [Access(Kind.WRITE, ("interrupts of vCPU", to), 0, 0) for to in seen.sent_to]
        lock = [] if seen.lock is None else [Access(Kind.WRITE, lock_word(seen.lock), 0, 0)]
        others = (access for access in sent if access.word != own.word)
        return (*accesses, own, *lock, *others)

    def between(self, one: Seen, other: Seen) -> bool:
        """Does the order of these two matter?"""
        first, second = self.step(one), self.step(other)
        key = id(first), id(second)
        matters = self._between.get(key)
        if matters is None:
            matters = self._between[key] = self._matters(first, second)
        return matters

    def _matters(self, first: Step, second: Step) -> bool:
        one, other = first.seen, second.seen
        if one.vcpu == other.vcpu or (one.lock is not None and one.lock == other.lock):
            return True
        mine: dict[Hashable, list[Access]] = {}
        for access in first.accesses:
            mine.setdefault(access.word, []).append(access)
        return any(
            self.conflict(earlier, access)
            for access in second.accesses
            for earlier in mine.get(access.word, ())
        )

    def in_doubt(self, one: Seen, other: Seen) -> frozenset[Hashable]:
        """Words to which both add, and that could show in which order they did.

        As far as these two steps go: what else happens to the words is seen once both were made.
        """
        first, second = self.step(one), self.step(other)
        key = id(first), id(second)
        words = self._in_doubt.get(key)
        if words is None:
            words = self._in_doubt[key] = frozenset(self._doubtful(one, other))
        return words

    def _doubtful(self, one: Seen, other: Seen) -> Iterator[Hashable]:
        words = {access.word: access for access in parts(one) if access.kind in _OF_COUNTS}
        for access in parts(other):
            if (
                access.kind in _OF_COUNTS
                and access.word in words
                and access.word not in self.noticed
                and self._may_show_order(words[access.word], access)
            ):
                yield access.word

    def _may_show_order(self, one: Access, other: Access) -> bool:
        """Could either notice the other: an addition, or a question about the count?

        The one was made last, the other a while ago and is still to come.
        """
        if one.kind is other.kind is Kind.ADD and self._shows_order(one, other):
            return True
        by = other.after - other.before
        first = sorted((one.before, one.before + by))
        then = sorted((other.before, one.before, one.after))
        return any(test.differs(first[0], first[-1]) for test in one.tests) or any(
            test.differs(then[0], then[-1]) for test in other.tests
        )

    def _shows_order(self, one: Access, other: Access) -> bool:
        """Do two additions, made from where either was made, leave a regime of the word?"""
        regime = self.recorder.regime(one.word)
        if regime is None:
            return False  # it only ever counts
        by, more = one.after - one.before, other.after - other.before
        values = [
            before + change
            for before in (one.before, other.before, one.before - more, other.before - by)
            for change in (0, by, more, by + more)
        ]
        return len({regime(value) for value in values}) > 1

    def _changes_answer(self, question: Access, other: Access) -> bool:
        """Could what else happens to a word give a question about it another answer?"""
        if other.kind not in (Kind.WRITE, Kind.ADD):
            return False
        if not set(question.refused) <= set(other.refused):
            return True
        return bool(question.tests) and (other.kind is Kind.WRITE or other.word in self.noticed)

    def conflicts(self, access: Access) -> dict[int, bool]:
        """Those of an access of a step (:meth:`step`) with earlier ones, by their identities.

        Whoever finds one missing fills it in. It holds until more is learnt.
        """
        return self._conflicts.setdefault(id(access), {})

    def conflict(self, one: Access, other: Access) -> bool:
        """Does the order of two accesses to a word, or to places of a row, matter?"""
        if one.kind in _OF_ROWS:
            meets = one.before <= other.after and other.before <= one.after
            return one.kind is not other.kind and meets
        if one.kind is Kind.TEST:
            return self._changes_answer(one, other)
        if other.kind is Kind.TEST:
            return self._changes_answer(other, one)
        if Kind.WRITE in (one.kind, other.kind):
            return True
        if Kind.ADD not in (one.kind, other.kind):
            return False
        return Kind.READ in (one.kind, other.kind) or one.word in self.noticed


def _never_both_enabled(one: Event, other: Seen, held: AbstractSet[Hashable]) -> bool:
    """Is it out of the question that both could have been made at the same moment?

    While somebody holds a lock, who gives it back included, nobody could take it. ``held``: the
    locks that the other's vCPU holds.
    """
    if not (held or one.held):
        return False
    return _takes(one.seen) in held or _takes(other) in one.held


def _takes(seen: Seen) -> Hashable:
    """The lock that a step takes, or would; None if it does neither."""
    return seen.lock if seen.kind == "acquire" else None


class _Counting:
    """Additions to a count, and questions about it, of several vCPUs between two writes."""

    def __init__(self) -> None:
        self._base: int | None = None
        self._sums: dict[int, tuple[int, int, int]] = {}
        """By vCPU what it adds up to: the lowest, the highest, all so far."""
        self._asked: list[tuple[int, int, Question]] = []
        """Who, after what it had added itself."""

    def meet(self, vcpu: int, access: Access) -> None:
        """The next one."""
        if self._base is None:
            self._base = access.before
        low, high, last = self._sums.get(vcpu, (0, 0, 0))
        self._asked += ((vcpu, last, test) for test in access.tests)
        last += access.after - access.before
        self._sums[vcpu] = min(low, last), max(high, last), last

    def notices(self) -> bool:
        """Could an answer be another one in another order of the vCPUs?

        Each adds in its own order. The others together may have come to anything from the sum of
        their lowest values to that of their highest ones.
        """
        base = self._base or 0
        lows = sum(low for low, _, _ in self._sums.values())
        highs = sum(high for _, high, _ in self._sums.values())
        for vcpu, own, test in self._asked:
            low, high, _ = self._sums[vcpu]
            if test.differs(base + own + lows - low, base + own + highs - high):
                return True
        return False


class _Met(NamedTuple):
    """The accesses of a word so far, with their steps."""

    all: list[tuple[Event, Access]]
    no_reads: list[tuple[Event, Access]]

    def append(self, event: Event, access: Access) -> None:
        """The next one."""
        self.all.append((event, access))
        if access.kind is not Kind.READ:
            self.no_reads.append((event, access))

    def pop(self) -> None:
        """The last one is taken back."""
        _, access = self.all.pop()
        if access.kind is not Kind.READ:
            self.no_reads.pop()


class _Place(NamedTuple):
    """An access of a step, and where it meets others."""

    access: Access
    met: _Met
    others: list[tuple[Event, Access]]
    """Of those met so far all that could matter: two that only read never depend on each other."""
    conflicts: dict[int, bool]
    """See :meth:`Dependence.conflicts`."""


class History:
    """The steps of an execution so far; the last one can be taken back."""

    def __init__(self, vcpus: int, dependence: Dependence) -> None:
        self._dependence = dependence
        self.events: list[Event] = []
        self._own: list[list[Event]] = [[] for _ in range(vcpus)]
        self._words: dict[Hashable, _Met] = {}
        """Words that were ever more than read."""
        self._places: dict[int, list[_Place]] = {}
        """The accesses to such words, by the identity of their step."""
        self._locks: dict[Hashable, list[Event]] = {}

    def add(self, event: Event) -> None:
        """A step was made."""
        seen = event.seen
        self.events.append(event)
        self._own[seen.vcpu].append(event)
        for place in self._places_of(event.step):
            place.met.append(event, place.access)
        if seen.lock is not None:
            self._locks.setdefault(seen.lock, []).append(event)

    def drop(self, length: int) -> None:
        """Take steps back until so many are left."""
        while len(self.events) > length:
            event = self.events.pop()
            seen = event.seen
            self._own[seen.vcpu].pop()
            for place in self._places_of(event.step):
                place.met.pop()
            if seen.lock is not None:
                self._locks[seen.lock].pop()

    def _places_of(self, step: Step) -> list[_Place]:
        """The step's accesses to words that are not only read."""
        places = self._places.get(id(step))
        if places is None:
            for access in step.accesses:
                if access.kind is not Kind.READ and access.word not in self._words:
                    self._watch(access.word)
            places = self._places[id(step)] = [
                self._place(access) for access in step.accesses if access.word in self._words
            ]
        return places

    def _watch(self, word: Hashable) -> None:
        """A word that was only read so far is now to be changed."""
        met = self._words[word] = _Met([], [])
        for event in self.events:
            for access in event.step.accesses:
                if access.word == word:
                    met.append(event, access)
        self._places.clear()

    def _place(self, access: Access) -> _Place:
        met = self._words[access.word]
        others = met.no_reads if access.kind is Kind.READ else met.all
        return _Place(access, met, others, self._dependence.conflicts(access))

    def races(self, event: Event) -> list[Event]:
        """Steps that could have come after this next one instead of before it.

        Nothing in between depends on the one and is depended on by the other. A wait is held
        against all steps that its condition depends on: it could go on before two of them, and
        not between them.
        """
        seen = event.seen
        before = self._clock(seen.vcpu)
        candidates = {
            other.number: other
            for other, reversible in event.depends_on
            if reversible and other.clock[other.seen.vcpu] > before[other.seen.vcpu]
        }
        if len(candidates) < 2 or seen.kind in _WAITS:
            return list(candidates.values())
        return [
            one
            for one in candidates.values()
            if not any(one is not other and one.is_before(other) for other in candidates.values())
        ]

    def firsts(self, earlier: Event, later: Event) -> list[int]:
        """Of which vCPUs one has to go first where the race is decided the other way round.

        They are those whose first step, of all that does not depend on the earlier step of the
        race, depends on nothing else of it. Source: Abdulla et al., Optimal Dynamic Partial
        Order Reduction (POPL 2014), "initials".
        """
        rest = [
            event for event in self.events[earlier.number + 1 :] if not earlier.is_before(event)
        ]
        rest.append(later)
        first: dict[int, bool] = {}
        for number, event in enumerate(rest):
            if event.seen.vcpu not in first:
                first[event.seen.vcpu] = not any(other.is_before(event) for other in rest[:number])
        return [vcpu for vcpu, independent in first.items() if independent]

    def noticed(self, length: int) -> set[Hashable]:
        """Words to which steps after the first so many add, and whose order could be noticed.

        Between two writes each vCPU adds in its own order; together they may come to anything
        from the sum of the lowest values to that of the highest ones. Somebody could notice if
        not all of that is one regime of the word.
        """
        words = {word for event in self.events[length:] for word in event.step.counted}
        return {word for word in words - self._dependence.noticed if self._may_notice(word)}

    def _may_notice(self, word: Hashable) -> bool:
        regime = self._dependence.recorder.regime(word)
        if regime is None:
            return self._tests_notice(word)
        sums: dict[int, tuple[int, int, int]] = {}  # by vCPU: lowest, highest, last
        base = 0
        for event, access in self._words[word].no_reads:
            if access.kind is Kind.WRITE:
                sums.clear()
            elif access.kind is Kind.ADD:
                if not sums:
                    base = access.before
                low, high, last = sums.get(event.seen.vcpu, (0, 0, 0))
                last += access.after - access.before
                sums[event.seen.vcpu] = min(low, last), max(high, last), last
                if len(sums) > 1:
                    lows, highs, _ = (sum(column) for column in zip(*sums.values(), strict=True))
                    values = range(base + lows, base + highs + 1)
                    if len({regime(value) for value in values}) > 1:
                        return True
        return False

    def _tests_notice(self, word: Hashable) -> bool:
        """Could a question about a count have another answer in another order of additions?"""
        counting = _Counting()
        for event, access in self._words[word].no_reads:
            if access.kind is Kind.WRITE:
                if counting.notices():
                    return True
                counting = _Counting()
            elif access.kind in _OF_COUNTS:
                counting.meet(event.seen.vcpu, access)
        return counting.notices()

    def _clock(self, vcpu: int) -> Clock:
        own = self._own[vcpu]
        return own[-1].clock if own else [0] * len(self._own)

    def event(self, seen: Seen) -> Event:
        """The next step as an event, before it is added."""
        step = self._dependence.step(seen)
        clock = list(self._clock(seen.vcpu))
        held = self._held(seen.vcpu)
        depends_on = self._depends_on(step, held)
        for event, _ in depends_on:
            vcpu = event.seen.vcpu
            if clock[vcpu] < event.clock[vcpu]:  # or else all before it is in there, too
                clock = list(map(max, clock, event.clock))
        clock[seen.vcpu] = len(self._own[seen.vcpu]) + 1
        number = len(self.events)
        return Event(number, step.seen, step, clock, held, depends_on)

    def _held(self, vcpu: int) -> frozenset[Hashable]:
        """The locks that a vCPU holds after its steps so far."""
        own = self._own[vcpu]
        if not own:
            return frozenset()
        last, held = own[-1].seen, own[-1].held
        if last.lock is None:
            return held
        return held | {last.lock} if last.kind == "acquire" else held - {last.lock}

    def _depends_on(self, step: Step, held: AbstractSet[Hashable]) -> list[tuple[Event, bool]]:
        """Steps of other vCPUs that this next one depends on; some are only implied by others.

        With each, whether the two could have come the other way round. ``held``: the locks that
        its vCPU holds.
        """
        found: list[tuple[Event, bool]] = []
        seen = step.seen
        vcpu, waits = seen.vcpu, seen.kind in _WAITS
        waits_for = acks_word(vcpu) if seen.kind == "acks" else None
        for access, _, others, conflicts in self._places_of(step):
            for event, earlier in reversed(others):
                if event.seen.vcpu != vcpu:
                    conflict = conflicts.get(id(earlier))
                    if conflict is None:
                        conflict = self._dependence.conflict(earlier, access)
                        conflicts[id(earlier)] = conflict
                    if conflict:
                        reversible = access.word != waits_for
                        reversible = reversible and not _never_both_enabled(event, seen, held)
                        found.append((event, reversible))
                if earlier.kind is Kind.WRITE and not waits and not earlier.refused:
                    break  # what came before it is implied
        if seen.lock is not None:
            found += (
                (event, not _never_both_enabled(event, seen, held))
                for event in self._locks.get(seen.lock, ())[-2:]
                if event.seen.vcpu != vcpu
            )
        return found
