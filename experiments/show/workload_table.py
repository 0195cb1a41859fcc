"""The record of a workload of processes as a table for people."""

from rich.table import Table
from rich.text import Text

from experiments.record.record import Record


def per_iteration_table(record: Record) -> Table:
    """What the hypervisor counted in each iteration, a line a counter."""
    table = Table.grid(padding=(0, 3, 0, 0))
    table.add_column()
    table.add_column(justify="right")
    heading = f"{record.workload}: per iteration, mean of {record.iterations}"
    table.add_row(Text(heading, style="bold"), "")
    for group, counts in (record.per_iteration or {}).items():
        table.add_row(Text(group, style="dim"), "")
        for key, count in counts.items():
            table.add_row(f"  {key}", f"{count:,.3f}".rstrip("0").rstrip("."))
    return table
