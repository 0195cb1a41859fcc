"""What a step of a model touches: recorded by the accessors of its state, never declared.

A model's shared words are reached by indexing; while somebody records, the objects that are
indexed note every read and write here. A write that only counts up or down from what the same
step has read is an addition: two of these commute, unless one of them reaches a bound that
somebody tests, so both values are kept.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, MutableMapping
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar

V = TypeVar("V")

_SMALL = 1 << 20
"""Changes below it are additions; anything else changes flags."""


class Kind(StrEnum):
    """How a word was touched."""

    READ = "read"
    WRITE = "write"
    ADD = "add"
    SCAN = "scan"
    """Places of a row of words were looked through, from ``before`` to ``after``."""
    TEST = "test"
    """It was only asked whether comparisons of a count hold."""
    STORE = "store"
    """Something was stored at places of such a row, from ``before`` to ``after``."""


class Question(NamedTuple):
    """A question about a count."""

    relation: str
    """``==`` or ``<=``."""
    value: int
    """What the count is compared with."""

    def differs(self, low: int, high: int) -> bool:
        """Are there two counts, from the one to the other, that it has different answers for?"""
        if self.relation == "==":
            return low <= self.value <= high and low < high
        return low <= self.value < high


class Access(NamedTuple):
    """One word in the footprint of a step."""

    kind: Kind
    word: Hashable
    before: int
    """What was read; of a word that was only written, what had been there."""
    after: int
    """What was left there."""
    tests: tuple[Question, ...] = ()
    """Of a count: what was asked of the value before."""
    refused: tuple[str, ...] = ()
    """Conditions on the whole word, by their names: of a question, those it was asked and that did
    not hold; of a change, those that held neither before it nor after, whatever else is changed."""
    fields: "tuple[Access, ...] | None" = None
    """Of a word of fields: what was touched of it, which is all that matters to others."""


class Recorder:
    """Collects the accesses of one step after the other."""

    def __init__(self) -> None:
        self._accesses: dict[Hashable, Access] = {}
        self.muted = False
        """Nothing is noted: what the steps touch is known already."""
        self.changing: set[tuple[str, str]] = set()
        """Attributes of shared objects that are noted, as (class, name): those that somebody has
        changed so far. When one is added, the footprints up to then lack it."""
        self.watches: list[Callable[[str, str], None]] = []
        """Who sees to it that such an attribute is noted."""
        self.of_fields: list[Callable[[dict[Hashable, Access]], None]] = []
        """Who knows what was touched of words of fields; completes the accesses of the step that
        ends."""
        self.of_words: dict[Hashable, Access] = {}
        """Where they keep completed accesses, for the next step that does the same."""
        self._reads: dict[Hashable, Access] = {}
        """The last one of each word: most are like the one before."""
        self._made: dict[tuple[Kind, Hashable, int, int], Access] = {}
        """Every access of a word that is a number of its own, made once."""
        self._footprints: dict[tuple[int, ...], tuple[Access, ...]] = {}
        """Those so far, by the identities of their accesses, which they keep: steps do few
        different things, and many times. A footprint that comes again is the same object."""
        self.regimes: dict[Hashable, Callable[[int], Hashable]] = {}
        """For kinds of words that are counted up and down, by the first part of their names: what
        whoever counts could notice of a value. Additions commute as long as it is one."""

    def take(self) -> tuple[Access, ...]:
        """The footprint of the step that has just ended; the next one begins."""
        accesses = self._accesses
        if self.muted or not accesses:
            return ()
        for ended in self.of_fields:
            ended(accesses)
        key = tuple(map(id, accesses.values()))
        footprint = self._footprints.get(key)
        if footprint is None:
            footprint = self._footprints[key] = tuple(accesses.values())
        accesses.clear()
        return footprint

    def _access(self, kind: Kind, word: Hashable, before: int, after: int) -> Access:
        key = kind, word, before, after
        access = self._made.get(key)
        if access is None:
            access = self._made[key] = Access(kind, word, before, after)
        return access

    def read(self, word: Hashable, value: int) -> None:
        """A word was read. Reading back what the same step has written tells nothing new."""
        if word not in self._accesses and not self.muted:
            access = self._reads.get(word)
            if access is None or access.after != value:
                access = self._reads[word] = self._access(Kind.READ, word, value, value)
            self._accesses[word] = access

    def write(self, word: Hashable, before: int, after: int) -> None:
        """A word was written; ``before``: what it held."""
        if self.muted:
            return
        earlier = self._accesses.get(word)
        counts = earlier is not None and earlier.kind is not Kind.WRITE
        first = before if earlier is None else earlier.before
        adds = counts and abs(after - first) < _SMALL and self.regime(word) is not None
        kind = Kind.ADD if adds else Kind.WRITE
        self._accesses[word] = self._access(kind, word, first, after)

    def regime(self, word: Hashable) -> Callable[[int], Hashable] | None:
        """What whoever counts could notice of a word; None for one that nobody counts."""
        return self.regimes.get(word[0]) if isinstance(word, tuple) else None

    def note_also(self, changing: Iterable[tuple[str, str]]) -> None:
        """Note these attributes, too."""
        for owner, name in set(changing) - self.changing:
            self.changing.add((owner, name))
            for watch in self.watches:
                watch(owner, name)

    def touch(self, word: Hashable) -> None:
        """A word was changed that is no number."""
        if not self.muted:
            self._accesses[word] = self._access(Kind.WRITE, word, 0, 0)

    def count(self, word: Hashable) -> None:
        """Something was added to a word that only ever counts; the step uses no value of it."""
        if self.muted:
            return
        earlier = self._accesses.get(word)
        if earlier is None or earlier.kind is Kind.READ:
            self._accesses[word] = self._access(Kind.ADD, word, 0, 0)

    def scan(self, row: Hashable, first: int, last: int) -> None:
        """Places of a row of words were looked through, from the first to the last."""
        self._note_places(Kind.SCAN, row, first, last)

    def store(self, row: Hashable, place: int) -> None:
        """Something was stored at a place of a row of words; the word was noted for itself."""
        self._note_places(Kind.STORE, row, place, place)

    def _note_places(self, kind: Kind, row: Hashable, first: int, last: int) -> None:
        if self.muted:
            return
        earlier = self._accesses.get((kind, row))
        if earlier is not None:
            first, last = min(first, earlier.before), max(last, earlier.after)
        self._accesses[kind, row] = self._access(kind, row, first, last)


class RecordedWords:
    """A sequence of words that notes who touches which of them."""

    __slots__ = ("_name", "_recorder", "_words")

    def __init__(self, words: Any, name: Hashable, recorder: Recorder) -> None:
        self._words = words
        self._name = name
        self._recorder = recorder

    def __getitem__(self, index: int) -> int:
        value: int = self._words[index]
        self._recorder.read((self._name, index), value)
        return value

    def __setitem__(self, index: int, value: int) -> None:
        self._recorder.write((self._name, index), self._words[index], value)
        self._words[index] = value

    def __len__(self) -> int:
        return len(self._words)

    def __iter__(self) -> Iterator[int]:
        return (self[index] for index in range(len(self._words)))


class RecordedMap(MutableMapping[int, V]):
    """A mapping that notes who touches which of its values; a key that is absent has one, too.

    Who clears it changes those that are there, and meets everybody who puts one in or takes one
    out: that is noted on a word of its own. To list the keys is for onlookers and leaves no trace.
    """

    __slots__ = ("_name", "_number", "_recorder", "_values")

    def __init__(
        self,
        values: MutableMapping[int, V],
        name: Hashable,
        recorder: Recorder,
        number: Callable[[V | None], int],
    ) -> None:
        """``number`` tells a value, or None for an absent one, as a number."""
        self._values = values
        self._name = name
        self._recorder = recorder
        self._number = number

    def __getitem__(self, key: int) -> V:
        self._recorder.read((self._name, key), self._number(self._values.get(key)))
        return self._values[key]

    def __setitem__(self, key: int, value: V) -> None:
        self._changes(key, value)
        self._values[key] = value

    def __delitem__(self, key: int) -> None:
        self._changes(key, None)
        del self._values[key]

    def __iter__(self) -> Iterator[int]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def clear(self) -> None:
        """Take all values out."""
        self._recorder.touch((self._name, "all"))
        for key, value in self._values.items():
            self._recorder.write((self._name, key), self._number(value), self._number(None))
        self._values.clear()

    def _changes(self, key: int, value: V | None) -> None:
        before = self._number(self._values.get(key))
        self._recorder.count((self._name, "all"))
        self._recorder.write((self._name, key), before, self._number(value))
