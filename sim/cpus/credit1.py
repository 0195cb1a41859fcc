"""Xen's first credit scheduler: fixed slices, three priorities, a boost for whoever wakes.

Each pCPU has a queue. Who has credit left (UNDER) goes before who has not (OVER), in turn within
each; a vCPU that wakes with credit left is boosted before both until the next tick finds it
running. A pCPU that would run nobody, or somebody without credit, looks for better in the others'
queues. Every third tick all that have run share the credit of a slice of each pCPU.

Source: Xen 4.1 to 4.18, xen/common/sched/credit.c (csched_schedule, csched_vcpu_wake,
__runq_tickle, csched_tick, csched_acct, csched_load_balance).
"""

from dataclasses import dataclass
from typing import Literal

from sim.cpus.task import Running, RunQueues, Task

_BOOST, _UNDER, _OVER = 0, -1, -2
_TICKS_PER_SLICE = 3


@dataclass(frozen=True)
class Credit1:
    """The parameters of credit1, in nanoseconds; those of Xen 4.2 and later."""

    timeslice_ns: int = 30_000_000
    tick_ns: int = 10_000_000
    ratelimit_ns: int = 1_000_000
    """Nobody is preempted before it has run so long; 0 before Xen 4.2."""
    begins: Literal["aligned", "anywhere"] = "anywhere"

    def queues(self, running: Running) -> RunQueues:
        """Empty queues for these pCPUs."""
        return _Queues(self, running)


class _Queues:
    """The queues of one run."""

    def __init__(self, policy: Credit1, running: Running) -> None:
        self._policy = policy
        self._running = running
        self._tasks: list[Task] = []
        self._queues: list[list[Task]] = [[] for _ in running]
        self.tick_ns = policy.tick_ns

    def add(self, task: Task) -> None:
        """Nobody has used any credit yet."""
        task.priority = _UNDER
        self._tasks.append(task)
        self._insert(task)

    def wake(self, task: Task, now_ns: int) -> int | None:  # noqa: ARG002 - a policy's signature
        """Who wakes with credit left is boosted."""
        if task.priority == _UNDER:
            task.priority = _BOOST
        self._insert(task)
        running = self._running[task.pcpu]
        if running is None:
            return task.pcpu
        if None in self._running:
            return self._running.index(None)  # it looks into the others' queues
        return task.pcpu if task.priority > running.priority else None

    def choose(self, pcpu: int, now_ns: int) -> tuple[Task | None, int]:
        """The first of the queue, or of another pCPU's where that is better."""
        policy = self._policy
        current = self._running[pcpu]
        if current is not None:
            current.burn(now_ns)
            left_ns = policy.ratelimit_ns - (now_ns - current.since_ns)
            if left_ns > 0:
                return current, left_ns
            self._insert(current)
        queue = self._queues[pcpu]
        if not queue or queue[0].priority <= _OVER:
            queue = self._better_queue(pcpu) or queue
        return (queue.pop(0) if queue else None), policy.timeslice_ns

    def block(self, task: Task, now_ns: int) -> None:
        """What it has run is charged."""
        task.burn(now_ns)

    def tick(self, number: int, now_ns: int) -> None:
        """Boosts end for those who run; on every third tick credit is given out."""
        for task in self._running:
            if task is not None:
                task.burn(now_ns)
                task.active = True
                if task.priority == _BOOST:
                    task.priority = _UNDER
        if number % _TICKS_PER_SLICE == 0:
            self._give_credit()

    def _give_credit(self) -> None:
        """An equal share of all pCPUs' slices for each that has run lately."""
        slice_ns = self._policy.timeslice_ns
        active = [task for task in self._tasks if task.active]
        for task in active:
            task.credit_ns += slice_ns * len(self._running) // len(active)
            if task.credit_ns < 0:
                task.priority = _OVER
                task.credit_ns = max(task.credit_ns, -slice_ns)
            else:
                if task.priority == _OVER:
                    task.priority = _UNDER
                if task.credit_ns > slice_ns:
                    # Who does not use its credit gets none until a tick finds it running.
                    task.active = False
                    task.credit_ns //= 2
        for queue in self._queues:
            queue.sort(key=lambda task: -task.priority)

    def _insert(self, task: Task) -> None:
        """Behind all others of its priority."""
        queue = self._queues[task.pcpu]
        place = len(queue)
        while place and queue[place - 1].priority < task.priority:
            place -= 1
        queue.insert(place, task)

    def _better_queue(self, pcpu: int) -> list[Task] | None:
        """Another pCPU's queue whose first comes before this one's."""
        here = self._queues[pcpu]
        best = here[0].priority if here else _OVER - 1
        for other in range(1, len(self._queues)):
            queue = self._queues[(pcpu + other) % len(self._queues)]
            if queue and queue[0].priority > best:
                return queue
        return None
