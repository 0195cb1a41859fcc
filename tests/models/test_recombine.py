"""Strategies taken apart into words, and put together from them."""

import dataclasses

import pytest

from models.linux.boot.strategy import PinAndHook
from models.linux.boot.walks.buffered import build_direct_map
from models.linux.release import V2_6_39
from models.strategies.catalogue import find_strategy, strategy_names
from models.strategies.recombine import OWN, PARTS, WAYS, Senseless, parts_of, recombine
from models.xen.versions.paging import Paging

# Those that differ in nothing but their parts: kernel, shape of the walk and domain are one.
ALIKE = [
    name
    for name in strategy_names()
    if find_strategy(name).kernel is V2_6_39
    and find_strategy(name).direct_map is build_direct_map
    and find_strategy(name).paging is Paging.DIRECT
]


def test_every_part_has_ways() -> None:
    """And there is no way of doing a part that is none."""
    assert list(PARTS) == list(WAYS)


def test_every_way_sets_the_same_fields_of_a_part() -> None:
    """So that a word leaves nothing behind of the one that it replaces."""
    for ways in WAYS.values():
        assert 1 == len({tuple(way) for way in ways.values()})


@pytest.mark.parametrize("name", strategy_names())
def test_parts_of_every_strategy_have_words(name: str) -> None:
    """Unless the walk itself decides, nothing that PinLab ships is a part without a name."""
    strategy = find_strategy(name)

    own = {part for part, word in parts_of(strategy).items() if word == OWN}
    assert strategy.own_ways == own


@pytest.mark.parametrize("name", strategy_names())
def test_strategy_with_its_own_parts_is_the_same(name: str) -> None:
    """Each is a combination that makes sense."""
    strategy = find_strategy(name)

    assert strategy is recombine(strategy, parts_of(strategy))


@pytest.mark.parametrize("target", ALIKE)
@pytest.mark.parametrize("source", ALIKE)
def test_strategies_of_one_kernel_become_each_other(source: str, target: str) -> None:
    """Given the other's parts, nothing tells them apart but what they are called."""
    other = find_strategy(target)

    made = recombine(find_strategy(source), parts_of(other))

    named = dataclasses.replace(made, name=other.name, summary=other.summary, history=other.history)
    assert other == named


# A strategy, what is changed of it, and which strategy it is then.
KNOWN = [
    ("tables-high", {"mask": "top", "release": "each"}, "reserve-hook"),
    ("reserve-hook", {"release": "batched"}, "publish-free"),
    ("reserve-hook", {"release": "polled"}, "ro-window"),
    ("alloc-only", {"mask": "end"}, "tables-high"),
    ("alloc-only", {"mask": "set", "publish": "hook"}, "deferred-ro"),
    ("deferred-ro", {"publish": "alloc"}, "deferred-ro-early"),
    ("alloc-only", {"hook": "walk"}, "hook-walk-literal"),
    ("alloc-only", {"hook": "walk-leaves", "publish": "alloc"}, "hook-walk"),
    ("tables-high", {"hook": "patch"}, "patch-alias"),
    ("tables-low", {"order": "hook-first"}, "ptwr-fill"),
    ("mapped-only-5.10", {"store": "plain"}, "mapped-only-5.10"),
]


@pytest.mark.parametrize(("source", "words", "target"), KNOWN)
def test_one_word_or_two_lead_from_strategy_to_strategy(
    source: str, words: dict[str, str | int], target: str
) -> None:
    """The fixes of 2011 differ in one part or two."""
    parts = parts_of(recombine(find_strategy(source), words))

    assert parts_of(find_strategy(target)) | words == parts


def test_part_of_the_users_own_stays_and_can_be_replaced() -> None:
    """It has no word, and a word takes its place."""
    mine = dataclasses.replace(
        find_strategy("tables-high"), early=lambda buffer, pfn: pfn == buffer.start
    )

    assert OWN == parts_of(mine)["early"]
    assert mine.early is recombine(mine, {"mask": "top", "release": "each"}).early
    assert "all" == parts_of(recombine(mine, {"early": "all"}))["early"]


def test_users_own_hook_may_ask_for_published_tables() -> None:
    """What it asks is not known, so nothing is refused for its sake."""

    class Mine(PinAndHook):
        pass

    mine = dataclasses.replace(find_strategy("tables-high"), hook=Mine())

    assert "alloc" == recombine(mine, {"publish": "alloc"}).publish


SENSELESS: list[tuple[str, dict[str, str | int], str]] = [
    ("tables-high", {"mask": "set"}, "no page would ever be in the set"),
    ("hook-walk", {"publish": "none"}, "the walk would know no table to look for"),
    ("tables-high", {"publish": "alloc"}, "nobody would ask whether a page is published"),
    ("hook-walk", {"hook": "pin"}, "nobody would ask whether a page is published"),
    ("reserve-hook", {"mask": "end"}, "nothing to give back"),
    ("alloc-only", {"release": "batched"}, "nothing to give back"),
    ("deferred-ro", {"release": "each"}, "nothing to give back"),
    ("tables-first", {"placement": "mapped"}, "reserves a buffer for its tables"),
    ("mapped-only-6.1", {"placement": "low"}, "there is no buffer that could be placed"),
    ("mapped-only-6.1", {"mask": "top"}, "there is no buffer that a mask could cover"),
    ("mapped-only-3.10", {"mask": "end"}, "there is no buffer that a mask could cover"),
    ("mapped-only-6.1", {"mask": "set", "publish": "reserve"}, "no buffer that could be publish"),
    ("mapped-only-6.1", {"release": "each"}, "there is no buffer that could be left over"),
    ("mapped-only-6.1", {"order": "hook-first"}, "fills its tables before they are hooked"),
    ("offline-pin", {"hook": "walk"}, "has a way of its own there .what is done when a table is"),
    ("mapped-only-6.1", {"access": "early"}, "reaches its tables where the direct map has them"),
]


@pytest.mark.parametrize(("name", "words", "why"), SENSELESS)
def test_combination_without_sense_is_refused_in_words(
    name: str, words: dict[str, str | int], why: str
) -> None:
    """The sentence says what would be missing or idle."""
    with pytest.raises(Senseless, match=why):
        recombine(find_strategy(name), words)


def test_published_whole_buffer_has_left_overs_to_give_back() -> None:
    """The set then holds pages that will be no tables: reserve-hook by a set."""
    strategy = recombine(
        find_strategy("tables-high"), {"mask": "set", "publish": "reserve", "release": "each"}
    )

    assert "set_lookup" == strategy.leaf_cost
