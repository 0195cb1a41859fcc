"""Races from the command line: the search, the odds, the list, and what is refused."""

import json

import pytest

from experiments.cli import main
from experiments.subjects.race_settings import race_named, settings_of
from experiments.subjects.trial import trial
from models.races.catalogue.index import RACES


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """The exit status, and what is on stdout."""
    status = main([*arguments, "--quiet"])
    return status, capsys.readouterr().out


def test_failure_is_shown_with_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    """As the kernel reports it: an oops at the table's address in the direct map."""
    status, out = answer(capsys, "run", "races/R1", "--set", "fix=off")

    assert 1 == status
    assert "crash (D1)" in out
    assert "BUG: unable to handle kernel paging request at ffff8880" in out


def test_failure_that_was_expected_has_status_0(capsys: pytest.CaptureFixture[str]) -> None:
    """--expect names the outcome, as for a scenario."""
    arguments = ("run", "races/R4", "--set", "fix=off", "--expect", "deadlock", "--json")
    status, out = answer(capsys, *arguments)

    record = json.loads(out)
    assert (0, "pinlab.run/1", "deadlock") == (status, record["schema"], record["outcome"])
    assert "D5" == record["race"]["detector"]
    assert "held by vcpu1" in record["failure"]["explanation"]


def test_with_its_fix_a_race_says_how_far_it_was_looked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No failure: status 0 and the extent of the search."""
    status, out = answer(capsys, "run", "races/R16", "--set", "fix=on")

    assert 0 == status
    assert "ok: no failure was found" in out
    assert "all with up to 2 forced switches" in out


def test_with_more_vcpus_the_clock_helps(capsys: pytest.CaptureFixture[str]) -> None:
    """The tries do not suffice for all orders of four vCPUs; runs on the clock are made beside."""
    arguments = ("run", "races/R1", "--set", "fix=off", "--set", "vcpus=4", "--set", "tries=100")
    status, out = answer(capsys, *arguments, "--json")

    race = json.loads(out)["race"]
    assert (1, "D1", "seeds", 4) == (status, race["detector"], race["searched"], race["vcpus"])


def test_failure_that_nobody_notices_is_found_by_a_recount(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """X1: neither Xen nor the guest has said a word."""
    status, out = answer(capsys, "run", "races/X1", "--set", "fix=off", "--json")

    record = json.loads(out)
    assert (1, "latent", "D12") == (status, record["outcome"], record["race"]["detector"])
    assert ([], []) == (record["failure"]["console"], record["failure"]["guest_console"])
    assert "the type count is the number of uses" in record["failure"]["explanation"]


def test_same_seed_has_the_same_odds(capsys: pytest.CaptureFixture[str]) -> None:
    """Byte for byte."""
    arguments = ("odds", "R4", "--most", "20", "--json", "--seed", "3")

    assert answer(capsys, *arguments) == answer(capsys, *arguments)


def test_odds_tell_hits_windows_and_near_misses(capsys: pytest.CaptureFixture[str]) -> None:
    """The fix is off unless it is asked for."""
    status, out = answer(capsys, "odds", "R4", "--most", "40", "--json")

    record = json.loads(out)
    assert (0, "pinlab.odds/1", "off") == (status, record["schema"], record["settings"]["fix"])
    assert 0 < record["hits"] <= record["near_misses"] <= record["opportunities"]
    assert record["per_hour"]["low"] < record["per_hour"]["mean"] < record["per_hour"]["high"]
    assert record["window"]["mean_ns"] > 0


def test_unseen_race_has_a_bound(capsys: pytest.CaptureFixture[str]) -> None:
    """With the fix nothing is seen, which is no proof, and is said so."""
    status, out = answer(capsys, "odds", "R4", "--set", "fix=on", "--most", "30")

    assert 0 == status
    assert "not seen in 30 runs, p < 0.096 at 95 %" in out


def test_more_reclaiming_cpus_make_more_opportunities() -> None:
    """R1 on eight vCPUs: seven of them reclaim."""
    race = race_named("R1")
    opportunities = [
        trial(race, settings_of(race, ("fix=on", f"vcpus={vcpus}", "rounds=3")), 0, 0).opportunities
        for vcpus in (2, 8)
    ]

    assert opportunities[0] < opportunities[1]


def test_list_has_all_races(capsys: pytest.CaptureFixture[str]) -> None:
    """With kind, fix, detectors and story."""
    status, out = answer(capsys, "list", "races", "--json")

    races = json.loads(out)["races"]
    assert (0, list(RACES)) == (status, [race["name"] for race in races])
    assert ["74260714c56d", "eefb47f6a1e8"] == races[0]["fix"]["commits"]
    sides = {race["name"]: race["fix"]["side"] for race in races}
    assert ("kernel", "hypervisor", "kernel") == (sides["R1"], sides["X1"], sides["X2"])


def test_changed_hypervisor_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """X2 runs on a version that looks again, whatever the fix is."""
    status, out = answer(capsys, "run", "races/X2", "--set", "fix=off")

    assert 1 == status
    assert "Xen 4.17 with update_retries = 3" in out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("run", "races/R99"), "races/R99: no such race"),
        (("run", "races/R1", "--set", "fix=maybe"), "fix"),
        (("run", "races/R1", "--set", "fixx=on"), "did you mean fix?"),
        (("run", "races/R1", "--set", "fix"), "write it as key=value"),
        (("run", "races/R1", "--set", "vcpus=1"), "R1 takes 2 at least"),
        (("run", "races/R1", "--set", "vcpus=two"), "vcpus is a whole number"),
        (("run", "races/R1", "--set", "vcpus=65"), "64"),
        (("run", "races/R1", "--set", "gap=20"), "has no unit"),
        (("run", "races/R1", "--set", "gap=0ns"), "too short"),
        (("run", "races/R1", "--set", "profile=mine"), "profile"),
        (("run", "races/R1", "--set", "xen=5"), "xen = '5' is unknown"),
        (("odds", "R12"), "R12 is of kind order"),
        (("odds", "X3"), "pinlab run races/X3"),
        (("odds", "nope"), "nope: no such race; there are R1, R2"),
        (("odds", "guest-512M"), "odds are of races (see: pinlab list races)"),
        (("explore", "guest-512M"), "only races and boots of several vCPUs can be explored"),
        (("explore", "R1", "--strategy", "shadow"), "--strategy is for boots"),
        (("explore", "R1", "--set", "pcpus=1"), "as if each vCPU had a pCPU of its own"),
        (("compare", "R1"), "no shipped scenario 'R1'"),
        (("odds", "R1", "--precision", "lots"), "is not a precision"),
    ],
)
def test_mistakes_are_one_line_and_status_2(
    arguments: tuple[str, ...], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is wrong, where, and what would be right."""
    status = main(arguments)

    captured = capsys.readouterr()
    assert (2, "", 1) == (status, captured.out, captured.err.count("\n"))
    assert complaint in captured.err


@pytest.mark.parametrize("command", ["run", "explore"])
def test_race_is_meant_however_it_is_named(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """By its id in either case, with the folder's name or without."""
    said = []
    for name in ("races/R16", "R16", "r16"):
        status = main([command, name, "--set", "fix=on", "--json", "--quiet"])
        document = json.loads(capsys.readouterr().out)
        subject = document["race"] if command == "run" else document["program"]
        said.append((status, document["outcome"], subject))

    assert 0 == said[0][0]
    assert said[0] == said[1] == said[2]


def test_unknown_race_by_its_id_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """It is no scenario that is missing."""
    assert 2 == main(["run", "R77", "--quiet"])
    told = capsys.readouterr().err
    assert 1 == told.count("\n")
    assert "R77: no such race" in told
