"""Run records as tables for people: strategies side by side, and a single run."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from experiments.record.record import BufferRange, Failure, Interval, Record, Replications
from experiments.scenario.quantities import DURATION_UNITS, duration_unit, format_duration
from experiments.show.workload_table import per_iteration_table

Ranking = Mapping[str, Any]
"""What :func:`experiments.odds.robustness.robustness` has found."""


class Line(NamedTuple):
    """One line of a table: the sum of some values from one group of a record."""

    label: str
    group: str
    keys: tuple[str, ...]
    is_duration: bool = False

    def value(self, record: Record) -> int | None:
        """What the line shows of a record, durations in ns; None: nobody measured it."""
        group = getattr(record, self.group)
        values = [None if group is None else getattr(group, key) for key in self.keys]
        known = [value for value in values if value is not None]
        return sum(known) if len(known) == len(values) else None


# The first line of a section is its head. Traps are what entered Xen; the lines below them count
# calls, made directly or as an entry of a multicall.
HYPERCALLS = (
    Line("hypercalls (traps)", "counts", ("traps",)),
    Line("  update_va_mapping", "counts", ("update_va_mapping",)),
    Line("  mmuext_op", "counts", ("mmuext_op",)),
    Line("    pins", "counts", ("pin_l1", "pin_l2", "pin_l3", "pin_l4")),
    Line("    TLB flushes", "counts", ("tlb_flush",)),
    Line("  mmu_update", "counts", ("mmu_update",)),
    Line("  multicall", "counts", ("multicall",)),
)
WORK = (
    Line("ptwr emulations", "counts", ("ptwr",)),
    Line("entries validated", "counts", ("validated_entries",)),
    Line("leaf lookups", "counts", ("mask_lookups",)),
)
PAGES = (
    Line("table pages", "pages", ("tables",)),
    Line("  reserved", "pages", ("reserved",)),
    Line("  left over", "pages", ("left_over",)),
    Line("  left read-only", "pages", ("left_read_only",)),
)
TIME = (
    Line("time", "time_ns", ("total",), is_duration=True),
    Line("  guest", "time_ns", ("guest",), is_duration=True),
    Line("  hypervisor", "time_ns", ("hypervisor",), is_duration=True),
    Line("  TLB", "time_ns", ("tlb",), is_duration=True),
    Line("  waiting", "time_ns", ("lock_wait", "steal"), is_duration=True),
    Line("  idle", "time_ns", ("idle",), is_duration=True),
)
HAZARD = (
    Line("hazard windows", "hazard", ("windows",)),
    Line("  unreachable", "hazard", ("unreachable",)),
    Line("  open in all", "hazard", ("open_ns_total",), is_duration=True),
    Line("  open longest", "hazard", ("open_ns_max",), is_duration=True),
)

LEGEND = (
    "A hazard window is open while a frame that has become a page table still has a writable "
    "alias. Unreachable: no path to that alias was found, so it could not be made read-only. A run "
    "that failed is counted up to its failure."
)

_LABEL_WIDTH = 22
_COLUMN_WIDTH = 13
_CONSOLE_LINES = 20
"""Shown of a failure's console; a record holds all of them."""


