"""All orders of a program or as many as a budget allows: the search, its record and its files."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from experiments.code_version import code_version
from experiments.counterexamples.counterexample import Counterexample, counterexample
from experiments.counterexamples.folder import write_counterexample, write_files
from experiments.errors import InputError
from experiments.exploring.all_orders import AllOrders, Limits, search_all_orders
from experiments.exploring.witness import Witness, witness
from experiments.exploring.worker import Found, until_failure
from experiments.provenance import provenance
from experiments.subjects.orders import EXPLORED, Explored, module_of
from experiments.subjects.race_orders import ExploredRace
from sim.explore.attempts import attempts, taped
from sim.explore.recheck import recheck
from sim.explore.searches.checkpoint import CheckpointError
from sim.explore.searches.dpor import ClassSearch, Position
from sim.explore.searches.few_switches import explore_few_switches
from sim.explore.searches.ladder import Budget, Ladder
from sim.explore.searches.rung import Rung, claims
from sim.tape import parse_tape

SCHEMA = "pinlab.explore/1"
CHECKPOINT = "checkpoint.json"
_SAVE_S = 5.0
_CLOCK_S = 20.0
"""For the search on the clock."""
_ENTRY = "experiments.exploring.worker"


@dataclass(frozen=True)
class Asked:
    """What somebody wants to know, and what it may take."""

    seconds: float
    executions: int | None
    every_finding: bool
    jobs: int
    seed: int
    out: Path | None
    on_the_clock: bool = True
    """Look whether a race's failure comes about there."""
    rechecks: bool = False
    """Make each execution again in an equivalent order: see :mod:`sim.explore.recheck`."""
    switches: int | None = None
    """Only orders that take a vCPU off so often, at most, while it could go on."""


@dataclass(frozen=True)
class Progress:
    """How far it is."""

    executions: int
    classes: int
    per_second: float
    left: float | None
    """An estimate of the part of all orders that is left to be tried; None: not known."""


@dataclass(frozen=True)
class Outcome:
    """What was tried, and what failed."""

    program: Explored
    asked: Asked
    rungs: list[Rung]
    counterexamples: list[Counterexample]
    seconds: float
    witness: Witness | None = None
    """Whether the failure comes about on the clock, where there is one."""

    @property
    def complete(self) -> bool:
        """Were all orders tried?"""
        return any(rung.search == "classes" and rung.complete for rung in self.rungs)

    @property
    def claims(self) -> list[str]:
        """What has been shown, and nothing beyond it."""
        return claims(self.rungs)

    def record(self) -> dict[str, Any]:
        """The whole as one document."""
        asked = self.asked
        return {
            "schema": SCHEMA,
            "provenance": provenance(
                {
                    "program": self.program.document,
                    "seconds": asked.seconds,
                    "executions": asked.executions,
                    "bound": asked.switches,
                    "all_findings": asked.every_finding,
                    "check_footprints": asked.rechecks,
                    "orders_only": not asked.on_the_clock,
                    "jobs": asked.jobs,
                },
                _ENTRY,
                module_of(self.program.document, EXPLORED),
                seed=asked.seed,
            ),
            "program": self.program.document,
            "title": self.program.title,
            "outcome": "violation" if self.counterexamples else "ok",
            "complete": self.complete,
            "claims": self.claims,
            "executions": sum(rung.executions for rung in self.rungs),
            "seconds": round(self.seconds, 3),
            "searches": [msgspec.to_builtins(rung) for rung in self.rungs],
            "findings": [
                {
                    "kind": found.finding.kind,
                    "message": found.finding.message,
                    "cause": found.cause,
                    "schedule": list(found.tape.schedule),
                    "tape": str(found.tape),
                    **found.size._asdict(),
                    "before": found.found_size._asdict(),
                }
                for found in self.counterexamples
            ],
            "witness": None if self.witness is None else asdict(self.witness),
        }


