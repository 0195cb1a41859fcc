"""The search for all orders of a program, by one process or several, with its checkpoint.

It begins in this process. What is left after a while is cut into parts, each a task that can be
repeated: a worker that dies takes nothing with it, and after a kill the search goes on from its
last checkpoint.
"""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import Any

import msgspec

from experiments.exploring.worker import Found, Worked, work, work_elsewhere
from experiments.processes import worker_pool
from experiments.subjects.orders import Explored
from sim.explore.searches.checkpoint import (
    CheckpointError,
    read_position,
    read_subtrees,
    write_position,
    write_subtrees,
)
from sim.explore.searches.dpor import Position
from sim.explore.searches.subtrees import Subtrees

_ALONE_S = 2.0
"""So long one process goes on alone before others are worth their start."""
_PART_S = 1.0
_MOST_DEATHS = 5


@dataclass
class AllOrders:
    """How far the search has come."""

    parts: Subtrees = field(default_factory=lambda: Subtrees([Position()]))
    executions: int = 0
    findings: dict[str, int] = field(default_factory=dict)
    found: dict[str, Found] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Is nothing left to be tried? Asked while nobody is at a part."""
        return not self.parts.waiting

    def state(self, taken: list[Position]) -> dict[str, Any]:
        """Everything as plain data; ``taken``: the parts that somebody is at."""
        return {
            "parts": write_subtrees(self.parts, taken),
            "executions": self.executions,
            "findings": self.findings,
            "found": [list(found) for found in self.found.values()],
        }

    @classmethod
    def from_state(cls, data: Mapping[str, Any]) -> "AllOrders":
        """As it was written down.

        Raises:
            CheckpointError: it was not.
        """
        try:
            return cls(
                read_subtrees(data["parts"]),
                data["executions"],
                dict(data["findings"]),
                {found[0]: Found(*found) for found in data["found"]},
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(str(error)) from error

    def count(self, worked: Worked, before: int) -> None:
        """Count what came of a part; ``before``: how often it had begun again until then."""
        self.executions += worked.executions
        for kind, found in worked.found.items():
            self.found.setdefault(kind, found)
        if worked.position.begun_again > max(before, self.parts.begun_again):
            self.findings = {}
        if worked.position.begun_again >= self.parts.begun_again:
            for kind, times in worked.findings.items():
                self.findings[kind] = self.findings.get(kind, 0) + times


@dataclass(frozen=True)
class Limits:
    """Where the search ends, if not at its own end."""

    until: float
    """On the monotonic clock, in seconds."""
    executions: int | None
    every_finding: bool

    def reached(self, state: AllOrders) -> bool:
        """Is it over?"""
        if state.found and not self.every_finding:
            return True
        if self.executions is not None and state.executions >= self.executions:
            return True
        return time.monotonic() >= self.until

    def left(self, state: AllOrders) -> int | None:
        """Executions that may still be made."""
        return None if self.executions is None else self.executions - state.executions


Look = Callable[[AllOrders, list[Position]], None]
"""Told every now and then how far it is, with the parts that somebody is at."""


def search_all_orders(
    program: Explored, state: AllOrders, limits: Limits, jobs: int, look: Look
) -> None:
    """Go on until all is tried or a limit is reached; ``state`` is up to date after that."""
    alone_until = time.monotonic() + (_ALONE_S if jobs > 1 else float("inf"))
    while not state.complete and not limits.reached(state) and time.monotonic() < alone_until:
        part = state.parts.waiting.pop()
        try:
            while not part.over and not limits.reached(state) and time.monotonic() < alone_until:
                before = part.begun_again
                worked = work(
                    program,
                    part,
                    seconds=min(_PART_S, limits.until - time.monotonic()),
                    most=limits.left(state),
                    every_finding=limits.every_finding,
                )
                state.count(worked, before)
                look(state, [part])
        finally:
            state.parts.put_back(part)
    if not state.complete and not limits.reached(state):
        _several(program, state, limits, jobs, look)


def _several(program: Explored, state: AllOrders, limits: Limits, jobs: int, look: Look) -> None:
    """The same by several processes."""
    document = msgspec.json.encode(program.document)
    deaths = 0
    while not state.complete and not limits.reached(state):
        at_work: dict[Future[Any], Position] = {}
        try:
            with worker_pool(jobs) as pool:
                while not limits.reached(state):
                    while state.parts.waiting and len(at_work) < jobs:
                        part = state.parts.waiting.pop()
                        at_work[_begin(pool, document, part, limits, state)] = part
                    if not at_work:
                        return
                    done, _ = wait(at_work, timeout=_PART_S, return_when=FIRST_COMPLETED)
                    for future in done:
                        position, *rest = future.result()
                        worked = Worked(read_position(position), *rest)
                        state.count(worked, at_work.pop(future).begun_again)
                        state.parts.put_back(worked.position)
                    look(state, list(at_work.values()))
        except BrokenProcessPool:
            deaths += 1
            if deaths > _MOST_DEATHS:
                raise
        finally:
            # What nobody has ended begins again.
            state.parts.waiting += at_work.values()


def _begin(
    pool: Executor, document: bytes, part: Position, limits: Limits, state: AllOrders
) -> "Future[Any]":
    seconds = min(_PART_S, limits.until - time.monotonic())
    return pool.submit(
        work_elsewhere,
        document,
        write_position(part),
        seconds,
        limits.left(state),
        limits.every_finding,
    )
