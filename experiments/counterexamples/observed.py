"""One execution, seen step by step: where each vCPU was, what it touched, what came of it."""

import re
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from experiments.subjects.orders import Explored
from sim.explore.cpu import Cpu
from sim.explore.execution import Execution, Scheduler
from sim.explore.places import place_of
from sim.explore.program import Finding
from sim.footprint import Access, Kind
from sim.tape import Diverged


class Step(NamedTuple):
    """A visible step of a vCPU, or of a run on the clock."""

    number: int
    vcpu: int
    guest: tuple[str, ...]
    """The guest's routines that the vCPU was in the middle of, the outermost first ..."""
    inside: tuple[str, ...]
    """... and the hypervisor's, if it began there."""
    module: str
    """Of the innermost of all these."""
    kind: str
    """step, acquire, release, wait, acks, interrupt or idle; of a run on the clock, as it tells."""
    lock: Hashable = None
    accesses: tuple[Access, ...] = ()
    sent_to: tuple[int, ...] = ()
    """vCPUs to which it sent interrupts."""
    window: bool | None = None
    """Was the window open when the step began?"""
    time_ns: int | None = None

    @property
    def hypervisor(self) -> bool:
        """Did it begin in the hypervisor?"""
        return bool(self.inside)

    @property
    def routine(self) -> str:
        """The innermost one."""
        return (self.guest + self.inside)[-1] if self.guest or self.inside else ""

    @property
    def line(self) -> str:
        """The step as a file has it."""
        lock = "" if self.lock is None else f" {self.lock}"
        mode = "hypervisor" if self.hypervisor else "guest"
        return f"{self.vcpu} {mode} {self.routine}: {self.kind}{lock}"


@dataclass(frozen=True)
class Observed:
    """An execution and its steps."""

    steps: tuple[Step, ...]
    lines: tuple[str, ...]
    """Of all steps that began, as files have them."""
    finding: Finding | None
    execution: Execution | None
    """None: it left its tape."""
    diverged: Diverged | None = None


def observe(explored: Explored, scheduler: Scheduler) -> Observed:
    """Run the program as the scheduler decides, and look at every step."""
    began: list[Step] = []

    def before(cpu: Cpu) -> None:
        place = place_of(cpu)
        ahead = cpu.before()
        began.append(
            Step(
                number=len(began),
                vcpu=cpu.number,
                guest=tuple(each.name for each in place.routines if not each.hypervisor),
                inside=tuple(each.name for each in place.routines if each.hypervisor),
                module=place.routines[-1].module if place.routines else "",
                kind="idle" if ahead is None else ahead.kind,
                lock=None if ahead is None else ahead.lock,
                window=explored.window_open(),
            )
        )

    lines = (step.line for step in began)
    try:
        execution = explored.program.run(scheduler, before=before)
    except Diverged as diverged:
        return Observed(tuple(began), tuple(lines), None, None, diverged=diverged)
    steps = tuple(
        step._replace(
            kind=seen.kind, lock=seen.lock, accesses=_touched(seen.accesses), sent_to=seen.sent_to
        )
        for step, seen in zip(began, execution.steps, strict=True)
    )
    return Observed(steps, tuple(lines), explored.program.judge(execution), execution)


def _touched(accesses: Iterable[Access]) -> tuple[Access, ...]:
    """Without what only tells again, for those who scan, that an entry was stored."""
    return tuple(access for access in accesses if access.kind is not Kind.STORE)


def from_lines(lines: Iterable[str], first: int = 0) -> list[Step]:
    """Steps from lines; those of a run on the clock begin with the time in ns."""
    steps = []
    for number, line in enumerate(lines, first):
        head, mode, told = re.split(r" (guest|hypervisor) ", line, maxsplit=1)
        inside = mode == "hypervisor"
        *time_ns, vcpu = head.split()
        routine, _, kind = told.partition(": ")
        kind, _, lock = kind.partition(" ")
        steps.append(
            Step(
                number,
                int(vcpu),
                guest=() if inside else (routine,),
                inside=(routine,) if inside else (),
                module="",
                kind=kind,
                lock=lock or None,
                time_ns=int(time_ns[0]) if time_ns else None,
            )
        )
    return steps
