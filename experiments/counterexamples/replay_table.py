"""A replayed run for a terminal: its steps, one a line, and how it ended."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from experiments.counterexamples.observed import Step
from experiments.counterexamples.replay import Replay, purpose, touched
from experiments.scenario.quantities import format_duration


def replay_table(done: Replay, *, explain: bool) -> RenderableType:
    """What was replayed, its steps, and whether it is the recorded run."""
    parts: list[RenderableType] = [Text(done.title, style="bold")]
    left_out = done.made - len(done.steps)
    if left_out > 0:
        parts.append(Text(f"... {left_out:,} steps before these", style="dim"))
    parts += [_steps(done, explain=explain), ""]
    parts.append(Text(_verdict(done), style="bold" if done.good else "bold red"))
    if done.deterministic is not None:
        said = "two more runs were alike" if done.deterministic else "two more runs were not alike"
        parts.append(Text(said))
    if done.finding is not None:
        parts += ["", Text(f"{done.finding.kind}: {done.finding.message}")]
        if explain and done.cause:
            parts.append(Text(done.cause))
    return Group(*parts)


def _verdict(done: Replay) -> str:
    if done.difference is not None:
        code = " (it was made with other code)" if done.other_code else ""
        return f"not the recorded run{code}: {done.difference}"
    if done.cut:
        return f"{done.made:,} of {done.recorded:,} steps replayed, as recorded"
    return f"all {done.made:,} steps replayed, as recorded"


def _steps(done: Replay, *, explain: bool) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for step in done.steps:
        when = f"{step.number}" if step.time_ns is None else format_duration(step.time_ns)
        mode = "hypervisor" if step.hypervisor else "guest"
        table.add_row(
            Text(when, style="dim"), f"vCPU {step.vcpu}", mode, _told(done, step, explain=explain)
        )
    return table


def _told(done: Replay, step: Step, *, explain: bool) -> Text:
    names = [name.rpartition(".")[2] for name in (step.guest + step.inside)]
    lock = "" if step.lock is None else f" {step.lock}"
    kind = "" if step.kind == "step" else f": {step.kind}{lock}"
    text = Text(" > ".join(names[-4:]) + kind)
    if not explain or step.time_ns is not None:
        return text
    why = purpose(step)
    if why:
        text.append(f"\n  {why}", style="dim")
    for line in touched(done, step):
        text.append(f"\n  {line}")
    return text
