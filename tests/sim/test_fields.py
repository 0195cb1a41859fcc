"""Words of fields: what is noted of a step covers every bit that decides what comes of it."""

import gc
from collections.abc import Callable
from typing import TypeAlias, cast

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sim.fields import Condition, Field, FieldWords
from sim.footprint import Access, Kind, Question, Recorder

COUNT, LOCK, PIN, KIND = 0xFF, 1 << 8, 1 << 9, 0x7 << 61
FIELDS = (
    Field("count", COUNT, counts=True),
    Field("lock", LOCK),
    Field("pin", PIN),
    Field("kind", KIND),
)
PINNED_AND_USED = Condition("pinned and used", PIN, COUNT, (0, COUNT))
REST = (1 << 64) - 1 & ~(COUNT | LOCK | PIN | KIND)
MASKS = {field.name: field.mask for field in FIELDS} | {"rest": REST}
ALL = (1 << 64) - 1
Words: TypeAlias = list[int]


def _recorded(words: Words, recorder: Recorder) -> Words:
    return cast("Words", FieldWords(words, "words", recorder, FIELDS, [PINNED_AND_USED]))


def footprint(word: int, step: Callable[[Words], object]) -> dict[str, Access]:
    """What a step touches of the first of two words, by field, and of the other one."""
    recorder = Recorder()
    step(_recorded([word, 0], recorder))
    return {
        f"{field.word[0].split()[0]}" if field.word[1] == 0 else f"other {field.word[0]}": field  # type: ignore[index]
        for access in recorder.take()
        for field in access.fields or ()
    }


def kinds(word: int, step: Callable[[Words], object]) -> dict[str, Kind]:
    """How the fields of the first word are touched."""
    return {name: access.kind for name, access in footprint(word, step).items()}


def _set(words: Words, value: int) -> None:
    words[0] = value


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (lambda words: _set(words, words[0] | PIN), {"pin": Kind.WRITE}),
        (lambda words: _set(words, words[0] & ~PIN), {"pin": Kind.WRITE}),
        (lambda words: _set(words, words[0] + 1), {"count": Kind.ADD}),
        (lambda words: _set(words, words[0] - 1), {"count": Kind.ADD}),
        (
            lambda words: _set(words, (words[0] | LOCK) + 1),
            {"count": Kind.ADD, "lock": Kind.WRITE},
        ),
        (lambda words: bool(words[0] & PIN), {"pin": Kind.READ}),
        (lambda words: words[0] & COUNT == 3, {"count": Kind.TEST}),
        (lambda words: words[0] & COUNT > 3, {"count": Kind.TEST}),
        (lambda words: words[0], {}),
        (lambda words: _set(words, words[0]), {}),
        (lambda words: _set(words, 7), dict.fromkeys(MASKS, Kind.WRITE)),
        (lambda words: f"{words[0]:x}", dict.fromkeys(MASKS, Kind.READ)),
        (lambda words: [*"abcde"][words[0] & 3], {"count": Kind.READ}),
        (lambda words: {words[0] & KIND: 1}, {"kind": Kind.READ}),
        (lambda words: words[0] ^ 1, dict.fromkeys(MASKS, Kind.READ)),
    ],
)
def test_what_a_step_does_to_fields(
    step: Callable[[Words], object], expected: dict[str, Kind]
) -> None:
    """Masks and small sums look at nothing; a number is made of what is used otherwise."""
    assert expected == kinds(2 | PIN | 1 << 61, step)


def test_questions_are_told_of_the_count_before_the_step() -> None:
    """Also those asked after something was added."""

    def step(words: Words) -> None:
        words[0] = words[0] + 1
        assert words[0] & COUNT != 1

    tests = footprint(4, step)["count"].tests

    assert Question("==", 0) in tests
    assert Question("<=", COUNT - 1) in tests


def test_word_that_is_stored_elsewhere_was_looked_at() -> None:
    """All of what is left of it."""

    def step(words: Words) -> None:
        words[1] = words[0] & (LOCK | PIN)

    assert {"lock": Kind.READ, "pin": Kind.READ} == {
        name: kind for name, kind in kinds(PIN, step).items() if not name.startswith("other")
    }


def test_word_that_is_kept_was_looked_at() -> None:
    """When its step ends; from then on it is a number, and nothing is noted."""
    recorder = Recorder()
    words = _recorded([5 | PIN], recorder)
    kept = words[0] & (COUNT | PIN)
    (access,) = recorder.take()
    assert 5 | PIN == kept
    assert kept & COUNT == 5

    assert {("count of words", 0), ("pin of words", 0)} == {
        field.word for field in access.fields or ()
    }
    assert () == recorder.take()


