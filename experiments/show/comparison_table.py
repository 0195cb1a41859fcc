"""The lines that a comparison prints while it goes on: one for each strategy, when it is done."""

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.text import Text

from experiments.record.record import Record
from experiments.show.tables import heading, verdict

_WIDTHS = (10, 14, 16)
"""Of the columns behind the name."""


class Overview:
    """A line a strategy: verdict, hypercalls and time; above the first, what these are."""

    def __init__(self, strategies: Iterable[str]) -> None:
        """``strategies``: the names of all that will come, for their width."""
        self._name_width = max(len(strategy) for strategy in strategies)
        self._begun = False

    def lines(self, record: Record) -> RenderableType:
        """What is to be printed when this record is there."""
        line = self._line(
            record.strategy,
            verdict(record),
            Text(f"{record.counts.traps:,}"),
            Text("-" if (time := record.time_ns) is None else f"{time.total / 1e6:,.3f}"),
        )
        if self._begun:
            return line
        self._begun = True
        names = self._line("", Text("verdict"), Text("hypercalls"), Text("time (ms)"))
        names.stylize("dim")
        return Group(heading(record), "", names, line)

    def _line(self, name: str, *columns: Text) -> Text:
        line = Text(name.ljust(self._name_width), no_wrap=True, overflow="ignore")
        for width, column in zip(_WIDTHS, columns, strict=True):
            line.append(" " * (width - len(column))).append_text(column)
        return line
