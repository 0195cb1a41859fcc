"""The most that can be said of a program within a budget: search after search, each weaker.

First one interleaving of every class; if these are too many, the orders with 0, 1, 2 and 3 forced
switches; then the portfolio of searches by chance. :func:`sim.explore.searches.rung.claims` tells
what was shown. Each of the first two may use half of what is left of the budget, the portfolio all
of it. A search that has used up its part exactly counts as incomplete.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Literal, Protocol

from sim.explore.attempts import Attempt, TapedProgram, attempts, taped
from sim.explore.execution import Execution
from sim.explore.program import Program
from sim.explore.searches.dpor import ClassSearch, Position
from sim.explore.searches.few_switches import explore_few_switches
from sim.explore.searches.portfolio import Portfolio
from sim.explore.searches.rung import Rung
from sim.tape import Chosen

MOST_SWITCHES = 3


@dataclass(frozen=True)
class Budget:
    """What all searches together may use; the first limit that is reached counts."""

    executions: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        limits = [limit for limit in (self.executions, self.seconds) if limit is not None]
        if not limits or min(limits) <= 0:
            raise ValueError("a budget is a positive number of executions or seconds, or both")


class SearchOfClasses(Protocol):
    """A search that runs one order of each class, and counts what it does beside that."""

    @property
    def position(self) -> Position:
        """Where it stands, with the classes so far and the executions that it has given up."""

    def __iter__(self) -> Iterator[Execution]:
        """Executions that have ended; an order may come twice."""


class Ladder:
    """The searches of one program within one budget."""

    def __init__(
        self,
        program: Program,
        budget: Budget,
        *,
        seed: int,
        classes: Callable[[Program], SearchOfClasses] | None = ClassSearch,
        every_finding: bool = False,
        done: Iterable[Rung] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``classes``: None leaves that search out; so does a program without a recorder.

        ``every_finding``: a finding does not end the search. ``done``: what was left in ``rungs``
        when another ladder with the same program, budget and seed was broken off. The search in
        which that happened begins again, since its path is not kept; the portfolio goes on.
        """
        self._program: TapedProgram = taped(program)
        self._budget = budget
        self._seed = seed
        self._classes = None if program.recorder is None else classes
        self._every_finding = every_finding
        self._clock = clock
        self._until: float | None = None
        self.rungs: list[Rung] = deepcopy(list(done))
        """What is known, at any time."""
        self._drawn = Rung("portfolio")
        if self.rungs and not self.rungs[-1].complete and not self._over:
            broken_off = self.rungs.pop()
            if broken_off.search == "portfolio":
                self._drawn = broken_off

    def attempts(self) -> Iterator[Attempt]:
        """Every execution that ended, search after search; ``rungs`` is up to date at each."""
        if self._budget.seconds is not None:
            self._until = self._clock() + self._budget.seconds
        if self._classes is not None and not self._over:
            yield from self._every_class(self._classes)
        if not self._over:
            yield from self._few_switches()
        if not self._over:
            yield from self._by_chance()

    # -- the searches ------------------------------------------------------------------------------

    def _every_class(self, search_of: Callable[[Program], SearchOfClasses]) -> Iterator[Attempt]:
        if any(rung.search == "classes" for rung in self.rungs):
            return
        rung = self._rung("classes", None)
        search = search_of(self._program)
        most, until = self._half()
        runs = self._program.made.runs
        for one in attempts(rung.name, search, self._program):
            rung.executions = self._program.made.runs - runs
            rung.orders, rung.blocked = search.position.classes, search.position.blocked
            _count_finding(rung, one)
            yield one
            if self._spent(rung.executions, most, until):
                return
        rung.executions = self._program.made.runs - runs
        rung.blocked = search.position.blocked
        rung.complete = True

    def _few_switches(self) -> Iterator[Attempt]:
        bounds = [rung for rung in self.rungs if rung.search == "switches"]
        most, until = self._half(bounds)
        used = sum(rung.executions for rung in bounds)
        for switches in range(MOST_SWITCHES + 1):
            if switches < len(bounds):
                if not bounds[switches].complete:
                    return
                continue
            if self._spent(used, most, until):
                return
            rung = self._rung("switches", switches)
            executions = explore_few_switches(self._program, switches)
            for one in attempts(rung.name, executions, self._program):
                used += 1
                rung.executions += 1
                rung.orders += 1
                _count_finding(rung, one)
                yield one
                if self._spent(used, most, until):
                    return
            rung.complete = True

    def _by_chance(self) -> Iterator[Attempt]:
        rung = self._drawn
        left = self._left(self.rungs)
        self.rungs.append(rung)
        if self._spent(rung.executions, left, self._until):
            return
        portfolio = Portfolio(self._program, self._seed)
        for one in portfolio.attempts(rung.executions):
            rung.executions += 1
            rung.orders += 1
            rung.vcpus, rung.steps = portfolio.lengths.vcpus, portfolio.lengths.longest
            rung.answers_drawn |= any(isinstance(entry, Chosen) for entry in one.tape.entries)
            _add(rung.strategies, one.search)
            if one.finding is not None:
                _add(rung.found_by, one.search)
            _count_finding(rung, one)
            yield one
            if self._spent(rung.executions, left, self._until):
                return

    # -- the budget --------------------------------------------------------------------------------

    @property
    def _found(self) -> bool:
        """Is there a finding, and is one enough?"""
        return not self._every_finding and any(rung.findings for rung in self.rungs)

    @property
    def _over(self) -> bool:
        """Could no later search add to what is known?"""
        through = any(rung.search == "classes" and rung.complete for rung in self.rungs)
        return through or self._found

    def _rung(self, search: Literal["classes", "switches"], switches: int | None) -> Rung:
        rung = Rung(search, switches)
        self.rungs.append(rung)
        return rung

    def _left(self, rungs: Iterable[Rung]) -> int | None:
        if self._budget.executions is None:
            return None
        return self._budget.executions - sum(rung.executions for rung in rungs)

    def _half(self, own: Sequence[Rung] = ()) -> tuple[int | None, float | None]:
        """Half of what the searches before have left: executions, and until when."""
        left = self._left(rung for rung in self.rungs if rung not in own)
        until = self._until
        if until is not None:
            now = self._clock()
            until = now + (until - now) / 2
        return None if left is None else left // 2, until

    def _spent(self, executions: int, most: int | None, until: float | None) -> bool:
        if self._found or (most is not None and executions >= most):
            return True
        return until is not None and self._clock() >= until


def _count_finding(rung: Rung, one: Attempt) -> None:
    if one.finding is not None:
        _add(rung.findings, one.finding.kind)


def _add(counts: dict[str, int], name: str) -> None:
    counts[name] = counts.get(name, 0) + 1
