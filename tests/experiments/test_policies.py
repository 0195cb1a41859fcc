"""The [strategy] section: parts of a strategy in place of its own, from the command line on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from experiments.cli import main
from experiments.record.events import TimingLog
from experiments.scenario.scenario import load, scenario_hash
from models.strategies.catalogue import find_strategy, strategy_names
from models.strategies.recombine import OWN, parts_of
from tests.boots import record_of, run

NAMED = ("strategy", "policies", "recombined", "scenario_hash")


def unnamed(record: dict[str, Any]) -> dict[str, Any]:
    """All of a record but what its strategy is called."""
    return {key: value for key, value in record.items() if key not in NAMED}


def settings(words: Mapping[str, str | int]) -> list[str]:
    """The words as options of the command line have them."""
    return [f"strategy.{part}={word}" for part, word in words.items()]


@pytest.mark.parametrize("strategy", strategy_names())
def test_strategy_with_its_own_parts_gives_the_same_record(strategy: str) -> None:
    """Every part that has a word is said aloud, and nothing is another."""
    words = parts_of(find_strategy(strategy))
    own = settings({part: word for part, word in words.items() if word != OWN})

    assert unnamed(record_of("guest-512M", strategy)) == unnamed(
        run(load("guest-512M", own), strategy)
    )


@pytest.mark.parametrize(
    ("source", "words", "target"),
    [
        ("tables-high", {"mask": "top", "release": "each"}, "reserve-hook"),
        ("reserve-hook", {"release": "polled"}, "ro-window"),
        ("reserve-hook", {"release": "batched"}, "publish-free"),
        ("alloc-only", {"mask": "end"}, "tables-high"),
        ("alloc-only", {"mask": "set", "publish": "hook"}, "deferred-ro"),
        ("deferred-ro", {"publish": "alloc"}, "deferred-ro-early"),
        ("tables-high", {"hook": "patch"}, "patch-alias"),
        ("alloc-only", {"hook": "walk-leaves", "publish": "alloc"}, "hook-walk"),
    ],
)
def test_recombined_strategy_gives_the_record_of_the_one_that_it_is(
    source: str, words: dict[str, str | int], target: str
) -> None:
    """Down to the nanosecond, on the machine of the crash of 2011."""
    recombined = run(load("dom0-2011", settings(words)), source)

    assert unnamed(record_of("dom0-2011", target)) == unnamed(recombined)
    assert parts_of(find_strategy(target)) == recombined["policies"]
    assert (source, words) == (recombined["strategy"], recombined["recombined"])


def test_set_that_holds_the_whole_buffer_is_reserve_hook() -> None:
    """The published range of 2011, as a set: every count is the same, a lookup costs more."""
    reserved = record_of("dom0-2011", "reserve-hook")
    words = {"mask": "set", "publish": "reserve", "release": "each"}
    published = run(load("dom0-2011", settings(words)), "tables-high")

    for group in ("outcome", "counts", "pages", "buffers", "xen_counters"):
        assert reserved[group] == published[group]
    assert reserved["time_ns"]["total"] < published["time_ns"]["total"]


# What runs although it is unwise, on the machine of the crash of 2011, and how it comes out.
UNWISE = [
    ("tables-high", {"placement": "low"}, "ok"),
    ("reserve-hook", {"release": "none"}, "ok"),
    ("tables-high", {"mask": "none"}, "crash"),
    ("tables-high", {"access": "direct"}, "crash"),
    ("tables-high", {"placement": "low", "access": "direct"}, "ok"),
    ("tables-first", {"access": "direct"}, "ok"),
    ("mapped-only-6.1", {"hook": "walk"}, "ok"),
    ("mapped-only-6.1", {"hook": "walk-leaves", "publish": "alloc"}, "ok"),
    ("mapped-only-6.1", {"mask": "set", "publish": "alloc"}, "ok"),
    ("deferred-ro", {"hook": "patch"}, "crash"),
    ("reserve-hook", {"store": "mmu-update"}, "ok"),
]


@pytest.mark.parametrize(("strategy", "words", "outcome"), UNWISE)
def test_what_is_possible_runs_and_the_machine_decides(
    strategy: str, words: dict[str, str | int], outcome: str
) -> None:
    """A combination may be unwise; nobody but Xen's checks and the CPU's walk refuses it."""
    assert outcome == record_of("dom0-2011", strategy, *settings(words))["outcome"]


def test_table_that_is_not_mapped_yet_cannot_be_cleared_where_it_will_be() -> None:
    """Tables of the top through the direct map: the very first store is a fault."""
    failure = record_of("dom0-2011", "tables-high", "strategy.access=direct")["failure"]

    assert "oops" == failure["kind"]
    assert "is not mapped" in failure["explanation"]
    assert failure["guest_console"][0].startswith("BUG: unable to handle kernel paging request")


def test_pages_that_nobody_gives_back_stay_read_only() -> None:
    """All left-overs of reserve-hook, were it not for its hook."""
    pages = record_of("dom0-2011", "reserve-hook", "strategy.release=none")["pages"]

    assert 0 < pages["left_over"] == pages["left_read_only"]


@pytest.mark.parametrize("strategy", ["reserve-hook", "hook-walk", "mapped-only-5.10"])
def test_event_for_each_hypercall_changes_nothing_of_a_batched_boot(strategy: str) -> None:
    """Nor does a log, which has a row for each multicall."""
    batched = load("guest-512M", ["strategy.batching=32"])
    log = TimingLog()

    record = run(batched, strategy)
    assert record == run(batched, strategy, every_event=True)
    assert record == run(batched, strategy, log=log)
    measured = record["counts"]["traps"] + record["counts"]["ptwr"]
    assert measured <= len(log)


def test_every_step_of_a_batched_boot_is_consistent() -> None:
    """All references are counted anew after each."""
    small = load("guest-512M", ["guest.ram=64MiB", "strategy.batching=8"])

    assert "ok" == run(small, "hook-walk", check=True)["outcome"]


def test_hash_tells_recombinations_apart() -> None:
    """A word is part of what a run depends on."""
    plain, top, end = (
        scenario_hash(load("guest-512M", words))
        for words in ([], ["strategy.mask=top"], ["strategy.mask=end"])
    )

    assert 3 == len({plain, top, end})


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (
            ["strategy.mask=toop"],
            'guest-512M: strategy.mask = "toop" is none of none, end, top, set',
        ),
        (["strategy.hok=pin"], "guest-512M: unknown key strategy.hok; did you mean hook?"),
        (
            ["strategy.batching=0"],
            (
                "guest-512M: strategy.batching = 0 is neither none nor a number of entries from 1 "
                "to 1024"
            ),
        ),
        (["strategy.mask=[1]"], "guest-512M: strategy.mask = [1] is none of none, end, top, set"),
        (["strategy=top"], 'guest-512M: strategy = "top": expected a table, got str'),
        (
            ["strategy.mask=set"],
            (
                'strategy.mask = "set" with reserve-hook: no page would ever be in the set that '
                'the mask asks; publish = "none"'
            ),
        ),
    ],
)
def test_mistake_is_one_line_and_status_2(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The key, the word, and what would be right."""
    options = [option for word in words for option in ("--set", word)]

    assert 2 == main(["run", "guest-512M", *options])
    assert f"pinlab: {complaint}\n" == capsys.readouterr().err