def test_count_at_its_bounds_is_no_field_of_its_own() -> None:
    """What is carried over changes other fields: all is looked at and written."""
    carries = kinds(COUNT, lambda words: _set(words, words[0] + 1))
    borrows = kinds(PIN, lambda words: _set(words, words[0] - 1))

    assert dict.fromkeys(MASKS, Kind.WRITE) == carries == borrows


def test_restored_bit_is_not_written() -> None:
    """A word that is put back as it was found."""

    def step(words: Words) -> None:
        before = words[0]
        words[0] = before | PIN
        words[0] = before

    assert {} == kinds(0, step)


def test_refusal_is_one_question() -> None:
    """Noted of all that could be the reason; where the condition holds, of what was looked at."""
    asks = PINNED_AND_USED.holds

    assert (
        {"count": Kind.TEST, "pin": Kind.TEST}
        == kinds(0, lambda words: asks(words[0]))
        == kinds(PIN, lambda words: asks(words[0]))
        == kinds(5, lambda words: asks(words[0]))
    )
    assert {"count": Kind.TEST, "pin": Kind.READ} == kinds(PIN | 5, lambda words: asks(words[0]))


def test_change_between_two_refusals_is_told_as_such() -> None:
    """Known by what the step itself has looked at, whatever others do to the word."""

    def takes(words: Words) -> None:
        assert words[0] & COUNT == 0
        words[0] = words[0] + 1 & ~PIN

    def pins(words: Words) -> None:
        words[0] = words[0] | PIN

    assert ("pinned and used",) == footprint(PIN, takes)["pin"].refused
    assert ("pinned and used",) == footprint(PIN, takes)["count"].refused
    assert () == footprint(0, pins)["pin"].refused


def test_change_that_was_not_looked_at_before_may_have_made_the_difference() -> None:
    """What is there by chance says nothing of other orders."""

    def clears(words: Words) -> None:
        words[0] = words[0] & ~PIN

    def clears_what_it_sees(words: Words) -> None:
        if not words[0] & PIN:
            words[0] = words[0] & ~PIN

    assert () == footprint(3, clears)["pin"].refused
    assert () == footprint(PIN, clears)["pin"].refused
    assert ("pinned and used",) == footprint(3, clears_what_it_sees)["pin"].refused


def test_two_questions_of_one_count_are_told_apart() -> None:
    """Which additions could change an answer."""
    assert Question("==", 3).differs(2, 3)
    assert not Question("==", 3).differs(4, 9)
    assert not Question("==", 3).differs(3, 3)
    assert Question("<=", 3).differs(3, 4)
    assert not Question("<=", 3).differs(4, 9)
    assert not Question("<=", 3).differs(0, 3)


# -- random steps -------------------------------------------------------------------------------

_MASK = st.sampled_from([COUNT, LOCK, PIN, KIND, ~COUNT, ~LOCK, ~PIN, COUNT | LOCK, 3, 1 << 40, 0])
_BITS = st.sampled_from([LOCK, PIN, 1 << 61, 5 << 61, 1 << 40, 2, LOCK | 1, 0])
_NUMBER = st.sampled_from([0, 1, 2, 3, 254, 255, LOCK, LOCK | 2, 1 << 61, 1 << 40])
_OPERATIONS = st.one_of(
    st.tuples(st.just("and"), _MASK),
    st.tuples(st.just("or"), _BITS),
    st.tuples(st.just("add"), st.sampled_from([-2, -1, 1, 2, 1 << 30])),
    st.tuples(st.just("xor"), _BITS),
    st.tuples(st.sampled_from(["eq", "le", "gt", "ne", "lt", "ge"]), _NUMBER),
    st.tuples(st.just("bool"), st.just(0)),
    st.tuples(st.just("holds"), st.just(0)),
    st.tuples(st.just("store"), st.just(0)),
    st.tuples(st.just("fresh"), st.just(0)),
    st.tuples(st.just("number"), st.just(0)),
    st.tuples(st.just("other"), st.just(0)),
    st.tuples(st.just("mask with itself"), st.just(0)),
)
_HEARD: dict[str, Callable[[int, int], object]] = {
    "eq": lambda value, number: value == number,
    "ne": lambda value, number: value != number,
    "le": lambda value, number: value <= number,
    "lt": lambda value, number: value < number,
    "gt": lambda value, number: value > number,
    "ge": lambda value, number: value >= number,
    "holds": lambda value, _: PINNED_AND_USED.holds(value),
    "bool": lambda value, _: bool(value),
    "number": lambda value, _: f"{value:x}",
}


