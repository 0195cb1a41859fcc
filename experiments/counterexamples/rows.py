"""The rows of a diagram: steps that belong together, what they changed, who met whom."""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import NamedTuple

from experiments.counterexamples.conflicts import Conflict
from experiments.counterexamples.observed import Step
from experiments.scenario.quantities import format_duration
from sim.footprint import Access

_KEPT = 4
"""Rows of a vCPU's block that are shown before it is left; what was before is told in one."""
_DEPTH = 3
"""So many of the guest's routines name a row."""


class Detail(NamedTuple):
    """A line below the name of a row."""

    step: int
    text: str
    mark: str = ""
    """The letter of a conflict; empty where the access meets nobody's."""


class Row(NamedTuple):
    """Some consecutive steps of a vCPU on one side."""

    vcpu: int
    hypervisor: bool
    first: int
    last: int
    path: str
    """The guest's routines; of a row in the hypervisor, those that have called it."""
    name: str = ""
    """Of a row in the hypervisor: what it does."""
    details: tuple[Detail, ...] = ()
    window: bool | None = None
    """Was the window open at the last of them?"""
    left_out: bool = False
    """Stands for rows that are not shown."""
    time_ns: int | None = None

    @property
    def when(self) -> str:
        """The numbers of its steps; on the clock, the time of the last."""
        if self.time_ns is not None:
            return format_duration(self.time_ns)
        return f"{self.first}" if self.first == self.last else f"{self.first}-{self.last}"


def rows_of(
    steps: Sequence[Step],
    found: Sequence[Conflict] = (),
    told: Callable[[Access], str] = str,
    operation: Callable[[Sequence[str]], str] = " > ".join,
) -> list[Row]:
    """The rows of an execution, in its order.

    ``told`` puts an access into words, ``operation`` the hypervisor's routines.
    """
    details = _details(found, told)

    def belongs_to(step: Step) -> tuple[bool, str, str]:
        name = operation(step.inside) if step.hypervisor else ""
        return step.hypervisor, path_of(step), name

    rows: list[Row] = []
    for _, block in groupby(steps, lambda step: step.vcpu):
        of_block = [
            _row(path, name, list(group), details)
            for (_, path, name), group in groupby(block, belongs_to)
        ]
        rows += _shortened(of_block)
    return rows


def path_of(step: Step) -> str:
    """The guest's routines that a step is part of, without the actor that is all of it."""
    names = [name.rpartition(".")[2] for name in step.guest]
    return " > ".join(names[1 : 1 + _DEPTH] or names)


def marks(found: Sequence[Conflict]) -> dict[Conflict, str]:
    """A letter for each conflict: a, b, ..."""
    return {conflict: chr(ord("a") + number) for number, conflict in enumerate(found)}


def _details(found: Sequence[Conflict], told: Callable[[Access], str]) -> dict[int, list[Detail]]:
    details: dict[int, list[Detail]] = {}
    for conflict, mark in marks(found).items():
        for step, access in (
            (conflict.earlier, conflict.change), (conflict.later, conflict.met)
        ):  # fmt: skip
            details.setdefault(step.number, []).append(Detail(step.number, told(access), mark))
    return details


def _row(path: str, name: str, steps: list[Step], details: dict[int, list[Detail]]) -> Row:
    first, last = steps[0], steps[-1]
    lines: list[Detail] = []
    for step in steps:
        if not step.hypervisor and step.lock is not None:
            verb = {"acquire": "takes", "release": "gives back"}.get(step.kind, step.kind)
            lines.append(Detail(step.number, f"{verb} {step.lock}"))
        elif step.kind == "interrupt":
            lines.append(Detail(step.number, "is interrupted"))
        lines += [Detail(step.number, f"interrupts vCPU {vcpu}") for vcpu in step.sent_to]
        lines += sorted(details.get(step.number, []), key=lambda detail: detail.mark)
    return Row(
        vcpu=first.vcpu,
        hypervisor=first.hypervisor,
        first=first.number,
        last=last.number,
        path=path,
        name=name,
        details=tuple(lines),
        window=last.window,
        time_ns=last.time_ns,
    )


def _shortened(rows: list[Row]) -> list[Row]:
    """The last rows of a block, and those before that meet another vCPU; others told in one."""
    shown: list[Row] = []
    hidden: list[Row] = []
    for number, row in enumerate(rows):
        marked = any(detail.mark for detail in row.details)
        if marked or number >= len(rows) - _KEPT:
            shown += [*_summary(hidden), row]
            hidden = []
        else:
            hidden.append(row)
    return shown


def _summary(hidden: list[Row]) -> list[Row]:
    if len(hidden) <= 1:
        return hidden
    names = list(dict.fromkeys(row.path.partition(" > ")[0] for row in hidden if row.path))
    calls = sum(row.hypervisor for row in hidden)
    said = ", ".join(names)
    if calls:
        said = f"{said}; {calls} {'call' if calls == 1 else 'calls'}".removeprefix("; ")
    first, last = hidden[0], hidden[-1]
    return [
        Row(
            vcpu=first.vcpu,
            hypervisor=False,
            first=first.first,
            last=last.last,
            path=said,
            window=last.window,
            left_out=True,
            time_ns=last.time_ns,
        )
    ]
