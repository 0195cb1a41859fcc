"""The diagram for a terminal: two columns, the guest and the hypervisor."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from experiments.counterexamples.counterexample import Counterexample
from experiments.counterexamples.rows import Row

_COLOURS = ("cyan", "yellow", "green", "magenta", "blue")


def diagram(found: Counterexample) -> RenderableType:
    """Title, cause, and the steps in two columns."""
    size = found.size
    vcpus = "one vCPU" if size.vcpus == 1 else f"{size.vcpus} vCPUs"
    switches = "one switch" if size.switches == 1 else f"{size.switches} switches"
    return Group(
        Text(f"{size.steps} steps of {vcpus}, {switches} between them", style="bold"),
        Text(found.cause),
        "",
        steps_table(found.rows),
        Text(f"  {found.finding.kind}: {found.finding.message}", style="bold red"),
        *([Text(_LEGEND, style="dim")] if any(row.window for row in found.rows) else []),
    )


_LEGEND = "|: the race's window is open; [a]: the same word, changed by one vCPU and met by another"


def steps_table(rows: Sequence[Row]) -> Table:
    """The rows, with a line where another vCPU goes on."""
    table = Table(show_edge=False, box=None, pad_edge=False, padding=(0, 1, 0, 0), expand=True)
    table.add_column("step", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("vCPU", no_wrap=True)
    table.add_column("guest", ratio=1, overflow="fold")
    table.add_column("hypervisor", ratio=1, overflow="fold")
    before: int | None = None
    for row in rows:
        if before not in (None, row.vcpu):
            table.add_section()
            table.add_row("", "", "", Text(f"--- vCPU {row.vcpu} goes on ---", style="dim"), "")
        before = row.vcpu
        cells = (Text(row.path, style="dim"), _cell(row)) if row.hypervisor else (_cell(row), "")
        table.add_row(
            Text(row.when, style="dim"),
            Text("|" if row.window else " ", style="red"),
            Text(f"{row.vcpu}", style=_COLOURS[row.vcpu % len(_COLOURS)]),
            *cells,
        )
    return table


def _cell(row: Row) -> Text:
    colour = _COLOURS[row.vcpu % len(_COLOURS)]
    name = row.name if row.hypervisor else row.path
    text = Text(f"... {name}" if row.left_out else name, style=colour)
    for detail in row.details:
        style = "bold red" if detail.mark else "dim"
        mark = f"[{detail.mark}] " if detail.mark else ""
        text.append(f"\n  {mark}{detail.text}", style=style)
    return text
