"""A recorded run made again, and the first step where reality differs."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from itertools import zip_longest
from typing import Any

from experiments.code_version import code_version
from experiments.counterexamples.cause import cause
from experiments.counterexamples.conflicts import conflicts
from experiments.counterexamples.observed import Observed, Step, from_lines, observe
from experiments.counterexamples.repro import Repro
from experiments.subjects import orders as programs
from sim.explore.following import Repeating
from sim.explore.program import Finding
from sim.footprint import Access, Kind
from sim.recording import Enough, Recording, Replaying, StepDiffers, compare
from sim.tape import Diverged


@dataclass(frozen=True)
class Replay:
    """What came of making a run again."""

    title: str
    made: int
    """Steps that were as recorded."""
    recorded: int
    steps: tuple[Step, ...]
    """All of an explored run; of one on the clock, the last."""
    difference: str | None
    """The first step that differs, or another end; None: it is the recorded run."""
    finding: Finding | None
    """What this run ended with; None also where it was stopped on the way."""
    cut: bool
    """It was stopped after as many steps as were asked for."""
    cause: str = ""
    told: Callable[[Access], str] = str
    matters: Callable[[Hashable], bool] = bool
    other_code: bool = False
    """The recording was made with other source."""
    deterministic: bool | None = None
    """Two more runs were alike; None: nobody has looked."""

    @property
    def good(self) -> bool:
        """Is it the run that was recorded?"""
        return self.difference is None


def replay(repro: Repro, *, until: int | None = None, twice: bool = False) -> Replay:
    """Make the run again, up to so many steps; ``twice``: see whether two runs are alike.

    Raises:
        InputError: the file's program, tape or steps are none.
    """
    again = _timed if repro.mode == "timed" else _explored
    done = again(repro, until, twice=twice)
    recorded_with = repro.versions.get("code", "")
    kinds = programs.TIMED if repro.mode == "timed" else programs.EXPLORED
    code = code_version(programs.module_of(repro.program, kinds))
    return replace(done, other_code=recorded_with not in ("", code))


def _explored(repro: Repro, until: int | None, *, twice: bool) -> Replay:
    explored = programs.explored(repro.program)
    tape = repro.read_tape()
    # Once beforehand: what the run changes is then known, and whoever reads it is noted.
    observe(explored, Repeating(tape, until=until, stopped=repro.stopped))
    scheduler = Repeating(tape, until=until, stopped=repro.stopped)
    observed = observe(explored, scheduler)
    difference = _first_difference(repro.lines, observed.lines)
    made = _alike(repro.lines, observed.lines) if repro.lines else len(observed.lines)
    if difference is None and observed.diverged is not None:
        difference = f"step {len(observed.lines)}: {observed.diverged}"
    if difference is None:
        try:
            scheduler.end()
        except Diverged as left:
            difference = f"the run ended after {len(observed.lines)} steps: {left}"
    finding = None if scheduler.cut else observed.finding
    if difference is None and not scheduler.cut:
        difference = _other_end(repro, finding)
    said = ""
    if finding is not None:
        said = cause(explored, observed, conflicts(observed.steps, explored.matters))
    deterministic = None
    if twice:
        again = observe(explored, Repeating(tape, until=until, stopped=repro.stopped))
        deterministic = _same(observed, again)
        difference = difference or _unlike(observed, again)
    return Replay(
        title=explored.title,
        made=made,
        recorded=repro.steps,
        steps=observed.steps,
        difference=difference,
        finding=finding,
        cut=scheduler.cut,
        cause=said,
        told=explored.told,
        matters=explored.matters,
        deterministic=deterministic,
    )


def _timed(repro: Repro, until: int | None, *, twice: bool) -> Replay:
    program = programs.timed(repro.program)
    follower = Replaying(repro.read_tape(), repro.read_lines(), until=until)
    finding, difference, cut = None, None, False
    try:
        finding = program.run(follower)
        follower.end()
        difference = _other_end(repro, finding)
    except Enough:
        cut = True
    except StepDiffers as differs:
        difference = _differs(differs.number, differs.recorded, differs.made)
    except Diverged as diverged:
        difference = f"after {follower.steps} steps: {diverged}"
    deterministic = None
    if twice:
        first, second = Recording(), Recording()
        program.run(first)
        program.run(second)
        try:
            compare(first.lines(), second.lines())
            deterministic = first.tape == second.tape
        except StepDiffers as differs:
            deterministic = False
            said = _differs(differs.number, differs.recorded, differs.made)
            difference = difference or f"two runs are not alike: {said}"
    last = from_lines(follower.last, follower.steps - len(follower.last))
    return Replay(
        title=program.title,
        made=follower.steps,
        recorded=repro.steps,
        steps=tuple(last),
        difference=difference,
        finding=finding,
        cut=cut,
        deterministic=deterministic,
    )


def _first_difference(recorded: Sequence[str], made: Sequence[str]) -> str | None:
    """The first step that is another one. Why a run is over too early, its tape says."""
    number = _alike(recorded, made)
    if not recorded or number == len(made):
        return None
    was = recorded[number] if number < len(recorded) else None
    return _differs(number, was, made[number])


def _differs(number: int, was: str | None, now: str | None) -> str:
    """The first step that differs, in words."""
    return (
        f"step {number} was recorded as {_said(was)}, and is {_said(now)} now"
        if now is not None
        else f"step {number} was recorded as {_said(was)}, and this run has ended before it"
    )


def _said(line: str | None) -> str:
    """A recorded line in words."""
    if line is None:
        return "the end of the run"
    [step] = from_lines([line])
    lock = "" if step.lock is None else f" {step.lock}"
    mode = "hypervisor" if step.hypervisor else "guest"
    when = "" if step.time_ns is None else f" at {step.time_ns:,} ns"
    return f"vCPU {step.vcpu}, {mode}, {step.routine}: {step.kind}{lock}{when}"


def _alike(recorded: Sequence[str], made: Sequence[str]) -> int:
    """How many steps are the same, from the first on."""
    for number, (one, other) in enumerate(zip_longest(recorded, made)):
        if one != other:
            return number
    return len(made)


def _other_end(repro: Repro, finding: Finding | None) -> str | None:
    """Did the run end with something else than it had?"""
    was = None if repro.finding is None else (repro.finding.kind, repro.finding.message)
    if was == finding:
        return None
    return (
        f"every step is the same, but the run ended with {_end(was)}, and ends with "
        f"{_end(finding)} now"
    )


def _end(finding: tuple[str, str] | None) -> str:
    return "no failure" if finding is None else f"{finding[0]} ({finding[1]})"


def _same(one: Observed, other: Observed) -> bool:
    return (one.steps, one.lines, one.finding) == (other.steps, other.lines, other.finding)


def _unlike(one: Observed, other: Observed) -> str | None:
    """The first step in which two runs of the same tape differ, by what they touched."""
    if _same(one, other):
        return None
    for first, second in zip(one.steps, other.steps, strict=False):
        if first != second:
            return (
                f"two runs of one tape differ in step {first.number}: {first.line}, {second.line}"
            )
    return "two runs of one tape end differently"


def purpose(step: Step) -> str:
    """The first line of the docstring of the routine that makes a step; empty if unknown."""
    if not step.module:
        return ""
    found: Any = import_module(step.module)
    for name in step.routine.split("."):
        found = getattr(found, name, None)
    text = getattr(found, "__doc__", None) or ""
    return str(text).partition("\n")[0]


def touched(done: Replay, step: Step) -> list[str]:
    """What a step changed, and which of the words that matter it looked at."""
    lines = []
    for access in step.accesses:
        if access.kind is Kind.SCAN:
            lines.append(f"looks through {done.told(access)}")
        elif access.before != access.after:
            lines.append(f"changes {done.told(access)}")
        elif done.matters(access.word):
            lines.append(f"reads {done.told(access)}")
    return lines


def replay_document(done: Replay, *, explain: bool) -> dict[str, Any]:
    """The answer of ``replay`` as one document."""
    return {
        "schema": "pinlab.replay/1",
        "program": done.title,
        "reproduced": done.good,
        "steps_made": done.made,
        "steps_recorded": done.recorded,
        "stopped_on_the_way": done.cut,
        "difference": done.difference,
        "other_code": done.other_code,
        "deterministic": done.deterministic,
        "finding": None if done.finding is None else done.finding._asdict(),
        "cause": done.cause,
        "steps": [_step(done, step, explain=explain) for step in done.steps],
    }


def _step(done: Replay, step: Step, *, explain: bool) -> dict[str, Any]:
    said: dict[str, Any] = {
        "number": step.number,
        "vcpu": step.vcpu,
        "mode": "hypervisor" if step.hypervisor else "guest",
        "routines": [*step.guest, *step.inside],
        "kind": step.kind,
    }
    if step.lock is not None:
        said["lock"] = str(step.lock)
    if step.time_ns is not None:
        said["time_ns"] = step.time_ns
    if explain and step.time_ns is None:
        said["touches"] = touched(done, step)
        said["window"] = step.window
        said["purpose"] = purpose(step)
    return said