def compare_table(
    rows: Sequence[Record],
    width: int,
    ranking: Ranking | None = None,
    left_out: Mapping[str, str] | None = None,
) -> RenderableType:
    """Strategies side by side, as many as fit ``width``; the rest below; then every failure.

    What all have in common is the :func:`heading`, which goes above it.

    ``ranking``: what other latencies make of it, between the two. ``left_out``: strategies to
    which the scenario's parts cannot be applied, and why.
    """
    parts: list[RenderableType] = []
    fitting = max(1, (width - _LABEL_WIDTH) // _COLUMN_WIDTH)
    for first in range(0, len(rows), fitting):
        parts += ["", _strategies(rows[first : first + fitting])]
    parts += ["", Text(LEGEND, style="dim")]
    if rows[0].replications is not None:
        parts.append(Text(_about_replications(rows[0].replications), style="dim"))
    if ranking is not None:
        parts += ["", _ranking(ranking)]
    for strategy, why in (left_out or {}).items():
        parts += ["", Text(f"left out: {strategy}. {why[:1].upper()}{why[1:]}.")]
    for row in rows:
        if row.failure is not None:
            parts += ["", _failure(row, row.failure)]
    return Group(*parts)


def _ranking(ranking: Ranking) -> RenderableType:
    """Who is the fastest how often over a profile's ranges, and what decides."""
    if not ranking["wins"]:
        return Text("No strategy boots: there is no fastest one.")
    table = Table.grid(padding=(0, 3, 0, 0))
    table.add_row(Text("fastest in", style="bold"), "")
    for strategy, share in ranking["wins"].items():
        table.add_row(f"  {strategy}", Text(f"{share:.1%}", justify="right"))
    if ranking["decides"]:
        table.add_row("", "")
        table.add_row(Text("decides", style="bold"), "alone", "with others")
    for index in ranking["decides"]:
        table.add_row(
            f"  {index['parameter']}",
            Text(f"{index['first_order']:.0%}", justify="right"),
            Text(f"{index['total_order']:.0%}", justify="right"),
        )
    return Group(table, "", Text(_about_ranking(ranking), style="dim"))


def _about_ranking(ranking: Ranking) -> str:
    first_place = (
        "Who is the fastest is open: it depends on latencies."
        if ranking["open"]
        else "The fastest is the same with all of them."
    )
    said = (
        f"Of {ranking['samples']:,} price lists from the ranges of the latency profile. "
        f"{first_place}"
    )
    if ranking["decides"]:
        first, second = ranking["between"]
        said += (
            f" What decides: the shares of the variance of the difference between {first} and "
            f"{second} that a latency explains (Sobol' indices)."
        )
    return said


def _about_replications(summary: Replications) -> str:
    return (
        f"Means of {summary.n} boots with 95 % intervals; the baseline is "
        f"{summary.baseline}, and differences are of boots that drew the same numbers."
    )


def run_table(record: Record) -> RenderableType:
    """One run: its verdict, the figures, where the time went, what failed and why."""
    figures = Table.grid(padding=(0, 3, 0, 0))
    figures.add_row(
        _figures(record, HYPERCALLS, WORK),
        _figures(record, PAGES, HAZARD),
        _figures(record, TIME),
    )
    parts: list[RenderableType] = [
        _machine(record).append(f", {record.strategy}: ").append_text(verdict(record)),
        *_recombined(record),
        figures,
    ]
    if record.time_by_cost_ns:
        parts += ["", _dearest(record.time_by_cost_ns)]
    parts += [_buffer(buffer) for buffer in record.buffers or ()]
    parts += [Text(f"{name} at {address}") for name, address in (record.allocations or {}).items()]
    if record.per_iteration is not None:
        parts += ["", per_iteration_table(record)]
    if record.failure is not None:
        parts += ["", _failure(record, record.failure)]
    return Group(*parts)


def heading(record: Record) -> RenderableType:
    """What all runs of a comparison have in common."""
    return Group(_machine(record), *_recombined(record))


def _machine(record: Record) -> Text:
    text = Text(f"{record.scenario}: Xen {record.xen}, {record.profile}")
    return text.append(f", seed {record.seed}")


def _recombined(record: Record) -> list[Text]:
    """The parts that are not the strategy's own."""
    words = ", ".join(f"{part} = {word}" for part, word in record.recombined.items())
    return [Text(f"in place of the strategy's own: {words}", style="bold")] if words else []


def verdict(record: Record) -> Text:
    """How a run has come out, in the colour of that."""
    styles = {"ok": "bold green", "latent": "bold yellow"}
    return Text(record.outcome, style=styles.get(record.outcome, "bold red"))


def _strategies(rows: Sequence[Record]) -> Table:
    """A column a strategy: its name, its verdict and all sections."""
    table = Table.grid()
    table.add_column(width=_LABEL_WIDTH)
    for _ in rows:
        table.add_column(width=_COLUMN_WIDTH, justify="right", vertical="bottom")
    table.add_row("", *(_folded(row.strategy) for row in rows))
    table.add_row(Text("verdict", style="bold"), *(verdict(row) for row in rows))
    for section in (HYPERCALLS, WORK, PAGES, TIME):
        _add_section(table, section, rows)
    if rows[0].replications is not None:
        _add_estimates(table, rows)
    _add_section(table, HAZARD, rows)
    return table


def _add_estimates(table: Table, rows: Sequence[Record]) -> None:
    """Means over the replications with their intervals, and the differences to the baseline."""
    summaries = [row.replications for row in rows if row.replications is not None]
    totals: list[Interval | None] = [summary.time_ns.total for summary in summaries]
    differences = [summary.difference_ns for summary in summaries]
    unit = duration_unit(round(max(summary.time_ns.total.mean for summary in summaries)))
    for head, estimates in (
        (f"mean of {summaries[0].n}", totals),
        ("to the baseline", differences),
    ):
        table.add_row()
        for label, key in ((f"{head} ({unit})", "mean"), ("  95 % from", "low"), ("  to", "high")):
            table.add_row(
                Text(label, style="bold" if key == "mean" else ""),
                *(
                    _number(None if one is None else round(getattr(one, key)), unit)
                    for one in estimates
                ),
            )


def _figures(record: Record, *sections: Sequence[Line]) -> Table:
    """The sections of one record below each other."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(justify="right")
    for section in sections:
        _add_section(table, section, [record])
    return table


def _folded(strategy: str) -> Text:
    """A strategy's name, on two lines where a column has no room for it."""
    head, hyphen, tail = strategy.rpartition("-")
    fits = len(strategy) < _COLUMN_WIDTH
    return Text(strategy if fits else f"{head}{hyphen}\n{tail}", style="bold")


def _add_section(table: Table, section: Sequence[Line], rows: Sequence[Record]) -> None:
    """The lines of which somebody has a figure; the first is the head."""
    head = section[0]
    if all(head.value(row) is None for row in rows):
        return
    table.add_row()
    for line in section:
        values = [line.value(row) for row in rows]
        # The parts of a duration are shown in the unit of the whole, to be compared with it.
        scale = [head.value(row) for row in rows] if head.is_duration else values
        known = [value for value in scale if value is not None]
        if not known:
            continue
        unit = duration_unit(max(known)) if line.is_duration else None
        label = Text(line.label, style="bold" if line is head else "")
        if unit and (line is head or not head.is_duration):
            label.append(f" ({unit})")
        table.add_row(label, *(_number(value, unit) for value in values))


def _number(value: int | None, unit: str | None) -> Text:
    if value is None:
        return Text("-", style="dim")
    divisor = DURATION_UNITS[unit] if unit else 1
    text = f"{value:,}" if divisor == 1 else f"{value / divisor:,.3f}"
    return Text(text, style="" if value else "dim")


def _dearest(time_by_cost_ns: Mapping[str, int]) -> Text:
    """The costs on which most of the time went."""
    costs = sorted(time_by_cost_ns.items(), key=lambda cost: -cost[1])[:4]
    shown = (f"{key} {format_duration(spent_ns)}" for key, spent_ns in costs)
    return Text(f"most time on: {', '.join(shown)}")


def _buffer(buffer: BufferRange) -> Text:
    return Text(f"table buffer {buffer.start} to {buffer.top}, used up to {buffer.end}")


def _failure(record: Record, failure: Failure) -> RenderableType:
    """What failed where, in Xen's own words, and what that means."""
    head = Text(record.strategy, style="bold")
    head.append(": ").append_text(verdict(record))
    head.append(f" ({failure.kind}) on vCPU {failure.vcpu}")
    if failure.time_ns is not None:
        head.append(f" after {format_duration(failure.time_ns)}")
    # Unwrapped, so that a line can be searched for.
    console = [
        Text(f"(XEN) {line}", no_wrap=True, overflow="ignore", style="red")
        for line in failure.console[:_CONSOLE_LINES]
    ]
    left = len(failure.console) - _CONSOLE_LINES
    if left > 0:
        console.append(Text(f"      and {left} lines more", style="dim"))
    console += [
        Text(line, no_wrap=True, overflow="ignore", style="red") for line in failure.guest_console
    ]
    return Group(head, *console, Text(failure.explanation))
