"""Strategies taken apart and put together anew: which words there are, and what they stand for.

A strategy is a composition of parts. Each part has a few ways of doing it, each with a word; a
recombination is a named strategy with the parts that some words stand for in place of its own. To
add a way, add a line to :data:`WAYS`; to add a part, a name to :data:`PARTS` and its lines.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from models.linux.boot.strategy import (
    PIN_AND_HOOK,
    Strategy,
    all_but_last_page,
    keep_all,
    nothing,
)
from models.strategies.hook_walk import WalkLeaves, hook_walk
from models.strategies.hook_walk_literal import hook_walk_literal
from models.strategies.patch_alias import patch_alias
from models.strategies.policies import (
    EarlySlotsOnly,
    KnownTables,
    ReadOnlyBuffer,
    always_writable,
    below_mapped,
    free_left_over_at_once,
    make_left_over_writable,
    top_of_range,
)
from models.strategies.ro_window import ro_window
from models.strategies.shadow import shadow
from models.strategies.wrong_orders import (
    WalkChildrenOnly,
    WalkKeepsMapping,
    WalkOwnTree,
    WalkPinEarly,
    WalkUpToL2,
)

PARTS = {
    "placement": "where the pages for tables lie",
    "mask": "which leaves are written read-only",
    "early": "which temporary mappings of tables are writable",
    "publish": "when a page becomes known as a table",
    "hook": "what is done when a table is entered into the one above",
    "release": "what becomes of pages set aside and not used",
    "access": "how tables are reached while they are built",
    "order": "whether an L1 is filled or hooked first",
    "store": "how a leaf is written",
    "batching": "whether updates are put off into multicalls",
}

_NO_RELEASE = {
    "release": keep_all,
    "before_leaf_store": None,
    "finish": nothing,
    "state": object,
}

WAYS: dict[str, dict[str, dict[str, Any]]] = {
    "placement": {
        "low": {"placement": below_mapped},
        "top": {"placement": top_of_range},
        "mapped": {"placement": None},
    },
    "mask": {
        "none": {"mask": EarlySlotsOnly()},
        "end": {"mask": ReadOnlyBuffer(until="used_end")},
        "top": {"mask": ReadOnlyBuffer(until="top")},
        "set": {"mask": KnownTables()},
    },
    "early": {
        "last-page": {"early": all_but_last_page},
        "all": {"early": always_writable},
    },
    "publish": {word: {"publish": word} for word in ("none", "reserve", "alloc", "hook")},
    "hook": {
        "pin": {"hook": PIN_AND_HOOK},
        "pin-writable": {"hook": shadow.hook},
        "walk": {"hook": hook_walk_literal.hook},
        "walk-leaves": {"hook": hook_walk.hook},
        "patch": {"hook": patch_alias.hook},
        "walk-own-tree": {"hook": WalkOwnTree()},
        "walk-children-only": {"hook": WalkChildrenOnly()},
        "walk-up-to-l2": {"hook": WalkUpToL2()},
        "walk-pin-early": {"hook": WalkPinEarly()},
        "walk-keeps-mapping": {"hook": WalkKeepsMapping()},
    },
    "release": {
        "none": _NO_RELEASE,
        "each": _NO_RELEASE | {"release": make_left_over_writable},
        "batched": _NO_RELEASE | {"release": free_left_over_at_once},
        "polled": {field: getattr(ro_window, field) for field in _NO_RELEASE},
    },
    "access": {word: {"access": word} for word in ("early", "early-new", "direct")},
    "order": {"fill-first": {"hook_first": False}, "hook-first": {"hook_first": True}},
    "store": {"plain": {"leaf_updates": False}, "mmu-update": {"leaf_updates": True}},
    "batching": {"none": {"batching": None}},
}
"""Part -> word -> fields of :class:`Strategy` with their values."""

# What each leaf store looks at.
_LEAF_COST = {"none": None, "end": "pte_check_scalar", "top": "pte_check_scalar",
              "set": "set_lookup"}  # fmt: skip
_POLLING_COST = ro_window.leaf_cost

OWN = "own"
"""The word for a way that has none: a user's own part, or what the walk itself decides."""

Words = Mapping[str, str | int]


