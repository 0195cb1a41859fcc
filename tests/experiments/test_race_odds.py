"""Odds of races on shared pCPUs, with other batches, by time averages, and by setting."""

import json
import math
import statistics
from collections.abc import Sequence

import pytest

from experiments.cli import main
from experiments.odds.estimate import Odds, conclude, parse_precision
from experiments.odds.race_odds import race_odds
from experiments.odds.workers import over
from experiments.subjects.on_clock import Asked
from experiments.subjects.race_settings import race_named, settings_of
from experiments.subjects.trial import Timed, price_table, trial
from models.races.arrivals import ARRIVALS, arrivals_of
from models.races.catalogue.index import RACES
from sim.environment import Deadlock

_PLAIN = {"fix": False, "shared": False}


def timed(race: str, *written: str, replication: int = 0) -> Timed:
    """One run on the clock without the fix."""
    chosen = race_named(race)
    settings = settings_of(chosen, ("fix=off", *written))
    return Timed(chosen, settings, Asked(replication=replication), measure=True)


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """The exit status, and what is on stdout."""
    status = main([*arguments, "--quiet"])
    return status, capsys.readouterr().out


# -- windows ---------------------------------------------------------------------------------------


@pytest.mark.long
def test_window_below_a_nanosecond_is_as_long_as_its_cost_says() -> None:
    """R6's is a store to a page table, 0.3 ns: on average over replications, within four errors."""
    race = race_named("R6")
    settings = settings_of(race, ("fix=off",))
    means = [statistics.mean(trial(race, settings, 0, run).window_ns) for run in range(48)]

    error = statistics.stdev(means) / math.sqrt(len(means))
    cost_ns = price_table(settings)["pte_write_plain"].distribution.mean

    assert 0.3 == cost_ns
    assert abs(statistics.mean(means) - cost_ns) < 4 * error
    assert len(set(means)) > 2


# -- shared pCPUs ---------------------------------------------------------------------------------


def test_vcpus_that_share_a_pcpu_wait_for_it() -> None:
    """With one for each nobody does."""
    own, shared = (timed("R16", f"pcpus={pcpus}").simulation for pcpus in (2, 1))

    assert own.scheduler is None
    assert [0, 0] == [vcpu.accounts.steal for vcpu in own.vcpus]
    assert any(vcpu.accounts.steal > 0 for vcpu in shared.vcpus)


def test_other_domains_give_way_where_slices_starve_an_actor() -> None:
    """On two pCPUs the lock's holder can be off whenever who waits for it is on."""
    ends = [timed("R4", "fix=on", "load=4", replication=run) for run in range(6)]

    assert {"ok"} == {run.verdict.outcome for run in ends}
    assert all(run.stage.opportunities == ends[0].stage.opportunities > 0 for run in ends)


def test_other_domains_take_the_pcpus_as_well() -> None:
    """Four busy vCPUs on two pCPUs: the same work takes longer, and none of it is theirs."""
    alone = timed("R4", "fix=on")
    beside = timed("R4", "fix=on", "load=4")

    assert 2 == len(beside.actors)
    assert 6 == len(beside.simulation.vcpus)
    assert beside.time_ns > alone.time_ns
    assert max(vcpu.local_ns for vcpu in beside.actors) == beside.time_ns
    assert any("other_domain" in vcpu.accounts.by_cost for vcpu in beside.simulation.vcpus[2:])


def test_deadlock_is_one_although_another_domain_could_go_on() -> None:
    """The load ends when no actor can do anything but wait."""
    runs = [timed("R4", "load=2", replication=number) for number in range(12)]

    assert any(isinstance(run.failure, Deadlock) for run in runs)


def test_scheduler_decides_how_long_a_vcpu_waits() -> None:
    """credit1 gives 30 ms, credit2 10 ms at most: the same run waits longer under the former."""
    waited = {
        scheduler: max(
            vcpu.accounts.steal
            for number in range(6)
            for vcpu in timed(
                "R16", "pcpus=1", f"scheduler={scheduler}", "rounds=2", replication=number
            ).actors
        )
        for scheduler in ("credit1", "credit2")
    }

    assert waited["credit2"] <= 10_000_000 < waited["credit1"] <= 30_000_000


