"""The execution as a trace for Perfetto (ui.perfetto.dev) and chrome://tracing.

There is no clock in an explored execution: a step is drawn as a microsecond. Format: Trace Event
Format, https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU.
"""

from collections.abc import Sequence
from typing import Any

from experiments.counterexamples.counterexample import Counterexample
from experiments.counterexamples.observed import Step
from experiments.counterexamples.rows import marks, path_of
from sim.explore.program import Finding

_SIDES = ("guest", "hypervisor")


def trace(found: Counterexample) -> dict[str, Any]:
    """A track for the guest and one for the hypervisor of each vCPU; arrows for conflicts."""
    explored, steps = found.explored, found.observed.steps
    events = _tracks(explored.title, steps)
    for step in steps:
        name = explored.operation(step.inside) if step.hypervisor else path_of(step)
        touched = [explored.told(access) for access in step.accesses]
        events.append(_event(step, name, ts=step.number, dur=1, touched=touched))
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
    events += _end(steps, len(steps), found.finding)
    return {
        "traceEvents": events,
        "displayTimeUnit": "ns",
        "otherData": {"time": "one microsecond is one step", "cause": found.cause},
    }


def timed_trace(title: str, steps: Sequence[Step], finding: Finding) -> dict[str, Any]:
    """A run on the clock: each step from its vCPU's last one to its own time."""
    events = _tracks(title, steps)
    before: dict[int, float] = {}
    for step in steps:
        now = (step.time_ns or 0) / 1000
        begin = before.get(step.vcpu, now)
        events.append(_event(step, step.routine, ts=begin, dur=now - begin, touched=[]))
        before[step.vcpu] = now
    events += _end(steps, max(before.values(), default=0), finding)
    return {"traceEvents": events, "displayTimeUnit": "ns"}


def _tracks(title: str, steps: Sequence[Step]) -> list[dict[str, Any]]:
    """The names of the tracks, in their order."""
    events: list[dict[str, Any]] = [
        {"ph": "M", "name": "process_name", "pid": 0, "args": {"name": title}}
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
    return events


def _event(
    step: Step, name: str, *, ts: float, dur: float, touched: Sequence[str]
) -> dict[str, Any]:
    arguments: dict[str, Any] = {"step": step.number, "routine": step.routine}
    if step.lock is not None:
        arguments["lock"] = f"{step.kind} {step.lock}"
    if touched:
        arguments["touches"] = touched
    return {"ph": "X", "name": name, "cat": step.kind, "ts": ts, "dur": dur,
            **_track(step), "args": arguments}  # fmt: skip


def _end(steps: Sequence[Step], ts: float, finding: Finding) -> list[dict[str, Any]]:
    """The finding, where the last step was made."""
    said = f"{finding.kind}: {finding.message}"
    return [{"ph": "i", "s": "g", "name": said, "ts": ts, **_track(step)} for step in steps[-1:]]


def _track(step: Step) -> dict[str, Any]:
    return {"pid": 0, "tid": 2 * step.vcpu + step.hypervisor}