def explore(program: Explored, asked: Asked, tell: Callable[[Progress], None]) -> Outcome:
    """Try all orders; if the budget is too small for that, as many as it allows.

    Raises:
        InputError: the checkpoint in the folder is of something else, or cannot be written.
        KeyboardInterrupt: after the checkpoint was written.
    """
    began = time.monotonic()
    state = AllOrders() if asked.out is None else _resumed(program, asked.out)
    if asked.rechecks:
        _recheck(program, asked)
    if asked.switches is not None:
        return _with_few_switches(program, asked, asked.switches, tell)
    # Half of the budget is for other searches, should this one not come to its end.
    limits = Limits(
        until=began + asked.seconds / 2,
        executions=None if asked.executions is None else -(-asked.executions // 2),
        every_finding=asked.every_finding,
    )
    saved = time.monotonic()
    before = state.executions

    def look(state: AllOrders, taken: list[Position]) -> None:
        nonlocal saved
        now = time.monotonic()
        classes = state.parts.classes + sum(part.classes for part in taken)
        rate = (state.executions - before) / max(now - began, 1e-9)
        tell(Progress(state.executions, classes, rate, min(state.parts.left(taken), 1.0)))
        if asked.out is not None and now - saved >= _SAVE_S:
            _save(program, asked.out, state, taken)
            saved = now

    try:
        search_all_orders(program, state, limits, asked.jobs, look)
    finally:
        if asked.out is not None:
            _save(program, asked.out, state, [])
    rungs = [_rung(state)]
    found = dict(state.found)
    if not state.complete and not (found and not asked.every_finding):
        rungs += _by_other_searches(program, asked, state, began, found)
    return _outcome(program, asked, rungs, found, began)


def _outcome(
    program: Explored, asked: Asked, rungs: list[Rung], found: dict[str, Found], began: float
) -> Outcome:
    """Shrink what was found, look for it on the clock, and write all down that is to be kept."""
    seconds = time.monotonic() - began
    shown = [_counterexample(program, one) for one in found.values()]
    seen = None
    if shown and asked.on_the_clock and isinstance(program, ExploredRace):
        seen = witness(program.race, program.settings, asked.seed, _CLOCK_S)
    outcome = Outcome(program, asked, rungs, shown, seconds, seen)
    if asked.out is not None:
        _write(outcome, asked.out)
    return outcome


def _recheck(program: Explored, asked: Asked) -> None:
    """See whether the footprints are complete, in a search of its own with the same budget.

    Raises:
        NotRecorded: they are not.
    """
    until = time.monotonic() + asked.seconds
    run = taped(program.program)
    search = ClassSearch(run)
    for number, execution in enumerate(search):
        recheck(program.program, execution, run.tape, search.dependence, asked.seed + number)
        if time.monotonic() >= until or number + 1 == asked.executions:
            return


def _with_few_switches(
    program: Explored, asked: Asked, switches: int, tell: Callable[[Progress], None]
) -> Outcome:
    """All orders within the bound, as far as the budget goes."""
    began = time.monotonic()
    rung = Rung("switches", switches)
    found: dict[str, Found] = {}
    run = taped(program.program)
    rung.complete = True
    for one in attempts(rung.name, explore_few_switches(run, switches), run):
        rung.executions += 1
        rung.orders += 1
        if one.finding is not None:
            kind = one.finding.kind
            rung.findings[kind] = rung.findings.get(kind, 0) + 1
            found.setdefault(kind, Found(*one.finding, str(until_failure(one))))
        spent = time.monotonic() - began
        tell(Progress(rung.executions, rung.orders, rung.executions / max(spent, 1e-9), None))
        if (
            (found and not asked.every_finding)
            or spent >= asked.seconds
            or (asked.executions is not None and rung.executions >= asked.executions)
        ):
            rung.complete = False
            break
    return _outcome(program, asked, [rung], found, began)


def _rung(state: AllOrders) -> Rung:
    """How far the search for all orders has come."""
    parts = state.parts
    classes = parts.classes + sum(part.classes for part in parts.waiting)
    return Rung(
        "classes",
        complete=state.complete,
        executions=state.executions,
        orders=classes,
        blocked=parts.blocked + sum(part.blocked for part in parts.waiting),
        findings=state.findings,
    )


def _by_other_searches(
    program: Explored, asked: Asked, state: AllOrders, began: float, found: dict[str, Found]
) -> list[Rung]:
    left = None if asked.executions is None else max(1, asked.executions - state.executions)
    seconds = max(0.1, asked.seconds - (time.monotonic() - began))
    ladder = Ladder(
        program.program,
        Budget(executions=left, seconds=seconds),
        seed=asked.seed,
        classes=None,
        every_finding=asked.every_finding,
    )
    for one in ladder.attempts():
        if one.finding is not None and one.finding.kind not in found:
            found[one.finding.kind] = Found(*one.finding, str(until_failure(one)))
    return ladder.rungs


def _counterexample(program: Explored, found: Found) -> Counterexample:
    return counterexample(program, parse_tape(found.tape))


# -- files -----------------------------------------------------------------------------------------


def _resumed(program: Explored, out: Path) -> AllOrders:
    """The search where it was left, or from its beginning."""
    path = out / CHECKPOINT
    if not path.exists():
        return AllOrders()
    try:
        data = msgspec.json.decode(path.read_bytes())
        if data["program"] != program.document:
            raise InputError(
                f"{path}: this is the checkpoint of another program; choose another --out"
            )
        if data["code"] != _code(program):
            raise InputError(
                f"{path}: written by another version of the code; remove it to begin again"
            )
        return AllOrders.from_state(data["search"])
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except (msgspec.DecodeError, KeyError, TypeError, CheckpointError) as error:
        raise InputError(f"{path} is no checkpoint: {error}") from error


def _code(program: Explored) -> str:
    """The code that decides what the search finds: the search's, and the program's."""
    return code_version(_ENTRY, module_of(program.document, EXPLORED))


def _save(program: Explored, out: Path, state: AllOrders, taken: list[Position]) -> None:
    document = {
        "schema": SCHEMA,
        "program": program.document,
        "code": _code(program),
        "search": state.state(taken),
    }
    write_files(out, {CHECKPOINT: msgspec.json.encode(document) + b"\n"})


def _write(outcome: Outcome, out: Path) -> None:
    record = msgspec.json.format(msgspec.json.encode(outcome.record())) + b"\n"
    write_files(out, {"exploration.json": record})
    for found in outcome.counterexamples:
        write_counterexample(out / found.finding.kind, found)
