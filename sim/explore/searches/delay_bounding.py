"""Every order that differs from taking turns in no more than a few delays.

Without delays the vCPUs take turns: each goes on until it ends or has to wait, then the next one
that can. A delay passes over one vCPU whose turn it is. With D delays the number of orders grows
as the D-th power of the steps, whatever the number of vCPUs: unlike a bound on forced switches,
this one also counts who is passed over when a vCPU has ended. Which vCPU has which number matters.

Guarantee: every order with so few delays is run, and each once.

Source: Emmi, Qadeer and Rakamarić, Delay-Bounded Scheduling (POPL 2011); delays are counted as in
Thomson, Donaldson and Betts, Concurrency Testing Using Schedule Bounding (PPoPP 2014).
"""

from collections.abc import Iterator, Sequence

from sim.explore.execution import Execution
from sim.explore.program import Program
from sim.explore.searches.paths import Branching, Decide, every_path


def explore_few_delays(program: Program, delays: int) -> Iterator[Execution]:
    """Run each order with at most so many delays.

    Every other choice is tried both ways.

    Raises:
        CannotExplore: something outside the effects decides the program.
    """
    return every_path(lambda decide: program.run(_FewDelays(decide, delays)))


class _FewDelays(Branching):
    """Leaves open who goes on as long as there are delays left."""

    def __init__(self, decide: Decide, delays: int) -> None:
        super().__init__(decide)
        self._left = delays
        self._current = 0

    def pick(self, ready: Sequence[int]) -> int:
        turn = [vcpu for vcpu in ready if vcpu >= self._current]
        turn += [vcpu for vcpu in ready if vcpu < self._current]
        within = min(len(turn), self._left + 1)
        delays = self._decide(within) if within > 1 else 0
        self._left -= delays
        self._current = turn[delays]
        return self._current
