"""The portfolio: any part of it is the same by itself, and nothing in it is made up."""

from itertools import islice

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sim.effects import Activity
from sim.explore.attempts import attempt, taped
from sim.explore.program import Program
from sim.explore.searches import depth_first
from sim.explore.searches.lengths import Lengths
from sim.explore.searches.portfolio import PILOTS, STRATEGIES, Portfolio
from sim.tape import TapeReader, parse_tape
from tests.sim.hidden_bugs import after_everything, free, pin_race
from tests.sim.programs import Op, World, activity, programs


def build(program: list[list[Op]]) -> Program:
    """A random program as something to be explored."""

    def begin() -> list[Activity]:
        world = World()
        return [activity(vcpu, world) for vcpu in program]

    return Program(begin, at_most=400)


def tapes(program: Program, seed: int, first: int, last: int) -> list[tuple[str, int, str]]:
    """Some schedules: strategy, number and every answer."""
    some = islice(Portfolio(program, seed).attempts(first), last - first)
    return [(one.search, one.number, str(one.tape)) for one in some]


def test_any_part_of_it_is_the_same_by_itself() -> None:
    """So that it can be split and gone on with, also among the first schedules."""
    whole = tapes(pin_race(3), 7, 0, 60)

    for first, last in ((0, 10), (5, 25), (16, 30), (41, 60)):
        assert whole[first:last] == tapes(pin_race(3), 7, first, last)


def test_seeds_differ() -> None:
    """In nearly all schedules."""
    one, other = (tapes(pin_race(8), seed, 0, 100) for seed in (1, 2))

    assert sum(a == b for a, b in zip(one, other, strict=True)) < 30


def test_strategies_take_turns_after_the_pilots() -> None:
    """Those are in random order."""
    searches = [search for search, _, _ in tapes(free(2, 2), 0, 0, 66)]

    assert {"random"} == set(searches[:PILOTS])
    assert dict.fromkeys(STRATEGIES, 10) == {
        name: searches[PILOTS:].count(name) for name in STRATEGIES
    }


def test_pilots_tell_how_long_executions_are() -> None:
    """Of each vCPU and of all together, whoever begins where."""
    portfolio = Portfolio(free(4, 2, 0), 0)

    next(portfolio.attempts(100))

    assert Lengths((4, 2, 0), 6) == portfolio.lengths


def test_executions_that_ended_early_do_not_shorten_what_is_known() -> None:
    """The most that was seen counts."""
    lengths = Lengths()
    for executions in (free(1, 5), free(3, 1)):
        lengths = lengths.after(next(depth_first.explore(executions)))

    assert Lengths((3, 5), 6) == lengths


def test_or_go_on_behind_it() -> None:
    """A bug that no walk meets is met by priorities every other time, again and again."""
    some = list(islice(Portfolio(after_everything(20), 0).attempts(PILOTS), 200))
    found = [one.search for one in some if one.finding is not None]

    assert 0 == found.count("walk")
    assert 10 < found.count("pct-1") < 30


@settings(max_examples=60, deadline=None)
@given(programs, st.integers(0, 3))
def test_tape_of_a_schedule_makes_it_again(program: list[list[Op]], seed: int) -> None:
    """Of any strategy, also when it was written down and read."""
    explored = build(program)
    for one in islice(Portfolio(explored, seed).attempts(PILOTS), len(STRATEGIES)):
        reader = TapeReader(parse_tape(str(one.tape)))

        again = attempt("tape", 0, reader, taped(explored))

        reader.end()
        assert one.execution.steps == again.execution.steps
        assert one.execution.results == again.execution.results
        assert one.finding == again.finding


_ops = st.one_of(
    st.just(("step", 0)),
    st.just(("preempt",)),
    st.just(("locked", 0, [("step", 1)])),
    st.just(("locked", 1, [("locked", 0, [("step", 1)])])),
    st.tuples(st.just("wait"), st.just(0), st.integers(0, 2)),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(_ops, max_size=3), min_size=2, max_size=2))
def test_drawn_schedules_are_among_all_there_are(program: list[list[Op]]) -> None:
    """Those of plain enumeration, for programs that lock, wait and deadlock."""
    explored = build(program)
    every = [run.schedule for run in islice(depth_first.explore(explored), 1000)]
    assume(len(every) < 1000)

    drawn = {one.execution.schedule for one in islice(Portfolio(explored, 0).attempts(), 60)}

    assert drawn <= set(every)
