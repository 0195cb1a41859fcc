"""The ``[strategy]`` section of a scenario: parts of a strategy in place of its own.

Its keys and words are those of :mod:`models.strategies.recombine`.
"""

from collections.abc import Iterable, Mapping
from typing import TypeAlias

import msgspec

from experiments.errors import InputError, offer
from experiments.scenario.strategies import resolve
from models.linux.boot.strategy import Strategy
from models.strategies.recombine import PARTS, WAYS, Senseless, recombine

Words: TypeAlias = dict[str, str | int]
"""A word for each part that is replaced; for batching perhaps a number of entries."""

_MOST_ENTRIES = 1024


def check_words(section: Mapping[str, object]) -> None:
    """Raise InputError, which names the key, unless these are parts and words for them."""
    for part, word in section.items():
        if part not in PARTS:
            raise InputError(f"unknown key strategy.{part}; {offer(part, list(PARTS))}")
        if isinstance(word, str) and word in WAYS[part]:
            continue
        written = f"strategy.{part} = {msgspec.json.encode(word, enc_hook=str).decode()}"
        known = ", ".join(WAYS[part])
        if part != "batching":
            raise InputError(f"{written} is none of {known}")
        if not isinstance(word, int) or isinstance(word, bool) or not 1 <= word <= _MOST_ENTRIES:
            raise InputError(
                f"{written} is neither {known} nor a number of entries from 1 to {_MOST_ENTRIES}"
            )


def composed(strategy: str | Strategy, words: Words) -> Strategy:
    """The strategy, or that of this name, with the parts that ``words`` name in place of its own.

    Raises:
        InputError: there is no such strategy, or the parts make no sense together.
    """
    plan = resolve(strategy)
    try:
        return recombine(plan, words)
    except Senseless as fault:
        raise InputError(f"{shown(words)} with {plan.name}: {fault}") from fault


def sensible(strategies: Iterable[str], words: Words) -> tuple[list[str], dict[str, str]]:
    """Those of the strategies that the words can be applied to, and why not to the others."""
    fitting, left_out = [], {}
    for strategy in strategies:
        try:
            recombine(resolve(strategy), words)
        except Senseless as fault:
            left_out[strategy] = str(fault)
        else:
            fitting.append(strategy)
    return fitting, left_out


def shown(words: Words) -> str:
    """The words as a scenario would write them, on one line."""
    return ", ".join(
        f"strategy.{part} = {msgspec.json.encode(word).decode()}" for part, word in words.items()
    )
