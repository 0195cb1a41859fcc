"""One interleaving of a program, as a scheduler decides it.

Delays are ignored: each vCPU that is not held up may go next at each visible step. The scheduler
says which, and answers every other open question, too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from sim.effects import Activity, NotAnEffect
from sim.explore.cpu import CannotExplore, Cpu, Seen
from sim.footprint import Recorder
from sim.tape import Chosen, Diverged, Entry, Picked, Tape, as_word


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


class Known(NamedTuple):
    """A step of which an execution before has shown everything."""

    ready: tuple[int, ...]
    """The vCPUs that could go on before it."""
    seen: Seen


@dataclass(frozen=True)
class Onlooker:
    """Who looks on while an execution is made."""

    look: Callable[[], None] | None = None
    """Called after every visible step; what it raises is a failure of the program."""
    before: Callable[[Cpu], None] | None = None
    """Shown the vCPU that is about to make a visible step."""
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
    known: Sequence[Known] = (),
) -> Execution:
    """Run the activities, one a vCPU, in the order that the scheduler decides.

    ``recorder``: the one that the models' state reports to, for the footprint of each step.
    Without ``preempts`` the hypervisor's checks for preemption find no reason. ``goes_on``: a
    failure ends its vCPU only, so that the orders of the others' steps can still be seen.
    ``known``: the first steps, as an execution before has shown them, which the scheduler decides
    in the same way. What they touch is not looked for again, nor who else could have gone on.

    Raises:
        CannotExplore: the program sends interrupts of the hypervisor's that others could see,
            makes more than ``at_most`` steps, does not do what is known of it, or the scheduler
            raises it.
        NotAnEffect: an activity has yielded something else.
        Diverged: the scheduler has it from a tape, which fits no more.
    """
    cpus: list[Cpu] = []
    cpus += [Cpu(number, cpus, recorder, preempts) for number in range(len(activities))]
    running = _Running(cpus, scheduler, onlooker)
    if recorder is not None:
        recorder.muted = bool(known)
    try:
        running.start(activities)
        for step in known:
            running.make_again(step)
    finally:
        if recorder is not None:
            recorder.muted = False
    steps = running.steps
    stopped = False
    while (running.failure is None or goes_on) and (ready := running.ready(recorder)):
        number = scheduler.pick(ready)
        if number == STOP:
            stopped = True
            break
        if at_most is not None and len(steps) >= at_most:
            raise CannotExplore(f"more than {at_most} steps, and no end")
        running.make(cpus[number])
    live = any(cpu.pending is not None for cpu in cpus)
    return Execution(
        steps=tuple(steps),
        pending=tuple(cpu.before() for cpu in cpus),
        results=tuple(cpu.result for cpu in cpus),
        failure=running.failure,
        failed_at=running.failed_at,
        deadlock=running.failure is None and live and not stopped,
        stopped=stopped,
    )


class _Running:
    """An execution that is being made."""

    def __init__(self, cpus: Sequence[Cpu], scheduler: Scheduler, onlooker: Onlooker) -> None:
        self._cpus = cpus
        self._scheduler = scheduler
        self._onlooker = onlooker
        self.steps: list[Seen] = []
        self.failure: Exception | None = None
        self.failed_at: int | None = None

    def start(self, activities: Sequence[Activity]) -> None:
        """Bring each vCPU to its first step."""
        for cpu, activity in zip(self._cpus, activities, strict=True):
            try:
                cpu.start(activity, self._scheduler.choose)
            except (CannotExplore, Diverged, NotAnEffect):
                raise
            except Exception as error:  # noqa: BLE001 - the answer: this order makes the model fail
                self._fails(cpu, error)

    def ready(self, recorder: Recorder | None) -> list[int]:
        """Who can go on; to look that up is no part of any step."""
        if recorder is None:
            return [cpu.number for cpu in self._cpus if cpu.enabled()]
        recorder.muted = True
        try:
            return [cpu.number for cpu in self._cpus if cpu.enabled()]
        finally:
            recorder.muted = False

    def make(self, cpu: Cpu) -> None:
        """Make the next step of a vCPU, and see what it touches."""
        self._make(cpu)
        self._saw(cpu.seen())

    def make_again(self, known: Known) -> None:
        """Make a step of which everything is known."""
        cpu = self._cpus[self._scheduler.pick(known.ready)]
        if not cpu.enabled():
            raise CannotExplore(
                f"vCPU {cpu.number} could make step {len(self.steps)} before, and now it cannot: "
                "something outside the effects decides this program"
            )
        self._make(cpu)
        cpu.made_again(known.seen)
        self._saw(known.seen)

    def _make(self, cpu: Cpu) -> None:
        if self._onlooker.before is not None:
            self._onlooker.before(cpu)
        try:
            cpu.step(self._scheduler.choose)
            if self._onlooker.look is not None:
                self._onlooker.look()
        except (CannotExplore, Diverged, NotAnEffect):
            raise
        except Exception as error:  # noqa: BLE001 - the answer: this order makes the model fail
            self._fails(cpu, error)

    def _fails(self, cpu: Cpu, error: Exception) -> None:
        if self.failure is None:
            self.failure, self.failed_at = error, len(self.steps)
            self._onlooker.failed(error)
        cpu.fail()

    def _saw(self, step: Seen) -> None:
        self.steps.append(step)
        if self._onlooker.seen is not None:
            self._onlooker.seen(step)