def run(words: Words, operations: list[tuple[str, int]]) -> list[object]:
    """A step: it goes on only as it hears; what it heard, and the other word in the end."""
    heard: list[object] = []
    value = words[0]
    for name, number in operations:
        match name:
            case "and":
                value = value & number
            case "or":
                value = value | number
            case "add":
                value = value + number if value & COUNT else value - number
            case "xor":
                value = value ^ number
            case "store":
                words[0] = value & ALL
            case "fresh":
                value = words[0]
            case "other":
                words[1] = value & ALL
            case "mask with itself":
                value = value & (value | 3)
            case _:
                heard.append(_HEARD[name](value, number))
    return heard


_START = st.builds(
    lambda count, others: count | others,
    st.sampled_from([0, 1, 2, 3, 4, 100, 253, 254, 255]),
    st.integers(0, 255).map(
        lambda bits: (
            (bits & 1) * LOCK
            | (bits >> 1 & 1) * PIN
            | (bits >> 2 & 3) << 61
            | (bits >> 4 & 1) << 40
        )
    ),
)


def _run_recorded(
    word: int, operations: list[tuple[str, int]]
) -> tuple[list[object], list[int], tuple[Access, ...]]:
    recorder = Recorder()
    memory = [word, 0]
    heard = run(_recorded(memory, recorder), operations)
    gc.collect(0)
    return heard, memory, recorder.take()


@given(word=_START, operations=st.lists(_OPERATIONS, max_size=8))
def test_recorded_words_are_numbers(word: int, operations: list[tuple[str, int]]) -> None:
    """Whatever is done with them comes to the same."""
    plain = [word, 0]
    heard = run(plain, operations)

    assert (heard, plain) == _run_recorded(word, operations)[:2]


@given(
    word=_START,
    other=_START,
    operations=st.lists(_OPERATIONS, max_size=8),
)
def test_what_was_not_looked_at_decides_nothing(
    word: int, other: int, operations: list[tuple[str, int]]
) -> None:
    """With other bits in the fields that were not, and a count with the same answers.

    The step hears the same, touches the same in the same way, and writes the same; fields that it
    does not write keep what they had, and to the count the same is added.
    """
    heard, memory, accesses = _run_recorded(word, operations)
    fields = {
        field.word[0].split()[0]: field  # type: ignore[index]
        for access in accesses
        if access.word == ("words", 0)
        for field in access.fields or ()
    }
    changed = word
    for name, mask in MASKS.items():
        field = fields.get(name)
        unread = field is None or (field.kind in (Kind.ADD, Kind.TEST))
        if unread:
            tests = () if field is None else field.tests
            old, new = sorted((word & mask, other & mask))
            if not any(test.differs(old, new) for test in tests):
                changed = changed & ~mask | other & mask
    if any(field.refused for field in fields.values() if field.kind is Kind.TEST):
        assume(not PINNED_AND_USED.holds(changed))
    again, after, noted = _run_recorded(changed, operations)

    if any(field.refused for field in fields.values() if field.kind is not Kind.TEST):
        assert not PINNED_AND_USED.holds(changed)
        assert not PINNED_AND_USED.holds(after[0])
    assert heard == again
    assert memory[1] == after[1]
    for name, mask in MASKS.items():
        field = fields.get(name)
        if field is not None and field.kind is Kind.WRITE:
            assert memory[0] & mask == after[0] & mask
        else:
            assert (memory[0] & mask) - (word & mask) == (after[0] & mask) - (changed & mask)
    outline = {(field.kind, field.word, field.tests) for field in fields.values()}
    assert outline == {
        (field.kind, field.word, field.tests)
        for access in noted
        if access.word == ("words", 0)
        for field in access.fields or ()
    }


def _takes_one(words: Words) -> None:
    if words[0] & COUNT < 9:
        words[0] += 1


def _drops_one(words: Words) -> None:
    if words[0] & COUNT > 1:
        words[0] -= 1


_STEPS: tuple[Callable[[Words], object], ...] = (
    lambda words: words[0],
    lambda words: words[0] & COUNT == 3,
    lambda words: words[0] & COUNT == 4,
    lambda words: bool(words[0] & PIN),
    lambda words: PINNED_AND_USED.holds(words[0]),
    lambda words: _set(words, words[0] | PIN),
    lambda words: _set(words, words[0] & ~PIN),
    lambda words: _set(words, 3),
    _takes_one,
    _drops_one,
)


@given(steps=st.lists(st.sampled_from(_STEPS), max_size=12), start=st.sampled_from([0, 3, PIN | 4]))
def test_steps_before_leave_no_trace_in_a_footprint(
    steps: list[Callable[[Words], object]], start: int
) -> None:
    """It is the one that somebody notes who has seen no step before."""
    held, recorder = [start, 0], Recorder()
    words = _recorded(held, recorder)
    for step in steps:
        anew, fresh = Recorder(), list(held)
        step(_recorded(fresh, anew))
        step(words)

        assert anew.take() == recorder.take()
        assert fresh == held
