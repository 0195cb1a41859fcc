"""Races for people: what was found, and how probable it is."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from experiments.quantities import format_duration

Record = Mapping[str, Any]

_CONSOLE_LINES = 12


def race_table(record: Record) -> RenderableType:
    """What came of the search: the verdict, what was tried, and the failure in its own words."""
    race = record["race"]
    parts: list[RenderableType] = [
        Text(f"{race['id']}: {race['title']}", style="bold"),
        Text(f"{race['kind']}; the fix is {race['fix']}; {race['vcpus']} vCPUs; "
             f"Xen {record['xen']}{_other_fields(race)}"),
        "",
        _verdict(record),
        Text(tried(race)),
    ]  # fmt: skip
    for name, value in race["measured"].items():
        parts.append(Text(f"{name}: {value}"))
    failure = record["failure"]
    if failure is not None:
        parts += ["", Text(failure["explanation"])]
        for heading, lines in (
            ("the hypervisor prints", failure["console"]),
            ("the guest prints", failure["guest_console"]),
        ):
            if lines:
                parts += ["", Text(f"{heading}:", style="bold")]
                parts += [
                    Text(f"  {line}", no_wrap=True, overflow="ignore")
                    for line in lines[:_CONSOLE_LINES]
                ]
                if len(lines) > _CONSOLE_LINES:
                    parts.append(Text(f"  ... and {len(lines) - _CONSOLE_LINES} lines more"))
    parts += ["", Text(f"expected: {race['expected']}", style="dim")]
    return Group(*parts)


def _other_fields(race: Record) -> str:
    """What this race has changed in the hypervisor, with the fix and without."""
    changed = ", ".join(f"{name} = {value}" for name, value in race["hypervisor"].items())
    return f" with {changed}" if changed else ""


def _verdict(record: Record) -> Text:
    race = record["race"]
    if record["failure"] is None:
        return Text("ok: no failure was found", style="bold")
    return Text(f"{record['outcome']} ({race['detector']})", style="bold")


def tried(race: Record) -> str:
    """How much was tried, in words; a search that found nothing says how far it went."""
    number = race["tried"]
    if race["searched"] == "seeds":
        return f"{number:,} {'run' if number == 1 else 'runs'} on the clock"
    said = f"{number:,} {'order' if number == 1 else 'orders'} of steps"
    if "all_orders_with_switches" in race:
        said = f"{said}: all with up to {race['all_orders_with_switches']} forced switches"
        runs = race.get("runs_beside")
        return f"{said}; and {runs} runs on the clock" if runs else said
    return f"{said}; this one takes a vCPU off {race['switches']} times"


def odds_table(record: Record) -> RenderableType:
    """The estimate with its intervals, windows and near misses."""
    table = Table.grid(padding=(0, 3, 0, 0))
    for label, key in (("per run", "per_run"), ("per opportunity", "per_opportunity"),
                       ("per hour", "per_hour")):  # fmt: skip
        estimate = record[key]
        if estimate is not None:
            table.add_row(
                label,
                f"{estimate['mean']:.4g}",
                f"{estimate['low']:.4g} to {estimate['high']:.4g}",
            )
    table.add_row("runs", f"{record['runs']:,}", "")
    table.add_row("hits", f"{record['hits']:,}", "")
    table.add_row("opportunities", f"{record['opportunities']:,}", record["opportunity"])
    table.add_row("near misses", f"{record['near_misses']:,}", "in an open window, hits included")
    table.add_row("simulated time", format_duration(record["time_ns"]), "")
    window = record["window"]
    if window is not None:
        open_ns = window["mean_ns"] * window["count"]
        table.add_row(
            "windows",
            f"{window['count']:,}",
            f"mean {format_duration(round(window['mean_ns']))}, "
            f"median {format_duration(round(window['p50_ns']))}, "
            f"longest {format_duration(round(window['max_ns']))}; "
            f"open {open_ns / record['time_ns']:.3%} of the time",
        )
    values = record["settings"]
    return Group(
        Text(f"{record['race']}: {record['title']}", style="bold"),
        Text(f"the fix is {values['fix']}; {values['vcpus']} vCPUs; {values['profile']}; "
             f"mean gap {format_duration(values['gap_ns'])}"),
        "",
        table,
        "",
        Text(record["sentence"]),
        Text("Intervals hold the truth with 95 % confidence; they know nothing of what the "
             "latencies leave open. An hour is one of this workload.", style="dim"),
    )  # fmt: skip
