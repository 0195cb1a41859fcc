"""Xen's second credit scheduler: who has most credit runs, for as long as it stays ahead.

All pCPUs share one queue, in the order of credit, which is burned by running. When the best has
none left, everybody gets more. How long somebody runs depends on how far the next is behind.

Source: xen/common/sched/credit2.c (runq_candidate, csched2_runtime, reset_credit, runq_tickle),
with equal weights and one run queue.
"""

from dataclasses import dataclass
from typing import Literal

from sim.cpus.task import Running, RunQueues, Task


@dataclass(frozen=True)
class Credit2:
    """The parameters of credit2, in nanoseconds."""

    shortest_ns: int = 500_000
    """CSCHED2_MIN_TIMER: a pCPU does not look again before."""
    longest_ns: int = 10_000_000
    """CSCHED2_MAX_TIMER, and the credit that everybody begins with."""
    ratelimit_ns: int = 1_000_000
    """Nobody is preempted before it has run so long."""
    migration_resistance_ns: int = 500_000
    """By so much credit must a vCPU be better to be taken over from another pCPU."""
    begins: Literal["aligned", "anywhere"] = "anywhere"

    def queues(self, running: Running) -> RunQueues:
        """An empty queue for these pCPUs."""
        return _Queue(self, running)


class _Queue:
    """The queue of one run."""

    tick_ns = 0

    def __init__(self, policy: Credit2, running: Running) -> None:
        self._policy = policy
        self._running = running
        self._tasks: list[Task] = []
        self._queue: list[Task] = []

    def add(self, task: Task) -> None:
        """Everybody begins with the same credit."""
        task.credit_ns = self._policy.longest_ns
        self._tasks.append(task)
        self._insert(task)

    def wake(self, task: Task, now_ns: int) -> int | None:
        """It goes to a pCPU that has nothing to do, or to the one whose vCPU is worst."""
        self._insert(task)
        if self._running[task.pcpu] is None:
            return task.pcpu
        if None in self._running:
            return self._running.index(None)
        best_score, best = 0, None
        for pcpu, running in enumerate(self._running):
            if running is None or now_ns - running.since_ns < self._policy.ratelimit_ns:
                continue
            running.burn(now_ns)
            score = task.credit_ns - running.credit_ns
            if pcpu != task.pcpu:
                score -= self._policy.migration_resistance_ns
            if score > best_score:
                best_score, best = score, pcpu
        return best

    def choose(self, pcpu: int, now_ns: int) -> tuple[Task | None, int]:
        """Whoever has most credit, the present one preferred where it is equal."""
        policy = self._policy
        current = self._running[pcpu]
        ran_ns = 0
        if current is not None:
            current.burn(now_ns)
            ran_ns = now_ns - current.since_ns
        best = current
        if current is None or ran_ns >= policy.ratelimit_ns:
            best = self._candidate(pcpu, current)
        if best is None:
            return None, policy.longest_ns
        if best is not current:
            self._queue.remove(best)
            ran_ns = 0
            if current is not None:
                self._insert(current)
        if best.credit_ns <= 0:
            self._give_credit(best, now_ns)
        return best, self._runtime_ns(best, ran_ns)

    def block(self, task: Task, now_ns: int) -> None:
        """What it has run is charged."""
        task.burn(now_ns)

    def tick(self, number: int, now_ns: int) -> None:
        """There are no ticks."""

    def _candidate(self, pcpu: int, current: Task | None) -> Task | None:
        for task in self._queue:
            if current is None:
                return task
            needed_ns = current.credit_ns
            if task.pcpu != pcpu:
                needed_ns += self._policy.migration_resistance_ns
            if task.credit_ns > needed_ns:
                return task
            if task.pcpu == pcpu:
                break
        return current

    def _runtime_ns(self, task: Task, ran_ns: int) -> int:
        """Until its credit is used up, or that of the next is as much."""
        policy = self._policy
        ahead_ns = task.credit_ns
        if self._queue and self._queue[0].credit_ns > 0:
            ahead_ns -= self._queue[0].credit_ns
        least_ns = max(policy.shortest_ns, policy.ratelimit_ns - ran_ns)
        return min(max(ahead_ns, least_ns), policy.longest_ns)

    def _give_credit(self, best: Task, now_ns: int) -> None:
        """More for all; nobody saves more than the first allotment."""
        allotment_ns = self._policy.longest_ns
        times = 1 + max(0, -best.credit_ns) // allotment_ns
        for task in self._tasks:
            if task in self._running:
                task.burn(now_ns)
            task.credit_ns = min(task.credit_ns + times * allotment_ns, allotment_ns)
        self._queue.sort(key=lambda task: -task.credit_ns)

    def _insert(self, task: Task) -> None:
        """Behind all others with as much credit."""
        place = len(self._queue)
        while place and self._queue[place - 1].credit_ns < task.credit_ns:
            place -= 1
        self._queue.insert(place, task)
