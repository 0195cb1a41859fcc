"""Tapes: what they look like, how they are read, and what happens when a run leaves them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.tape import Chosen, Diverged, Drawn, Entry, Picked, Tape, TapeError, TapeReader, parse_tape


def entries() -> st.SearchStrategy[Entry]:
    """Any answer."""
    names = st.from_regex(r"[a-z_]+", fullmatch=True)
    vcpus = st.lists(st.integers(0, 20), min_size=1, unique=True)
    picked = vcpus.flatmap(
        lambda ready: st.builds(Picked, st.sampled_from(ready), st.just(tuple(ready)))
    )
    chosen = st.integers(1, 9).flatmap(
        lambda n: st.builds(Chosen, names, st.integers(0, n - 1), st.just(n))
    )
    drawn = st.builds(Drawn, names, st.floats(allow_nan=False, allow_infinity=False))
    return picked | chosen | drawn


@given(st.lists(entries()))
def test_tape_is_read_as_it_was_written(answers: list[Entry]) -> None:
    """Whatever the answers are, and however often one is repeated."""
    tape = Tape(tuple(answers))

    assert tape == parse_tape(str(tape))


def test_repeated_answers_are_one_word() -> None:
    """A vCPU that makes 80 steps in a row takes eight characters."""
    tape = Tape((Picked(0, (0, 1)),) * 80 + (Chosen("stale", 1, 2), Drawn("pause", 12.0)))

    assert "0/0,1*80 stale=1/2 pause~0x1.8000000000000p+3" == str(tape)


@pytest.mark.parametrize(
    "text", ["2/0,1", "stale=2/2", "0/0*0", "0/0*x", "what", "pause~twelve", "/0", "0/"]
)
def test_word_that_is_no_answer_is_named(text: str) -> None:
    """Which it is, and what an answer looks like."""
    with pytest.raises(TapeError, match="word 1"):
        parse_tape(f"0/0 {text}")


def test_run_that_asks_something_else_is_told_where() -> None:
    """Other vCPUs are ready, another question is asked, another stream, or nothing is left."""
    reader = TapeReader(parse_tape("0/0,1 stale=1/2 pause~0x1p+0"))

    with pytest.raises(Diverged, match="entry 0 of the tape is 0/0,1"):
        reader.pick([0, 1, 2])
    assert 0 == reader.pick([0, 1])
    with pytest.raises(Diverged, match="'stale' with 3 alternatives"):
        reader.choose("stale", 3)
    assert 1 == reader.choose("stale", 2)
    with pytest.raises(Diverged, match="draws from the stream 'gap'"):
        reader.draw("gap")
    with pytest.raises(Diverged, match="the run has ended"):
        reader.end()
    assert 1.0 == reader.draw("pause")
    assert reader.at_end
    with pytest.raises(Diverged, match="its end"):
        reader.pick([0])
    reader.end()


def test_names_of_questions_become_words() -> None:
    """A tape is cut at its spaces."""
    reader = TapeReader(parse_tape("a_stale_entry=0/2"))

    assert 0 == reader.choose("a stale entry", 2)