class Senseless(ValueError):
    """Parts that do not go together; the message says why."""


def parts_of(strategy: Strategy) -> dict[str, str | int]:
    """The word of each part of a strategy, or a number of entries for batching."""
    return {part: _word(strategy, part) for part in PARTS}


def recombine(strategy: Strategy, words: Words) -> Strategy:
    """A strategy with the parts that ``words`` name in place of its own.

    Raises:
        Senseless: the parts do not go together.
        KeyError: there is no such part or word.
    """
    before = parts_of(strategy)
    changed = {part: word for part, word in words.items() if before[part] != word}
    if not changed:
        return strategy
    parts = before | changed
    fault = _fault(strategy, parts, changed)
    if fault is not None:
        raise Senseless(fault)
    fields: dict[str, Any] = {}
    for part, word in changed.items():
        fields |= {"batching": word} if isinstance(word, int) else WAYS[part][word]
    if "mask" in changed or "release" in changed:
        mask = _LEAF_COST.get(str(parts["mask"]), strategy.leaf_cost)
        fields["leaf_cost"] = _POLLING_COST if parts["release"] == "polled" else mask
    return replace(strategy, **fields)


def _word(strategy: Strategy, part: str) -> str | int:
    if part in strategy.own_ways:
        return OWN
    if part == "access":
        return strategy.access or strategy.kernel.access
    if part == "batching" and strategy.batching is not None:
        return strategy.batching
    if strategy.mask is None and part in ("mask", "early"):
        return {"mask": "none", "early": "all"}[part]
    for word, fields in WAYS[part].items():
        if all(getattr(strategy, field) == value for field, value in fields.items()):
            return word
    return OWN


def _fault(strategy: Strategy, parts: Words, changed: Words) -> str | None:
    """Why these parts make no sense together, if they do not."""
    name = strategy.name
    for part in changed:
        if part in strategy.own_ways:
            return f"{name} has a way of its own there ({PARTS[part]})"
    placement, mask, publish, release = (
        parts[part] for part in ("placement", "mask", "publish", "release")
    )
    if strategy.placement is not None:
        if placement == "mapped":
            return (
                f"{name} reserves a buffer for its tables before it maps anything; only the walk "
                "of the mapped-only strategies takes them from mapped memory one by one"
            )
    elif (missed := _needs_buffer(parts)) is not None:
        return (
            f"{name} takes its tables one by one from mapped memory: there is no buffer that "
            f"{missed}"
        )
    elif parts["access"] != "direct" or parts["early"] != "all":
        return f"{name} reaches its tables where the direct map has them, and maps none early"
    elif parts["order"] != "fill-first":
        return f"{name} has a walk that fills its tables before they are hooked"
    asks_set = mask == "set" or _looks_for_known(parts["hook"])
    if mask == "set" and publish == "none":
        return 'no page would ever be in the set that the mask asks; publish = "none"'
    if asks_set and publish == "none":
        return f'the walk would know no table to look for; hook = "{parts["hook"]}"'
    if not asks_set and publish != "none" and OWN not in (mask, publish, parts["hook"]):
        return (
            f'nobody would ask whether a page is published as a table: mask = "{mask}", '
            f'hook = "{parts["hook"]}"; leave publish at "none"'
        )
    whole_buffer = mask in ("top", OWN) or (publish == "reserve" and asks_set)
    if release not in ("none", OWN) and not whole_buffer:
        return (
            f'mask = "{mask}" leaves no page read-only that is no table, so there is nothing to '
            f'give back; leave release at "none"'
        )
    return None


def _needs_buffer(parts: Words) -> str | None:
    """What these parts would do with a buffer, if there were one."""
    if parts["placement"] != "mapped":
        return "could be placed"
    if parts["mask"] in ("end", "top"):
        return "a mask could cover"
    if parts["publish"] == "reserve":
        return "could be published"
    if parts["release"] != "none":
        return "could be left over"
    return None


def _looks_for_known(word: str | int) -> bool:
    """Does this way of hooking ask for the known tables?"""
    hook = WAYS["hook"].get(str(word), {}).get("hook")
    return isinstance(hook, WalkLeaves) and not isinstance(hook, WalkOwnTree)
