"""The budget ladder: which searches are made, how they share the budget, and what they claim."""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import islice

import pytest

from sim.effects import STEP, Activity, Choose
from sim.estimate.intervals import clopper_pearson
from sim.explore.attempts import attempt, taped
from sim.explore.execution import Execution, InTurn
from sim.explore.program import Program
from sim.explore.searches import depth_first
from sim.explore.searches.dpor import Position
from sim.explore.searches.few_switches import explore_few_switches
from sim.explore.searches.ladder import Budget, Ladder
from sim.explore.searches.pct import chance_to_miss
from sim.explore.searches.portfolio import PILOTS, STRATEGIES, Portfolio
from sim.explore.searches.rung import Rung, claims
from sim.tape import TapeReader
from tests.sim.hidden_bugs import after_everything, bug, free, inside_a_window, pin_race
from tests.sim.test_dpor import Op, World

TWO_WRITERS = World([[("write", 0, 1), ("read", 1)], [("write", 0, 2), ("read", 1)]])
"""Two of the six orders are not equivalent."""


class EveryOrder:
    """A search of classes for programs whose steps all depend on each other."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self.position = Position()

    def __iter__(self) -> Iterator[Execution]:
        for execution in depth_first.explore(self._program):
            self.position.classes += 1
            yield execution


class BeginsAgain(EveryOrder):
    """A search that begins anew after three orders, and gives up two executions."""

    def __iter__(self) -> Iterator[Execution]:
        for execution in islice(depth_first.explore(self._program), 3):
            self.position.classes += 1
            yield execution
        for _ in range(2):
            self._program.run(InTurn())
            self.position.blocked += 1
        self.position.classes = 0
        yield from super().__iter__()


def recorded(program: Program) -> Program:
    """The same, told to have footprints, so that classes are looked for."""
    return replace(program, recorder=TWO_WRITERS.recorder)


def climbed(ladder: Ladder) -> list[Rung]:
    """The rungs after all attempts."""
    for _ in ladder.attempts():
        pass
    return ladder.rungs


def test_classes_that_fit_the_budget_are_all_there_is_to_do() -> None:
    """No bound and no chance can add to them."""
    ladder = Ladder(TWO_WRITERS.program(), Budget(executions=100), seed=0)

    attempts = list(ladder.attempts())

    assert [("classes", 0), ("classes", 1)] == [(one.search, one.number) for one in attempts]
    assert [Rung("classes", complete=True, executions=2, orders=2)] == ladder.rungs
    expected = (
        "all 2 interleavings of this configuration were run: any other differs from one of them "
        "only in the order of independent steps; no failure"
    )
    assert [expected] == claims(ladder.rungs)


@pytest.mark.parametrize(
    ("sides", "kind"),
    [
        ([[("locked", a, [("locked", 1 - a, [])])] for a in (0, 1)], "deadlock"),
        ([[("fails", 1), ("write", 0, 1)], [("write", 2, 1), ("write", 2, 2)]], "ArithmeticError"),
    ],
    ids=["opposite locks", "one vCPU fails"],
)
def test_finding_among_the_classes_can_be_made_again(sides: list[list[Op]], kind: str) -> None:
    """From its tape, which goes on behind the failure of one vCPU as the search does."""
    program = World(sides).program()

    found = list(Ladder(program, Budget(executions=100), seed=0).attempts())[-1]
    reader = TapeReader(found.tape)
    again = attempt("tape", 0, reader, taped(program), goes_on=found.goes_on)

    reader.end()
    assert "classes" == found.search
    assert found.finding is not None
    assert kind == found.finding.kind
    assert found.finding == again.finding
    assert found.execution.steps == again.execution.steps


def test_program_without_a_recorder_has_no_known_classes() -> None:
    """The search begins with orders without switches."""
    ladder = Ladder(free(2, 2), Budget(executions=100), seed=0)

    assert "switches-0" == climbed(ladder)[0].name


def test_searches_share_the_budget() -> None:
    """Half for classes, half of the rest for switches, the rest for chance."""
    rungs = climbed(
        Ladder(recorded(free(9, 9)), Budget(executions=600), seed=0, classes=EveryOrder)
    )

    orders = [len(list(explore_few_switches(free(9, 9), switches))) for switches in range(2)]
    assert [
        ("classes", False, 300),
        ("switches-0", True, orders[0]),
        ("switches-1", True, orders[1]),
        ("switches-2", False, 150 - sum(orders)),
        ("portfolio", False, 150),
    ] == [(rung.name, rung.complete, rung.executions) for rung in rungs]


def test_bounds_end_at_three_switches() -> None:
    """What they leave of the budget is for chance."""
    rungs = climbed(Ladder(free(2, 2), Budget(executions=200), seed=0))

    assert [f"switches-{bound}" for bound in range(4)] == [rung.name for rung in rungs[:-1]]
    assert all(rung.complete for rung in rungs[:-1])
    assert 200 == sum(rung.executions for rung in rungs)


def test_each_bound_says_what_was_completed() -> None:
    """One switch misses the pin race, and both bounds below two say that they were completed."""
    ladder = Ladder(pin_race(1), Budget(executions=10_000), seed=0)
    away = "away from a vCPU that could go on were run; no failure"

    assert [
        f"all 2 orders with at most 0 switches {away}",
        f"all 8 orders with at most 1 switch {away}",
    ] == claims(climbed(ladder)[:2])
    assert [{}, {}, {"bug": 1}] == [rung.findings for rung in ladder.rungs]
    assert not ladder.rungs[2].complete
    assert claims(ladder.rungs)[2].endswith("were run, perhaps not all; failures (bug: 1)")


def test_first_finding_ends_the_search() -> None:
    """Of the whole ladder."""
    attempts = list(Ladder(after_everything(3), Budget(executions=100), seed=0).attempts())

    assert [True] == [one.finding is not None for one in attempts]


def test_every_finding_is_counted_on_demand() -> None:
    """Every search is made then; the portfolio tells who found."""
    rungs = climbed(
        Ladder(after_everything(20), Budget(executions=600), seed=0, every_finding=True)
    )

    assert [1, 1] == [rung.findings["bug"] for rung in rungs[:2]]
    drawn = rungs[-1]
    assert "portfolio" == drawn.search
    assert drawn.findings["bug"] == sum(drawn.found_by.values())
    assert drawn.executions == sum(drawn.strategies.values())
    assert "walk" not in drawn.found_by
    assert drawn.found_by["pct-1"] > 10
    assert "missed" not in claims([drawn])[0]


def test_findings_among_all_interleavings_are_counted() -> None:
    """One of the six orders of two steps each."""
    program = recorded(bug((2, 2), [((0, 1), (1, 0))]))
    ladder = Ladder(program, Budget(executions=100), seed=0, classes=EveryOrder, every_finding=True)

    assert [Rung("classes", complete=True, executions=6, orders=6, findings={"bug": 1})] == climbed(
        ladder
    )
    assert claims(ladder.rungs)[0].endswith("independent steps; failures (bug: 1)")


def test_search_that_begins_again_claims_each_order_once() -> None:
    """All executions are counted, also those that it kept to itself; orders are not."""
    ladder = Ladder(recorded(free(2, 2)), Budget(executions=100), seed=0, classes=BeginsAgain)

    assert [Rung("classes", complete=True, executions=11, orders=6, blocked=2)] == climbed(ladder)


def test_search_that_used_up_its_part_is_not_called_complete() -> None:
    """Six orders in six executions: nobody has looked whether there is a seventh."""
    ladder = Ladder(recorded(free(2, 2)), Budget(executions=12), seed=0, classes=EveryOrder)

    rung = climbed(ladder)[0]

    assert (6, False) == (rung.executions, rung.complete)
    assert claims([rung])[0].startswith("6 interleavings were run, perhaps not all")


# -- chance in words ------------------------------------------------------------------------------


def test_portfolio_claims_what_its_priorities_guarantee() -> None:
    """For each depth, of the schedules that were drawn for it; rounded upwards."""
    strategies = {"pct-1": 40, "pct-2": 40, "pct-3": 40, "random": 80}
    rung = Rung("portfolio", executions=200, orders=200, strategies=strategies, vcpus=2, steps=10)

    # 1 - 1/20 to the 40th is 0.12851..., 1 - 1/200 to the 40th 0.81830...
    expected = (
        "200 schedules were drawn; no failure"
        "; a bug of depth 1 that shows within 10 steps of 2 vCPUs would have been missed with "
        "probability <= 1e-09"
        "; a bug of depth 2 that shows within 10 steps of 2 vCPUs would have been missed with "
        "probability <= 0.13"
        "; a bug of depth 3 that shows within 10 steps of 2 vCPUs would have been missed with "
        "probability <= 0.82"
    )
    assert [expected] == claims([rung])


def test_what_is_missed_nearly_always_is_not_mentioned() -> None:
    """Nor what nothing was drawn for."""
    rung = Rung("portfolio", executions=9, orders=9, strategies={"pct-3": 9}, vcpus=2, steps=100)

    assert ["9 schedules were drawn; no failure"] == claims([rung])


@pytest.mark.parametrize("executions", [1, 3, 17, 100, 1000])
def test_claimed_probability_is_never_below_the_true_one(executions: int) -> None:
    """However it is rounded."""
    rung = Rung(
        "portfolio",
        executions=executions,
        strategies={"pct-2": executions},
        vcpus=3,
        steps=7,
    )

    claimed = float(claims([rung])[0].rpartition(" ")[2])

    assert (
        chance_to_miss(2, 3, 7, executions)
        <= claimed
        < 1.1 * max(chance_to_miss(2, 3, 7, executions), 1e-9)
    )


def test_bug_that_needs_an_answer_is_outside_the_claim() -> None:
    """A question was met, and its answers were drawn."""

    def asks() -> Activity:
        yield STEP
        yield Choose("option", (1, 2))

    ladder = Ladder(Program(lambda: [asks(), asks()]), Budget(executions=300), seed=0)
    rung = climbed(ladder)[-1]

    assert "within 2 steps of 2 vCPUs, needs no particular answers would" in claims([rung])[0]
    assert (2, 2) == (rung.vcpus, rung.steps)


def test_bound_that_is_claimed_is_kept() -> None:
    """A bug of depth 2 is missed no more often than is claimed, and as often as counted by hand."""
    program = inside_a_window(6)
    portfolios, runs = 150, 10
    missed = 0
    for seed in range(portfolios):
        drawn = islice(Portfolio(program, seed).attempts(PILOTS), runs * len(STRATEGIES))
        missed += not any(one.finding for one in drawn if one.search == "pct-2")

    exact = (1 - 1 / 22) ** runs
    assert clopper_pearson(missed, portfolios).low <= chance_to_miss(2, 2, 12, runs)
    assert pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / portfolios)) == (
        missed / portfolios
    )


# -- the budget -----------------------------------------------------------------------------------


@pytest.mark.parametrize("made", [0, 1, 40, 99, 100, 101, 104, 125, 149, 150, 151, 170, 200])
def test_broken_off_and_taken_up_again_it_ends_alike(made: int) -> None:
    """Wherever that happens, and by way of a file."""
    program = recorded(free(6, 6))
    budget = Budget(executions=200)
    expected = climbed(Ladder(program, budget, seed=3, classes=EveryOrder))
    first = Ladder(program, budget, seed=3, classes=EveryOrder)
    for _ in islice(first.attempts(), made):
        pass
    written = json.dumps([asdict(rung) for rung in first.rungs])

    done = [Rung(**rung) for rung in json.loads(written)]
    resumed = Ladder(program, budget, seed=3, classes=EveryOrder, done=done)

    assert expected == climbed(resumed)


def test_what_was_found_needs_no_second_search() -> None:
    """A ladder that ended with a finding is at its end."""
    ladder = Ladder(after_everything(3), Budget(executions=100), seed=0)
    rungs = climbed(ladder)

    again = Ladder(after_everything(3), Budget(executions=100), seed=0, done=rungs)

    assert [] == list(again.attempts())
    assert rungs == again.rungs


def test_seconds_are_shared_likewise() -> None:
    """By a clock that goes on by one at each look."""
    looks = iter(range(10_000))
    ladder = Ladder(
        recorded(free(9, 9)),
        Budget(seconds=400.0),
        seed=0,
        classes=EveryOrder,
        clock=lambda: float(next(looks)),
    )

    rungs = {rung.name: rung.executions for rung in climbed(ladder)}

    assert rungs["classes"] == pytest.approx(200, abs=5)
    assert sum(rungs.values()) == pytest.approx(400, abs=20)
    assert rungs["portfolio"] == pytest.approx(100, abs=10)


def test_budget_is_a_positive_number() -> None:
    """Of something."""
    for executions, seconds in ((None, None), (0, None), (5, -1.0)):
        with pytest.raises(ValueError, match="positive number"):
            Budget(executions, seconds)
