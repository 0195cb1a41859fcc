"""Races for people: what was found, and how probable it is."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from experiments.record.record import RaceSearch, Record
from experiments.scenario.quantities import format_duration
from models.linux.multicall_buffer import MC_BATCH

Odds = Mapping[str, Any]
"""A document of ``pinlab odds``, or an estimate in it."""

_CONSOLE_LINES = 12


def race_table(record: Record, diagram: RenderableType | None = None) -> RenderableType:
    """What came of the search: the verdict, what was tried, and the failure in its own words.

    ``diagram``: the steps that lead to it.
    """
    race = record.race
    assert race is not None
    parts: list[RenderableType] = [
        Text(f"{race.id}: {race.title}", style="bold"),
        Text(f"{race.kind}; the fix is {race.fix}; {race.vcpus} vCPUs; "
             f"Xen {record.xen}{_other_fields(race)}"),
        "",
        _verdict(record, race),
        Text(tried(race)),
    ]  # fmt: skip
    for name, value in race.measured.items():
        parts.append(Text(f"{name}: {value}"))
    failure = record.failure
    if failure is not None:
        parts += ["", Text(failure.explanation)]
        for heading, lines in (
            ("the hypervisor prints", failure.console),
            ("the guest prints", failure.guest_console),
        ):
            if lines:
                parts += ["", Text(f"{heading}:", style="bold")]
                parts += [
                    Text(f"  {line}", no_wrap=True, overflow="ignore")
                    for line in lines[:_CONSOLE_LINES]
                ]
                if len(lines) > _CONSOLE_LINES:
                    parts.append(Text(f"  ... and {len(lines) - _CONSOLE_LINES} lines more"))
    if diagram is not None:
        parts += ["", diagram]
    parts += ["", Text(f"expected: {race.expected}", style="dim")]
    return Group(*parts)


def _other_fields(race: RaceSearch) -> str:
    """What this race has changed in the hypervisor, with the fix and without."""
    changed = ", ".join(f"{name} = {value}" for name, value in race.hypervisor.items())
    return f" with {changed}" if changed else ""


def _verdict(record: Record, race: RaceSearch) -> Text:
    if record.failure is None:
        return Text("ok: no failure was found", style="bold")
    return Text(f"{record.outcome} ({race.detector})", style="bold")


def tried(race: RaceSearch) -> str:
    """How much was tried, in words; a search that found nothing says how far it went."""
    number = race.tried
    if race.searched == "seeds":
        return f"{number:,} {'run' if number == 1 else 'runs'} on the clock"
    said = f"{number:,} {'order' if number == 1 else 'orders'} of steps"
    if race.all_orders_with_switches is not None:
        said = f"{said}: all with up to {race.all_orders_with_switches} forced switches"
        runs = race.runs_beside
        return f"{said}; and {runs} runs on the clock" if runs else said
    return f"{said}; this one takes a vCPU off {race.switches} times"


def odds_table(record: Odds) -> RenderableType:
    """The estimate with its intervals, windows and near misses."""
    table = Table.grid(padding=(0, 3, 0, 0))
    _add_estimates(table, record, "")
    average = record["time_average"]
    if average is not None:
        _add_estimates(table, average, ", by time")
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
            f"mean {format_duration(round(window['mean_ns'], 1))}, "
            f"median {format_duration(round(window['p50_ns']))}, "
            f"longest {format_duration(round(window['max_ns']))}; "
            f"open {open_ns / record['time_ns']:.3%} of the time",
        )
    parts: list[RenderableType] = [
        Text(f"{record['race']}: {record['title']}", style="bold"),
        Text(_settings(record["settings"])),
        "",
        table,
        "",
        Text(record["sentence"]),
    ]
    if average is not None:
        parts += [Text(f"by time, since {reason}", style="dim") for reason in average["because"]]
    elif record["no_time_average"]:
        parts.append(Text(f"no estimate by time: {record['no_time_average']}", style="dim"))
    parts.append(Text(_CAVEAT, style="dim"))
    return Group(*parts)


_CAVEAT = (
    "Intervals hold the truth with 95 % confidence; they know nothing of what the latencies leave "
    "open. An hour is one of this workload."
)


def _add_estimates(table: Table, record: Odds, by: str) -> None:
    for label, key in (("per run", "per_run"), ("per opportunity", "per_opportunity"),
                       ("per hour", "per_hour")):  # fmt: skip
        estimate = record.get(key)
        if estimate is not None:
            table.add_row(f"{label}{by}", f"{estimate['mean']:.4g}", _interval(estimate))


def _interval(estimate: Odds) -> str:
    if not estimate["mean"]:
        return f"below {estimate['high']:.3g}"
    return f"{estimate['low']:.4g} to {estimate['high']:.4g}"


def _settings(values: Odds) -> str:
    """What was set, in words."""
    said = [f"the fix is {values['fix']}", f"{values['vcpus']} vCPUs"]
    if values["pcpus"] != values["vcpus"] or values["load"]:
        said[-1] += f" on {values['pcpus']} pCPUs"
    if values["load"]:
        said.append(f"{values['load']} busy vCPUs of other domains")
    if values["scheduler"]:
        said.append(values["scheduler"])
    if values["batch"] != MC_BATCH:
        said.append(f"batches of {values['batch']}")
    said += [values["profile"]]
    said += [f"{cost} {format_duration(ns)}" for cost, ns in values["latency"].items()]
    return "; ".join([*said, f"mean gap {format_duration(values['gap_ns'])}"])


def odds_by_setting_table(record: Odds) -> RenderableType:
    """A row for each value of the setting, and how far it is from the first."""
    table = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False)
    for heading in (record["vary"], "hits", "runs", "per opportunity", "", "per hour", "",
                    "difference to the first"):  # fmt: skip
        table.add_column(heading, justify="left")
    for row in record["rows"]:
        one, hour, moved = row["per_opportunity"], row["per_hour"], row["difference"]
        said = ""
        if moved is not None:
            said = f"{moved['mean']:+.3g} ({moved['low']:+.3g} to {moved['high']:+.3g})"
        table.add_row(
            row["value"],
            f"{row['hits']:,}",
            f"{row['runs']:,}",
            "" if one is None else _mean(one),
            "" if one is None else _interval(one),
            _mean(hour),
            _interval(hour),
            said,
        )
    unseen = [row for row in record["rows"] if not row["hits"]]
    return Group(
        Text(f"{record['race']}: {record['title']}", style="bold"),
        Text(_settings(record["rows"][0]["settings"])),
        "",
        table,
        "",
        *(Text(f"{record['vary']}={row['value']}: {row['sentence']}") for row in unseen),
        Text("Differences are per opportunity, between runs that drew the same numbers.",
             style="dim"),
        Text(_CAVEAT, style="dim"),
    )  # fmt: skip


def _mean(estimate: Odds) -> str:
    return f"{estimate['mean']:.4g}" if estimate["mean"] else "not seen"
