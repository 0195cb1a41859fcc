"""The strategies and the races that there are, from what each says of itself."""

import inspect
from collections.abc import Iterator
from importlib import import_module

from experiments.scenario.strategies import resolve
from models.races.catalogue.index import RACES
from models.races.race import DETECTORS, Race
from models.strategies.catalogue import strategy_names
from models.strategies.recombine import parts_of
from tests.pages.text import head, item, paragraph, plain

_STRATEGIES_SAY = """A strategy is a way of publishing page tables to the hypervisor. These come
with PinLab, in the order of their history; `--strategy NAME` runs one, and `--strategy
path/to/file.py:name` one of your own ([writing a strategy](../guides/writing-a-strategy.md))."""

_RACES_SAY = """These are the races that Linux (R) and Xen itself (X) have had and that PinLab
models. `pinlab run R1 --set fix=off` looks for a failure of one; [races](../concepts/races.md)
tells how, and what can be claimed then."""


def strategies_page() -> str:
    """The page, as docs/reference/strategies.md has it."""
    made_from = "the modules in `models/strategies`"
    return "\n".join([head("Strategies", _STRATEGIES_SAY, made_from), *_strategies()])


def races_page() -> str:
    """The page, as docs/reference/races.md has it."""
    made_from = "the modules in `models/races/catalogue`"
    return "\n".join([head("Races", _RACES_SAY, made_from), *_races()])


def _strategies() -> Iterator[str]:
    for name in strategy_names():
        strategy = resolve(name)
        module = import_module(f"models.strategies.{name.replace('-', '_').replace('.', '_')}")
        yield f"## `{name}`\n"
        yield paragraph(f"*{_capital(strategy.summary)}* ({strategy.history}).") + "\n"
        yield paragraph(plain(inspect.getdoc(module) or "")) + "\n"
        parts = ", ".join(f"{part} `{word}`" for part, word in parts_of(strategy).items())
        yield paragraph(f"Parts: {parts}.") + "\n"


def _races() -> Iterator[str]:
    yield "| id | kind | race | seen by |\n|---|---|---|---|"
    for race in RACES.values():
        seen = ", ".join(race.detectors) or "-"
        kind = "no race" if race.kind == "checked-not-a-race" else race.kind
        yield f"| {race.id} | {kind} | {plain(race.title)} | {seen} |"
    yield "\n## Detectors\n"
    yield from (item(f"{name}: {sees}.") for name, sees in DETECTORS.items())
    yield ""
    for race in RACES.values():
        yield f"## {race.id}: {plain(race.title)}\n"
        yield paragraph(plain(race.story)) + "\n"
        yield from (item(line) for line in _facts(race))
        yield ""


def _facts(race: Race) -> Iterator[str]:
    yield f"Kind: {race.kind}; {race.vcpus} vCPU{'s' if race.vcpus > 1 else ''} at least."
    yield f"Actors: {plain('; '.join(race.actors))}."
    commits = f" ({', '.join(race.fix.commits)})" if race.fix.commits else ""
    yield f"Fix: {plain(race.fix.what)}{commits}."
    yield f"Without the fix: {plain(race.without_fix)}."
    yield f"With the fix: {plain(race.with_fix)}."
    if race.detectors:
        yield f"Seen by: {', '.join(race.detectors)}."
    if race.opportunity:
        yield f"An opportunity: {plain(race.opportunity)}."
    if race.limits:
        yield f"Left out: {plain(race.limits)}"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
