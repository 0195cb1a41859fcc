"""Words that consist of fields: what of them a step looks at and changes, field by field.

A word that is read while somebody records is no number but a :class:`Word`, which follows what
becomes of it. To mask bits out or to set some looks at nothing; to compare what is left looks at
these bits, and of the field that counts only at whether the comparison holds. Stored back, it
changes the bits that were set or cleared, and adds to the count what was added. All else that is
done with a word takes it for a number and looks at all of it: used as an index or a key, told,
stored elsewhere, or kept beyond the end of the step.
"""

import operator
import weakref
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, NamedTuple

from sim.footprint import Access, Kind, Question, RecordedWords, Recorder

_ALL = (1 << 64) - 1
_SMALL = 1 << 20


class Field(NamedTuple):
    """Bits of a word that mean something together."""

    name: str
    mask: int
    counts: bool = False
    """Its value is counted up and down; it begins with the lowest bit. One field at most does."""


class Condition(NamedTuple):
    """What a word has to be like, as one question: an answer may be the same for many words."""

    name: str
    bits: int
    """All of these are set."""
    counted: int
    """The bits of the field that counts ..."""
    not_counts: tuple[int, ...]
    """... which has none of these values."""

    def holds(self, word: "int | Word") -> bool:
        """Does it hold? A refusal is noted as such, and not with its reason."""
        if word.__class__ is not int and isinstance(word, Word) and word.refuses(self):
            return False
        return word & self.bits == self.bits and word & self.counted not in self.not_counts


class _Touched:
    """What a step has done to a word so far."""

    __slots__ = ("added", "first", "looked", "over", "refused", "tests", "written")

    def __init__(self, first: int) -> None:
        self.first = first
        self.looked = 0
        self.written = 0
        self.added = 0
        self.over = False
        self.tests: set[Question] = set()
        self.refused: set[Condition] = set()

    def key(self) -> Hashable:
        """The same for steps that have done the same."""
        tests = frozenset(self.tests) if self.tests else None
        refused = frozenset(self.refused) if self.refused else None
        return self.first, self.looked, self.written, self.added, tests, refused

    def never_holds(self, condition: Condition, now: int) -> bool:
        """Does it hold neither before nor after the step, whatever else becomes of the word?

        Told by what the step looked at and wrote. ``now``: the word that it leaves.
        """
        count, first = condition.counted, self.first
        missing = condition.bits & ~first & self.looked
        asked = Question("==", first & count) in self.tests
        known = asked or self.looked & count == count
        if not (missing or (known and first & count in condition.not_counts)):
            return False
        if condition.bits & ~now & self.written or missing & ~self.written:
            return True
        known = known or self.written & count == count
        return known and now & count in condition.not_counts


