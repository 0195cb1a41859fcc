"""Chance: decided by the seed and the names, and by nothing else."""

from collections import Counter

from sim.distributions import Exponential, Uniform
from sim.oracle import ScriptedOracle, SeededOracle
from sim.streams import Streams

GAP = Exponential(100.0)
OPTIONS = ("stale", "gone", "refilled")


def test_choices_repeat_under_the_same_seed() -> None:
    """A run can be repeated."""
    first, second = SeededOracle(Streams(7)), SeededOracle(Streams(7))

    assert [first.choose("entry", OPTIONS) for _ in range(50)] == [
        second.choose("entry", OPTIONS) for _ in range(50)
    ]


def test_choices_differ_under_another_seed() -> None:
    """Fifty choices of three agree by chance with a probability of 3**-50."""
    first, second = SeededOracle(Streams(7)), SeededOracle(Streams(8))

    assert [first.choose("entry", OPTIONS) for _ in range(50)] != [
        second.choose("entry", OPTIONS) for _ in range(50)
    ]


def test_every_option_is_as_likely() -> None:
    """Each third of 6000 choices, within four deviations (36.5 each)."""
    oracle = SeededOracle(Streams(7))

    counts = Counter(oracle.choose("entry", OPTIONS) for _ in range(6000))

    assert all(abs(counts[option] - 2000) < 4 * 36.5 for option in OPTIONS)


def test_draws_repeat_under_the_same_seed() -> None:
    """A run can be repeated."""
    first, second = SeededOracle(Streams(7)), SeededOracle(Streams(7))

    assert [first.draw("gap", GAP) for _ in range(50)] == [
        second.draw("gap", GAP) for _ in range(50)
    ]


def test_other_streams_do_not_disturb_a_draw() -> None:
    """What else is drawn or chosen in between changes nothing."""
    quiet, busy = SeededOracle(Streams(7)), SeededOracle(Streams(7))
    expected = [quiet.draw("gap", GAP) for _ in range(50)]

    drawn = []
    for _ in range(50):
        busy.draw("other", GAP)
        busy.choose("gap", OPTIONS)
        drawn.append(busy.draw("gap", GAP))

    assert expected == drawn


def test_two_distributions_of_one_stream_are_drawn_in_turn() -> None:
    """A rate that changes during a run does not take the stream back to its beginning.

    If it did, the draws of both would be the same but for their scale.
    """
    oracle = SeededOracle(Streams(7))

    slow = [oracle.draw("gap", Uniform(0, 1)) for _ in range(20)]
    fast = [oracle.draw("gap", Uniform(0, 2)) for _ in range(20)]

    assert [2 * value for value in slow] != fast


def test_seeded_oracle_preempts_nobody() -> None:
    """A vCPU that nobody else wants to run instead of is not taken away."""
    oracle = SeededOracle(Streams(7))

    assert not any(oracle.preempt() for _ in range(100))


def test_script_is_followed_and_then_says_no() -> None:
    """A vector writes down the checks that are answered with yes."""
    oracle = ScriptedOracle([False, True])

    assert [False, True, False, False] == [oracle.preempt() for _ in range(4)]


def test_scripted_oracle_leaves_nothing_to_chance() -> None:
    """The first option and the mean."""
    oracle = ScriptedOracle()

    assert ["stale", "stale"] == [oracle.choose("entry", OPTIONS) for _ in range(2)]
    assert [100.0, 100.0] == [oracle.draw("gap", GAP) for _ in range(2)]
