"""A part of a search for all orders, gone on with for a while: what a worker process does."""

import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from experiments.subjects.orders import Explored, explored
from sim.explore.attempts import Attempt, attempts, taped
from sim.explore.searches.checkpoint import read_position, write_position
from sim.explore.searches.dpor import ClassSearch, Position
from sim.tape import Tape


class Found(NamedTuple):
    """A failing execution; its tape ends with the step that failed."""

    kind: str
    message: str
    tape: str


class Worked(NamedTuple):
    """What came of a part in the time that there was."""

    position: Position
    executions: int
    found: dict[str, Found]
    """The first finding of each kind."""
    findings: dict[str, int]
    """How many of each kind there were; of the executions that count."""


def work(
    program: Explored, position: Position, *, seconds: float, most: int | None, every_finding: bool
) -> Worked:
    """Go on with a part for so long, or for so many executions, or up to the first finding."""
    until = time.monotonic() + seconds
    run = taped(program.program)
    search = ClassSearch(run, position)
    found: dict[str, Found] = {}
    findings: dict[str, int] = {}
    begun_again = position.begun_again
    for one in attempts("classes", search, run):
        if search.position.begun_again > begun_again:
            begun_again = search.position.begun_again
            findings = {}
        if one.finding is not None:
            kind = one.finding.kind
            findings[kind] = findings.get(kind, 0) + 1
            if kind not in found:
                found[kind] = Found(*one.finding, str(until_failure(one)))
            if not every_finding:
                break
        if time.monotonic() >= until or (most is not None and run.made.runs >= most):
            break
    return Worked(search.position, run.made.runs, found, findings)


def until_failure(one: Attempt) -> Tape:
    """The tape of an attempt up to where it failed: the other vCPUs may have gone on after it."""
    failed_at = one.execution.failed_at
    return one.tape if failed_at is None else one.tape.first(failed_at + 1)


def work_elsewhere(
    document: bytes,
    position: Mapping[str, Any],
    seconds: float,
    most: int | None,
    every_finding: bool,  # noqa: FBT001 - called by name of a process pool
) -> tuple[dict[str, Any], int, dict[str, Found], dict[str, int]]:
    """The same in a process of its own, with everything as plain data."""
    worked = work(
        _program(document),
        read_position(dict(position)),
        seconds=seconds,
        most=most,
        every_finding=every_finding,
    )
    return write_position(worked.position), worked.executions, worked.found, worked.findings


@lru_cache(maxsize=1)
def _program(document: bytes) -> Explored:
    return explored(msgspec.json.decode(document))