class FieldWords(RecordedWords):
    """A sequence of words of fields that notes who touches which of them."""

    __slots__ = ("_conditions", "_counted", "_fields", "_read", "_touched")

    def __init__(
        self,
        words: Any,
        name: str,
        recorder: Recorder,
        fields: Sequence[Field],
        conditions: Sequence[Condition] = (),
    ) -> None:
        """``fields`` cover what is used of a word; what they leave is a field of its own.

        ``conditions``: those that a step may ask for as one question.
        """
        super().__init__(words, name, recorder)
        rest = _ALL
        for field in fields:
            rest &= ~field.mask
        self._fields = [field for field in (*fields, Field("rest", rest)) if field.mask]
        self._counted = sum(field.mask for field in fields if field.counts)
        self._conditions = tuple(conditions)
        self._touched: dict[int, _Touched] = {}
        self._read: list[weakref.ref[Word]] = []
        recorder.of_fields.append(self._end_step)

    def __getitem__(self, index: int) -> Any:
        """The word; typed as a number, for whoever reads it takes it for one."""
        value: int = self._words[index]
        if self._recorder.muted:
            return value
        self._recorder.read((self._name, index), value)
        touched = self._touched.get(index)
        if touched is None:
            touched = self._touched[index] = _Touched(value)
        return Word(self, touched, value, _ALL & ~touched.written, touched.added)

    def __setitem__(self, index: int, value: "int | Word") -> None:
        if self._recorder.muted:
            self._words[index] = value
            return
        before: int = self._words[index]
        touched = self._touched.get(index)
        if touched is None:
            touched = self._touched[index] = _Touched(before)
        if isinstance(value, Word) and value.touched is touched:
            touched.written, touched.added = _ALL & ~value.kept, value.added
            after = value.value
        else:
            after = operator.index(value)
            touched.written, touched.added = _ALL, 0
        self._recorder.write((self._name, index), before, after)
        self._words[index] = after

    @property
    def counted(self) -> int:
        """The bits of the field that counts; 0 if none does."""
        return self._counted

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Those that a step may ask for as one question."""
        return self._conditions

    def made(self, word: "Word") -> None:
        """A word is somewhere; if it still is when the step ends, all of it was looked at."""
        self._read.append(weakref.ref(word))

    def _end_step(self, accesses: dict[Hashable, Access]) -> None:
        """Tell what of each word the step that ends has touched; words that stay were looked at."""
        if not self._touched:
            return
        for reference in self._read:
            word = reference()
            if word is not None:
                word.look()
        self._read.clear()
        known = self._recorder.of_words
        for index, touched in self._touched.items():
            touched.over = True
            name = self._name, index
            access = accesses[name]
            now: int = self._words[index]
            key = name, access.kind, now, touched.key()
            complete = known.get(key)
            if complete is None:
                fields = tuple(self._accesses(index, touched, now))
                complete = known[key] = access._replace(fields=fields)
            accesses[name] = complete
        self._touched = {}

    def _accesses(self, index: int, touched: _Touched, now: int) -> Iterator[Access]:
        asked = sum({condition.bits | condition.counted for condition in touched.refused})
        refused = tuple(sorted(condition.name for condition in touched.refused))
        never = tuple(
            condition.name
            for condition in self._conditions
            if (touched.written or touched.added) and touched.never_holds(condition, now)
        )
        for name, mask, counts in self._fields:
            word = f"{name} of {self._name}", index
            looked, before, after = touched.looked & mask, touched.first & mask, now & mask
            tests = _sorted(touched.tests) if counts else ()
            if touched.written & mask or (counts and touched.added and looked):
                yield Access(Kind.WRITE, word, before, after, refused=never)
            elif counts and touched.added:
                yield Access(Kind.ADD, word, before, after, tests, never)
            elif looked:
                yield Access(Kind.READ, word, before, before)
            elif tests or asked & mask:
                told = refused if asked & mask else ()
                yield Access(Kind.TEST, word, before, before, tests, told)


def _sorted(tests: set[Question]) -> tuple[Question, ...]:
    return tuple(sorted(tests))


def _as_number(operation: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *numbers: operation(*map(operator.index, numbers))


def _reflected(operation: Callable[..., Any]) -> Callable[..., Any]:
    return lambda right, left: operation(operator.index(left), operator.index(right))


def _otherwise_a_number(word: "type[Word]") -> "type[Word]":
    """The class, with all operators that it has not defined itself: they make a number of it."""
    for name in ("sub", "xor", "lshift", "rshift", "mul", "floordiv", "mod", "truediv", "pow"):
        operation = getattr(operator, name)
        if name != "sub":
            setattr(word, f"__{name}__", _as_number(operation))
        setattr(word, f"__r{name}__", _reflected(operation))
    for name in ("invert", "neg", "pos", "abs"):
        setattr(word, f"__{name}__", _as_number(getattr(operator, name)))
    return word


@_otherwise_a_number
class Word:
    """A word that was read, or what masks and small sums have made of it.

    The bits in ``kept`` are those of the word at the beginning of the step, and ``added`` was added
    to its count; the others are known whatever the word was. After its step it is a number.
    """

    __slots__ = ("__weakref__", "_row", "added", "kept", "touched", "value")

    def __init__(
        self, row: FieldWords, touched: _Touched, value: int, kept: int, added: int
    ) -> None:
        self._row = row
        self.touched = touched
        self.value = value
        self.kept = kept
        self.added = added
        row.made(self)

    def look(self) -> None:
        """Somebody looks at all of it; once its step is over, that was noted."""
        if not self.touched.over:
            self.touched.looked |= self.kept

    def refuses(self, condition: Condition) -> bool:
        """Does it not hold of the word as it was? Then the question is noted, and no reason."""
        touched, all_of_it = self.touched, condition.bits | condition.counted
        asks = not touched.over and not self.added and self.kept & all_of_it == all_of_it
        if not asks or condition not in self._row.conditions or condition.holds(self.value):
            return False
        touched.refused.add(condition)
        return True

    def number(self) -> int:
        """The number, which depends on all of the word."""
        self.look()
        return self.value

    # -- what is followed ----------------------------------------------------------------------

    def __and__(self, other: "int | Word") -> "int | Word":
        mask = operator.index(other)
        counted = self._row.counted & self.kept
        if self.touched.over or (self.added and counted & mask not in (0, counted)):
            return self.number() & mask
        added = self.added if counted & mask else 0
        return Word(self._row, self.touched, self.value & mask, self.kept & mask, added)

    def __or__(self, other: "int | Word") -> "int | Word":
        bits = operator.index(other)
        counted = self._row.counted & self.kept
        if self.touched.over or bits < 0 or (self.added and counted & bits not in (0, counted)):
            return self.number() | bits
        added = self.added if counted & ~bits else 0
        return Word(self._row, self.touched, self.value | bits, self.kept & ~bits, added)

    def __add__(self, other: "int | Word") -> "int | Word":
        change = operator.index(other)
        field = self._row.counted
        count = self.value & field
        followed = not self.touched.over and self.kept & field in (0, field)
        if not followed or abs(change) >= _SMALL or not 0 <= count + change <= field:
            return self.number() + change
        if not self.kept & field:
            return Word(self._row, self.touched, self.value + change, self.kept, 0)
        if change < 0:
            self._test("<=", -change - 1)
        else:
            self._test("<=", field - change)
        return Word(self._row, self.touched, self.value + change, self.kept, self.added + change)

    def __sub__(self, other: "int | Word") -> "int | Word":
        return self + -operator.index(other)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, int | Word):
            return NotImplemented
        number = operator.index(other)
        field = self._row.counted
        if not self.touched.over:
            self.touched.looked |= self.kept & ~field
            if self.kept & field and (self.value ^ number) & ~field == 0:
                if self.kept & field != field:
                    return self.number() == number
                self._test("==", number & field)
        return self.value == number

    def __bool__(self) -> bool:
        return self != 0

    def __le__(self, other: "int | Word") -> bool:
        number = operator.index(other)
        field = self._row.counted
        if self.touched.over or self.kept != field:
            return self.number() <= number
        self._test("<=", number - (self.value & ~field))
        return self.value <= number

    def __lt__(self, other: "int | Word") -> bool:
        return self <= operator.index(other) - 1

    def __gt__(self, other: "int | Word") -> bool:
        return not self <= other

    def __ge__(self, other: "int | Word") -> bool:
        return not self < other

    __rand__, __ror__, __radd__ = __and__, __or__, __add__

    def _test(self, relation: str, count: int) -> None:
        """Note a comparison of the count, as one of the count at the beginning of the step."""
        if not self.touched.over:
            self.touched.tests.add(Question(relation, count - self.added))

    # -- what makes a number of it -----------------------------------------------------------------

    def __index__(self) -> int:
        return self.number()

    __int__ = __index__

    def __hash__(self) -> int:
        return hash(self.number())

    def __format__(self, form: str) -> str:
        return format(self.number(), form)

    def __str__(self) -> str:
        return str(self.number())

    __repr__ = __str__

    def __reduce__(self) -> tuple[type[int], tuple[int]]:
        return int, (self.number(),)
