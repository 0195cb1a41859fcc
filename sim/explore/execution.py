"""One interleaving of a program, as a scheduler decides it.

Delays are ignored: each vCPU that is not held up may go next at each visible step. The scheduler
says which, and answers every other open question, too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sim.effects import Activity
from sim.explore.cpu import CannotExplore, Cpu, Seen
from sim.footprint import Recorder
from sim.tape import Chosen, Entry, Picked, Tape, as_word


class Scheduler(Protocol):
    """Whoever decides an execution."""

    def pick(self, ready: Sequence[int]) -> int:
        """Which of these vCPUs makes the next step; asked for every step.

        ``STOP`` ends the execution where it is.
        """

    def choose(self, name: str, alternatives: int) -> int:
        """One of so many answers, by its number, to a question that the running vCPU has met.

        Asked only where there is more than one.
        """


STOP = -1


class InTurn:
    """Each vCPU goes on as far as it can before the next one; the first answer to all else."""

    def pick(self, ready: Sequence[int]) -> int:
        """The first."""
        return ready[0]

    def choose(self, name: str, alternatives: int) -> int:  # noqa: ARG002 - a scheduler's signature
        """The first."""
        return 0


class Taping:
    """Another scheduler, whose answers are kept."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._entries: list[Entry] = []

    def pick(self, ready: Sequence[int]) -> int:
        """As the other says."""
        vcpu = self._scheduler.pick(ready)
        if vcpu != STOP:
            self._entries.append(Picked(vcpu, tuple(ready)))
        return vcpu

    def choose(self, name: str, alternatives: int) -> int:
        """As the other says."""
        taken = self._scheduler.choose(name, alternatives)
        self._entries.append(Chosen(as_word(name), taken, alternatives))
        return taken

    @property
    def tape(self) -> Tape:
        """All answers so far."""
        return Tape(tuple(self._entries))


@dataclass(frozen=True)
class Execution:
    """One interleaving and what came of it."""

    steps: tuple[Seen, ...]
    """What was seen of each visible step."""
    pending: tuple[Seen | None, ...]
    """What each vCPU that has not ended stands before; None for one that has ended."""
    results: tuple[Any, ...]
    """What each vCPU's activity returned; None for those that never ended."""
    failure: Exception | None
    failed_at: int | None
    """The number of steps made before the one that failed."""
    deadlock: bool
    stopped: bool
    """The scheduler ended it."""

    @property
    def schedule(self) -> tuple[int, ...]:
        """The vCPU that made each visible step."""
        return tuple(step.vcpu for step in self.steps)


@dataclass(frozen=True)
class Onlooker:
    """Who looks on while an execution is made."""

    look: Callable[[], None] | None = None
    """Called after every visible step; what it raises is a failure of the program."""
    seen: Callable[[Seen], None] | None = None
    """Told each step."""
    failed: Callable[[Exception], None] = lambda _: None
    """Told the first failure, while the world is as it was then."""


NOBODY = Onlooker()


def execute(
    activities: Sequence[Activity],
    scheduler: Scheduler,
    onlooker: Onlooker = NOBODY,
    recorder: Recorder | None = None,
    *,
    preempts: bool = True,
    goes_on: bool = False,
    at_most: int | None = None,
) -> Execution:
    """Run the activities, one a vCPU, in the order that the scheduler decides.

    ``recorder``: the one that the models' state reports to, for the footprint of each step.
    Without ``preempts`` the hypervisor's checks for preemption find no reason. ``goes_on``: a
    failure ends its vCPU only, so that the orders of the others' steps can still be seen.

    Raises:
        CannotExplore: the program sends interrupts of the hypervisor's that others could see,
            makes more than ``at_most`` steps, or the scheduler raises it.
    """
    cpus: list[Cpu] = []
    cpus += [Cpu(number, cpus, recorder, preempts) for number in range(len(activities))]
    steps: list[Seen] = []
    failure: Exception | None = None
    failed_at: int | None = None
    stopped = False
    for cpu, activity in zip(cpus, activities, strict=True):
        try:
            cpu.start(activity, scheduler.choose)
        except CannotExplore:
            raise
        except Exception as error:  # noqa: BLE001 - the answer: this order makes the model fail
            if failure is None:
                failure, failed_at = error, 0
                onlooker.failed(error)
            cpu.fail()
    while not (failure and not goes_on) and (
        ready := [cpu.number for cpu in cpus if cpu.enabled()]
    ):
        number = scheduler.pick(ready)
        if number == STOP:
            stopped = True
            break
        if at_most is not None and len(steps) >= at_most:
            raise CannotExplore(f"more than {at_most} steps, and no end")
        cpu = cpus[number]
        try:
            cpu.step(scheduler.choose)
            if onlooker.look is not None:
                onlooker.look()
        except CannotExplore:
            raise
        except Exception as error:  # noqa: BLE001 - the answer: this order makes the model fail
            if failure is None:
                failure, failed_at = error, len(steps)
                onlooker.failed(error)
            cpu.fail()
        step = cpu.seen()
        steps.append(step)
        if onlooker.seen is not None:
            onlooker.seen(step)
    live = any(cpu.pending is not None for cpu in cpus)
    return Execution(
        steps=tuple(steps),
        pending=tuple(cpu.before() for cpu in cpus),
        results=tuple(cpu.result for cpu in cpus),
        failure=failure,
        failed_at=failed_at,
        deadlock=failure is None and live and not stopped,
        stopped=stopped,
    )