def test_comparison_of_all_leaves_out_what_makes_no_sense_and_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A mask over a buffer is nothing for strategies without one."""
    assert 0 == main(["compare", "guest-512M", "--quiet", "--set", "strategy.mask=top"])

    table = capsys.readouterr().out
    assert "in place of the strategy's own: mask = top" == table.splitlines()[1]
    assert "left out: mapped-only-6.1. Mapped-only-6.1 takes its tables one by one" in table


def test_comparison_of_named_strategies_refuses_what_makes_no_sense(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Who asks for a strategy by name is not given others."""
    words = ["--strategies", "tables-high,mapped-only-6.1", "--set", "strategy.mask=top"]

    assert 2 == main(["compare", "guest-512M", *words])
    assert "with mapped-only-6.1: mapped-only-6.1 takes its tables" in capsys.readouterr().err


def test_comparison_in_json_names_parts_and_what_was_left_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every row has all of its parts in words."""
    assert 0 == main(
        ["compare", "guest-512M", "--quiet", "--json", "--set", "strategy.placement=low"]
    )

    document = json.loads(capsys.readouterr().out)
    assert {"low"} == {row["policies"]["placement"] for row in document["rows"]}
    assert {"mapped-only-3.10", "mapped-only-5.10", "mapped-only-6.1"} <= set(document["left_out"])
    assert len(strategy_names()) == len(document["rows"]) + len(document["left_out"])


def test_scenario_may_name_parts(tmp_path: Path) -> None:
    """A section of its own, beside the strategy that it changes."""
    file = tmp_path / "mine.toml"
    file.write_text('[guest]\nram = "512MiB"\n[strategy]\nmask = "end"\nrelease = "none"\n')

    assert {"mask": "end", "release": "none"} == load(str(file)).strategy
