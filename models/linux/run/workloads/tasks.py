"""Several tasks that do the same at a time, spread over the CPUs, with pauses in between.

Task n runs on CPU n modulo the number of CPUs; those of one CPU take turns after each iteration.
CPUs without a task do something else meanwhile, which counts as well. All warm up; what is measured
begins when the last one has done so, and ends when the last one has finished.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from models.linux.phase import PHASE_BEGINS, PHASE_ENDS
from models.linux.run.kernel import Cpu, RunningKernel
from models.linux.run.switching import context_switch
from sim.effects import STEP, Activity, Block, Send

PAUSE = "workload_pause"
"""The cost whose distribution is that of the pauses."""


class Task(Protocol):
    """One of the tasks."""

    def begin(self, cpu: Cpu) -> Activity:
        """Before the first iteration."""

    def resume(self, cpu: Cpu) -> Activity:
        """The CPU has done something else: make it this task's again."""

    def iterate(self, cpu: Cpu) -> Activity:
        """Once."""


@dataclass
class Storm:
    """The tasks, and how far they have come."""

    kernel: RunningKernel
    warmup: int
    iterations: int
    pauses: bool
    ready: int = 0
    """CPUs whose tasks have warmed up."""
    measured: bool = False
    finished: int = 0
    """CPUs whose tasks have ended."""
    over: bool = False
    tasks_of: dict[int, list[Task]] = field(default_factory=dict)
    """CPU -> its tasks."""


def activities(
    storm: Storm, tasks: Iterable[Task], elsewhere: Callable[[Cpu, Storm], Activity]
) -> list[Activity]:
    """One activity for each CPU; ``elsewhere`` is that of a CPU without tasks, until it is over."""
    cpus = storm.kernel.cpus
    for number, task in enumerate(tasks):
        storm.tasks_of.setdefault(number % len(cpus), []).append(task)
    return [
        _run_tasks(storm, cpu) if cpu.number in storm.tasks_of else elsewhere(cpu, storm)
        for cpu in cpus
    ]


def _run_tasks(storm: Storm, cpu: Cpu) -> Activity:
    """Warm up, wait for the others, and do what counts. The first CPU tells when that is."""
    tasks = storm.tasks_of[cpu.number]
    for task in tasks:
        yield from task.begin(cpu)
    yield from _rounds(storm, cpu, storm.warmup)
    storm.ready += 1
    yield STEP
    everybody = len(storm.tasks_of)
    if cpu.number == 0:
        yield from _idle_until(cpu, "the others' warm-up", lambda: storm.ready == everybody)
        yield PHASE_BEGINS
        storm.measured = True
        yield STEP
    else:
        yield from _idle_until(cpu, "what counts to begin", lambda: storm.measured)
    yield from _rounds(storm, cpu, storm.iterations)
    storm.finished += 1
    yield STEP
    if cpu.number == 0:
        yield from _idle_until(cpu, "the others' end", lambda: storm.finished == everybody)
        yield PHASE_ENDS
        storm.over = True
        yield STEP


def _rounds(storm: Storm, cpu: Cpu, rounds: int) -> Activity:
    tasks = storm.tasks_of[cpu.number]
    for number in range(rounds):
        for task in tasks:
            yield from task.resume(cpu)
            yield from task.iterate(cpu)
            if storm.pauses and (number + 1 < rounds or task is not tasks[-1]):
                yield from rest(cpu)


def rest(cpu: Cpu) -> Activity:
    """Idle for a random time; what is loaded stays, borrowed by the idle task.

    A timer is an interrupt to oneself. Nobody waits for interrupts of one's own meanwhile.
    """
    yield from context_switch(cpu, None)
    woken: list[bool] = []
    yield Send("timer", (cpu.number,), partial(_wake, woken), latency=PAUSE)
    yield Block("a timer", lambda: bool(woken))


def _wake(woken: list[bool]) -> Activity:
    yield STEP
    woken.append(True)


def _idle_until(cpu: Cpu, what: str, predicate: Callable[[], bool]) -> Activity:
    yield from context_switch(cpu, None)
    yield Block(what, predicate)
