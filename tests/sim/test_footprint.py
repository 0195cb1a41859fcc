"""What the recording accessors note of a word that is touched."""

from sim.footprint import Access, Kind, RecordedMap, RecordedWords, Recorder


def _counting(name: str) -> Recorder:
    """A recorder for words that are counted up and down."""
    recorder = Recorder()
    recorder.regimes[name] = lambda value: value == 0
    return recorder


def _map(values: dict[int, int]) -> tuple[RecordedMap[int], Recorder]:
    recorder = _counting("map")
    return RecordedMap(values, "map", recorder, lambda value: value or 0), recorder


def test_words_are_read_written_and_added_to() -> None:
    """Up or down from what the step has read is an addition; anything else a write."""
    recorder = _counting("words")
    words = RecordedWords([5, 6, 7], "words", recorder)
    words[0] += 1
    words[1] = 6
    assert 7 == words[2]

    assert (
        Access(Kind.ADD, ("words", 0), 5, 6),
        Access(Kind.WRITE, ("words", 1), 6, 6),
        Access(Kind.READ, ("words", 2), 7, 7),
    ) == recorder.take()


def test_change_of_flags_is_no_addition() -> None:
    """It does not commute with another."""
    recorder = _counting("words")
    words = RecordedWords([1 << 60], "words", recorder)
    words[0] |= 1 << 40

    assert (Kind.WRITE,) == tuple(access.kind for access in recorder.take())


def test_words_that_nobody_counts_are_written() -> None:
    """What was read and then changed may be used: a ticket that is drawn, for instance."""
    recorder = Recorder()
    tickets = RecordedWords([5], "tickets", recorder)
    tickets[0] += 1

    assert (Access(Kind.WRITE, ("tickets", 0), 5, 6),) == recorder.take()


def test_step_takes_its_footprint_with_it() -> None:
    """The next one begins with nothing."""
    recorder = Recorder()
    assert 5 == RecordedWords([5], "words", recorder)[0]
    recorder.take()

    assert () == recorder.take()


def test_absent_key_is_read() -> None:
    """Who finds nothing there depends on who puts something there."""
    values, recorder = _map({})

    assert values.get(3) is None
    assert Access(Kind.READ, ("map", 3), 0, 0) in recorder.take()


def test_keys_are_counted_set_and_taken_out() -> None:
    """Each change with what was there before."""
    stored = {1: 4, 2: 9}
    values, recorder = _map(stored)
    values[1] = values.get(1, 0) + 1
    values[3] = 1
    assert 9 == values.pop(2)
    footprint = recorder.take()

    assert {1: 5, 3: 1} == stored
    assert {(1, 4, 5), (3, 0, 1), (2, 9, 0)} == {
        (access.word[1], access.before, access.after)
        for access in footprint
        if access.kind is not Kind.READ and access.word != ("map", "all")
        if isinstance(access.word, tuple)
    }


def test_clearing_meets_every_change() -> None:
    """Even one of a key that was not there yet."""
    values, recorder = _map({1: 4})
    values.clear()
    cleared = {access.word for access in recorder.take() if access.kind is Kind.WRITE}
    values[7] = 1
    touched = {access.word for access in recorder.take()}

    assert cleared & touched
    assert {7: 1} == dict(values)


def test_clearing_meets_who_looks_for_what_was_there() -> None:
    """Who finds nothing finds nothing before it, too."""
    values, recorder = _map({1: 4})
    assert (4, None) == (values.get(1), values.get(2))
    found, nothing = (access.word for access in recorder.take())
    values.clear()
    cleared = {access.word for access in recorder.take()}

    assert found in cleared
    assert nothing not in cleared


def test_listing_the_keys_leaves_no_trace() -> None:
    """Onlookers do that."""
    values, recorder = _map({1: 4, 2: 5})

    assert (2, [1, 2]) == (len(values), list(values))
    assert () == recorder.take()


def test_scans_and_stores_are_noted_by_place() -> None:
    """Of each all that lies between the first and the last of a step."""
    recorder = Recorder()
    recorder.scan("row", 3, 5)
    recorder.scan("row", 9, 9)
    recorder.store("row", 7)

    assert (
        Access(Kind.SCAN, "row", 3, 9),
        Access(Kind.STORE, "row", 7, 7),
    ) == recorder.take()


def test_footprint_that_comes_again_is_the_same_object() -> None:
    """Whoever compares footprints need not look into them; another value makes another one."""
    recorder = _counting("words")
    words = RecordedWords([5, 6], "words", recorder)

    def step(value: int) -> tuple[Access, ...]:
        words[0] += 1
        words[0] -= 1
        words[1] = value
        return recorder.take()

    first, other, again = step(6), step(7), [step(6), step(6)][1]

    assert first is again
    assert (6, 7) == (first[1].after, other[1].after)
