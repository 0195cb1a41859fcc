"""The execution as a trace for Perfetto (ui.perfetto.dev) and chrome://tracing.

There is no clock in an explored execution: a step is drawn as a microsecond. Format: Trace Event
Format, https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU.
"""

from typing import Any

from experiments.counterexamples.counterexample import Counterexample
from experiments.counterexamples.observed import Step
from experiments.counterexamples.rows import marks, path_of

_SIDES = ("guest", "hypervisor")


def trace(found: Counterexample) -> dict[str, Any]:
    """A track for the guest and one for the hypervisor of each vCPU; arrows for conflicts."""
    explored, steps = found.explored, found.observed.steps
    events: list[dict[str, Any]] = [
        {"ph": "M", "name": "process_name", "pid": 0, "args": {"name": explored.title}}
    ]
    for vcpu in sorted({step.vcpu for step in steps}):
        for side, called in enumerate(_SIDES):
            track = 2 * vcpu + side
            label = {"name": f"vCPU {vcpu} {called}"}
            events += [
                {"ph": "M", "name": "thread_name", "pid": 0, "tid": track, "args": label},
                {"ph": "M", "name": "thread_sort_index", "pid": 0, "tid": track,
                 "args": {"sort_index": track}},
            ]  # fmt: skip
    for step in steps:
        name = explored.operation(step.inside) if step.hypervisor else path_of(step)
        arguments: dict[str, Any] = {"step": step.number, "routine": step.routine}
        if step.lock is not None:
            arguments["lock"] = f"{step.kind} {step.lock}"
        touched = [explored.told(access) for access in step.accesses]
        if touched:
            arguments["touches"] = touched
        events.append(
            {"ph": "X", "name": name, "cat": step.kind, "ts": step.number, "dur": 1,
             **_track(step), "args": arguments}
        )  # fmt: skip
    for conflict, mark in marks(found.conflicts).items():
        said: dict[str, Any] = {
            "name": explored.told(conflict.change),
            "cat": "conflict",
            "id": ord(mark),
        }
        begin, end = conflict.earlier, conflict.later
        events += [
            said | {"ph": "s", "ts": begin.number + 0.5} | _track(begin),
            said | {"ph": "f", "bp": "e", "ts": end.number + 0.5} | _track(end),
        ]
    if steps:
        events.append(
            {"ph": "i", "s": "g", "name": f"{found.finding.kind}: {found.finding.message}",
             "ts": steps[-1].number + 1, **_track(steps[-1])}
        )  # fmt: skip
    return {
        "traceEvents": events,
        "displayTimeUnit": "ns",
        "otherData": {"time": "one microsecond is one step", "cause": found.cause},
    }


def _track(step: Step) -> dict[str, Any]:
    return {"pid": 0, "tid": 2 * step.vcpu + step.hypervisor}