def test_idle_vcpus_of_the_guest_need_no_pcpu() -> None:
    """R5 has two actors; with four vCPUs on two pCPUs and no load, nobody waits."""
    run = timed("R5", "vcpus=4", "pcpus=2")

    assert 4 == len(run.simulation.vcpus)
    assert [0, 0] == [vcpu.accounts.steal for vcpu in run.actors]


def test_search_goes_by_the_clock_where_pcpus_are_shared(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Not every order of steps can come about there."""
    arguments = ("run", "races/R4", "--set", "fix=off", "--set", "pcpus=1", "--set", "tries=3")
    _, out = answer(capsys, *arguments, "--json")

    assert "seeds" == json.loads(out)["race"]["searched"]


def test_window_stays_open_while_who_is_to_answer_has_no_pcpu() -> None:
    """R4's lock is held until the other vCPU has taken an interrupt: on one pCPU, a slice later."""
    own, shared = (
        max(
            length
            for number in range(4)
            for windows in (timed("R4", f"pcpus={pcpus}", replication=number).windows,)
            if windows is not None
            for length in windows.lengths_ns
        )
        for pcpus in (2, 1)
    )

    assert own < 20_000
    assert 500_000 < shared < 10_100_000


# -- batches --------------------------------------------------------------------------------------


def test_small_batch_leaves_the_window_open_over_a_round_trip() -> None:
    """A buffer of one entry: read-only by one hypercall, pinned by the next (R1)."""
    means, multicalls = [], []
    for batch in (32, 1):
        run = timed("R1", "fix=on", "rounds=5", f"batch={batch}")
        assert run.windows is not None
        means.append(sum(run.windows.lengths_ns) / len(run.windows.lengths_ns))
        counts = run.stage.kernel.counts.items()
        multicalls.append(sum(n for (group, _), n in counts if group == "multicall_size_hist"))

    assert means[1] > means[0] + 100
    # Those that are left were made when the stage was prepared.
    assert multicalls[1] < multicalls[0] - 5


# -- time averages --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def r1() -> Odds:
    """R1 on four vCPUs, in runs of which more than half hit."""
    race = race_named("R1")
    settings = settings_of(race, ("fix=off", "vcpus=4"))
    trials = [trial(race, settings, 0, number) for number in range(72)]
    conditions = ARRIVALS["R1"].conditions
    return conclude(trials, precision=parse_precision("1%"), seed=0, conditions=conditions)


def test_time_average_of_r1_lies_in_the_interval_of_plain_sampling(r1: Odds) -> None:
    """And the other way round; it never expects what was not seen."""
    average, plain = r1.time_average, r1.per_opportunity

    assert average is not None
    assert plain is not None
    assert average.agrees
    assert plain.low < average.per_opportunity.mean < plain.high
    assert average.per_opportunity.low < plain.mean < average.per_opportunity.high
    assert r1.per_hour.low < average.per_time.mean < r1.per_hour.high


def test_time_average_of_r1_spreads_less(r1: Odds) -> None:
    """Only hits of attempts that had to wait are left to chance."""
    assert r1.time_average is not None
    assert r1.time_average.variance_ratio is not None
    assert r1.time_average.variance_ratio > 1


@pytest.mark.parametrize(
    ("race", "settings", "reason"),
    [
        ("R1", {"fix": True, "shared": False}, "attempts wait for the lock"),
        ("R1", {"fix": False, "shared": True}, "vCPUs that share pCPUs"),
        ("R6", _PLAIN, "the interrupt is on its way for longer than the window is open"),
        ("R13", _PLAIN, "the walk must have begun before the table was unlinked"),
        ("R19", _PLAIN, "nothing is stated"),
    ],
)
def test_race_without_a_time_average_says_why(
    race: str, settings: dict[str, bool], reason: str
) -> None:
    """Its conditions do not hold."""
    arrivals, said = arrivals_of(RACES[race], **settings)

    assert arrivals is None
    assert reason in said


def test_reason_is_printed_in_place_of_the_estimate(capsys: pytest.CaptureFixture[str]) -> None:
    """With what was not seen, bounded."""
    status, out = answer(capsys, "odds", "R13", "--most", "3", "--set", "rounds=3")

    assert 0 == status
    assert "no estimate by time: an open window is not enough" in out
    assert "by time, since" not in out
    assert "not seen in 3 runs, p < 0.64 at 95 %" in out


def test_conditions_are_in_the_record() -> None:
    """In words, beside the estimate."""
    race = race_named("R1")
    settings = settings_of(race, ("fix=off", "rounds=3"))
    record, _ = race_odds(race, settings, precision=parse_precision("1"), most=8, seed=0)

    assert 3 == len(record["time_average"]["because"])
    assert record["no_time_average"] is None


# -- how odds move --------------------------------------------------------------------------------


def rows(capsys: pytest.CaptureFixture[str], *arguments: str) -> Sequence[dict[str, object]]:
    """The rows of a varied setting."""
    status, out = answer(capsys, *arguments, "--json")
    document = json.loads(out)

    assert (0, "pinlab.odds-by-setting/1") == (status, document["schema"])
    found: Sequence[dict[str, object]] = document["rows"]
    return found


def test_each_value_has_the_odds_that_it_has_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """And all but the first a difference to the first."""
    varied = rows(capsys, "odds", "R4", "--vary", "vcpus=2,4", "--most", "16")
    _, out = answer(capsys, "odds", "R4", "--set", "vcpus=4", "--most", "16", "--json")
    alone = json.loads(out)

    assert ["2", "4"] == [row["value"] for row in varied]
    assert alone | {"provenance": None} == {key: varied[1][key] for key in alone}
    assert varied[0]["difference"] is None


def test_difference_of_odds_is_taken_from_the_same_seeds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Three CPUs that flush are met more often than one, in far fewer runs than intervals need."""
    varied = rows(capsys, "odds", "R4", "--vary", "vcpus=2,4", "--most", "60")
    difference = varied[1]["difference"]

    assert isinstance(difference, dict)
    assert 60 == difference["runs"]
    assert 0 < difference["low"] < difference["mean"] < difference["high"]


def test_varied_odds_are_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    """With a line for what was not seen."""
    arguments = ("odds", "R4", "--vary", "fix=off,on", "--most", "12")
    status, out = answer(capsys, *arguments)

    assert 0 == status
    assert "fix=on: not seen in 12 runs, p < 0.23 at 95 %" in out


def test_number_of_processes_does_not_show() -> None:
    """The same record, of trials in the same order."""
    race = race_named("R16")
    settings = settings_of(race, ("fix=off",))
    wanted = parse_precision("1%")
    alone = race_odds(race, settings, precision=wanted, most=20, seed=1)
    with over(2) as many:
        together = race_odds(race, settings, precision=wanted, most=20, seed=1, over=many)

    assert alone == together


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--set", "pcpus=0"), "pcpus"),
        (("--set", "pcpus=one"), "pcpus is a whole number"),
        (("--set", "load=-1"), "load is a whole number"),
        (("--set", "scheduler=credit1"), "each vCPU has a pCPU of its own"),
        (("--set", "scheduler=cfs", "--set", "pcpus=1"), "scheduler"),
        (("--set", "batch=0"), "batch"),
        (("--set", "profile=p4-2003-2005"), "lacks"),
        (("--set", "latency.hypercall_null=1s"), "outside what profile modern-2023 allows"),
        (("--set", "latency.hypercall_null=fast"), "is not a duration"),
        (("--set", "latency.hypercal=1us"), "has no cost 'hypercal'"),
        (("--set", "latency=1us"), "name a cost"),
        (("--vary", "vcpus"), "write it as key=value,value"),
        (("--vary", "vcpus=2"), "write it as key=value,value"),
        (("--vary", "vcpus=2,2"), "2 is there twice"),
        (("--vary", "vcpus=2,1"), "R1 takes 2 at least"),
        (("--vary", "speed=1,2"), "a race has no such key"),
        (("--jobs", "0"), "jobs"),
    ],
)
def test_mistakes_are_one_line_and_status_2(
    arguments: tuple[str, ...], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is wrong, where, and what would be right."""
    status = main(("odds", "R1", *arguments))

    captured = capsys.readouterr()
    assert (2, "", 1) == (status, captured.out, captured.err.count("\n"))
    assert complaint in captured.err
