"""What there is to choose from: strategies, latency profiles, scenarios and parameters."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from models.profiles.catalogue import Cost, load_profile, profile_names
from models.profiles.meanings import MEANINGS

Kind = Literal["strategies", "races", "profiles", "scenarios", "parameters"]

Item = Mapping[str, Any]


def list_items(kind: Kind) -> Sequence[Item]:
    """All there is of one kind, as plain data."""
    match kind:
        case "strategies":
            return _strategies()
        case "races":
            from experiments.subjects.race import race_items

            return race_items()
        case "profiles":
            return _profiles()
        case "scenarios":
            return _scenarios()
        case "parameters":
            return _parameters()


def listing(items: Sequence[Item]) -> RenderableType:
    """The items as a table for people, a line each; durations in ns."""
    table = Table.grid(padding=(0, 2, 0, 0))
    if "costs" in items[0]:
        heads = ("cost in ns: mean (range)", *items[0]["costs"])
        table.add_row(*(Text(head, style="bold") for head in heads))
    for item in items:
        table.add_row(*_cells(item))
    return table


def _cells(item: Item) -> list[Text]:
    name = Text(item["name"], style="bold")
    if "costs" in item:
        return [name, *(Text(_cost(cost)) for cost in item["costs"].values())]
    cells = [name, Text(item["summary"])]
    if "actors" in item:
        cells.insert(1, Text(item["kind"]))
        cells.append(Text(", ".join(item["fix"]["commits"])))
    if "release" in item:
        cells.insert(1, Text(f"Linux {item['release']} {item['commit']}"))
    return cells


def _cost(cost: Mapping[str, float] | None) -> str:
    if cost is None:
        return "-"
    return f"{cost['value']:g} ({cost['low']:g}-{cost['high']:g})"


def _strategies() -> Sequence[Item]:
    from experiments.scenario.strategies import resolve, strategy_names
    from models.strategies.recombine import parts_of

    items = []
    for name in strategy_names():
        strategy = resolve(name)
        items.append(
            {
                "name": name,
                "summary": strategy.summary,
                "history": strategy.history,
                "policies": parts_of(strategy),
            }
        )
    return items


def _profiles() -> Sequence[Item]:
    profiles = [load_profile(name) for name in profile_names()]
    return [
        {
            "name": p.name,
            "summary": p.summary,
            "ghz": p.ghz,
            "validation_only": p.validation_only,
        }
        for p in profiles
    ]


def _scenarios() -> Sequence[Item]:
    from experiments.scenario.scenario import shipped

    return [scenario._asdict() for scenario in shipped()]


def _parameters() -> Sequence[Item]:
    """The costs of the profiles that can be run, by key; None where a profile lacks one."""
    profiles = [p for p in map(load_profile, profile_names()) if not p.validation_only]
    keys = dict.fromkeys(key for profile in profiles for key in profile.costs)
    return [
        {
            "name": key,
            "unit": "ns",
            "meaning": MEANINGS[key],
            "costs": {p.name: _range(p.costs.get(key)) for p in profiles},
        }
        for key in keys
    ]


def _range(cost: Cost | None) -> dict[str, float] | None:
    if cost is None:
        return None
    return {"value": cost.value_ns, "low": cost.low_ns, "high": cost.high_ns}
