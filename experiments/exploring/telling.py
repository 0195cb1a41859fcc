"""An exploration for people: how far it is, and what came of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.text import Text

from experiments.counterexamples.terminal import diagram
from experiments.exploring.explore import Outcome, Progress

if TYPE_CHECKING:
    from experiments.run_log import RunLog

_EVERY = 5.0
"""Seconds between two records."""


def outcome_table(outcome: Outcome) -> RenderableType:
    """What was shown, and the failures."""
    parts: list[RenderableType] = [Text(outcome.program.title, style="bold")]
    if outcome.counterexamples:
        kinds = ", ".join(found.finding.kind for found in outcome.counterexamples)
        parts.append(Text(f"violation: {kinds}", style="bold red"))
    else:
        parts.append(Text("no violation", style="bold"))
    parts += [Text(f"* {claim}") for claim in outcome.claims]
    executions = sum(rung.executions for rung in outcome.rungs)
    parts.append(Text(f"{executions:,} executions in {outcome.seconds:,.1f} s", style="dim"))
    for found in outcome.counterexamples:
        parts += ["", diagram(found)]
    if outcome.witness is not None:
        parts += ["", Text(f"on the clock: {outcome.witness.sentence}")]
    return Group(*parts)


@contextmanager
def telling(logger: "RunLog | None") -> Iterator[Callable[[Progress], None]]:
    """Show how far it is: a line on stderr that goes away, or records if there is a logger."""
    if logger is not None:
        yield _records(logger)
        return
    with Console(stderr=True).status("exploring") as status:

        def tell(progress: Progress) -> None:
            status.update(_said(progress))

        yield tell


def _said(progress: Progress) -> str:
    said = f"{progress.executions:,} executions, {progress.per_second:,.0f}/s"
    if progress.left is not None:
        said += f", {progress.classes:,} interleavings; perhaps {progress.left:.0%} left"
    return said


def _records(logger: "RunLog") -> Callable[[Progress], None]:
    told = 0

    def tell(progress: Progress) -> None:
        nonlocal told
        if progress.executions / max(progress.per_second, 1e-9) >= told * _EVERY + _EVERY:
            told += 1
            logger.info(
                "exploring",
                executions=progress.executions,
                interleavings=progress.classes,
                per_second=round(progress.per_second),
                left=None if progress.left is None else round(progress.left, 3),
            )

    return tell
