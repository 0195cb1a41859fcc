"""The mechanism of scheduling: who is on which pCPU, timers, and the interrupts that they cause.

Which vCPU runs is a policy's decision (:mod:`sim.cpus.credit1`, :mod:`sim.cpus.credit2`). A pCPU
that should look for somebody else interrupts the vCPU that runs on it; the vCPU asks as soon as
it is in its guest, where that interrupt can always be taken.
"""

from collections.abc import Callable
from functools import partial

from sim.cpus.task import Policy, Running, Task
from sim.environment import DRAW_BITS, SCHEDULERS
from sim.vcpu.clockwork import Clockwork
from sim.vcpu.interpreter import start
from sim.vcpu.interrupts import arrive
from sim.vcpu.sharing import (
    could_go_on,
    go_on,
    idle_activity,
    is_preemptible,
    leave,
    scheduling_interrupt,
)
from sim.vcpu.state import Arrival, VCpu

Loaded = Callable[[int, int], None]
"""Called when a pCPU has loaded the state of a vCPU: with the numbers of both."""

_SPREAD = 1 << DRAW_BITS
_PATIENCE = 1000  # slices and ticks


class Scheduler:
    """The pCPUs of a simulation with fewer of them than vCPUs."""

    def __init__(
        self, clockwork: Clockwork[VCpu], pcpus: int, policy: Policy, loaded: Loaded | None
    ) -> None:
        self._clockwork = clockwork
        self._env = clockwork.env
        self._loaded_state = loaded
        self.running: Running = [None] * pcpus
        self._loaded: Running = [None] * pcpus
        """Whose registers and translations a pCPU has: an idle one keeps those of its last."""
        self._queues = policy.queues(self.running)
        self._anywhere = policy.begins == "anywhere"
        chance = clockwork.streams.bits("scheduler")
        order = chance.order(len(clockwork.vcpus))
        self._phases = [chance.share() for _ in range(pcpus + 1)]
        self._tie_factor = chance.number(60) * 2 + 1
        by_number = {
            number: Task(clockwork.vcpus[number], place % pcpus)
            for place, number in enumerate(order)
        }
        self._in_order = list(by_number.values())
        self._tasks = [by_number[number] for number in range(len(order))]
        self._generations = [0] * pcpus
        self._ticking = False
        self._tick_phase_ns = 0
        self._vain_looks = 0
        self.idle: list[VCpu] = [
            start(clockwork, -1 - pcpu, idle_activity(), name=f"idle{pcpu}", scheduled=False)
            for pcpu in range(pcpus)
        ]
        """They run where nobody else does, to take the hypervisor's interrupts."""

    def begin(self) -> None:
        """Put the first vCPUs, in drawn order, on the pCPUs."""
        for waiting in self._in_order:
            waiting.vcpu.starts_on_pcpu = False
            self._queues.add(waiting)
        for pcpu in range(len(self.running)):
            task, look_again_ns = self._queues.choose(pcpu, 0)
            if self._anywhere:
                left_ns = max(1, int(look_again_ns * self._phases[pcpu]))
                if task is not None:
                    task.since_ns = left_ns - look_again_ns
                look_again_ns = left_ns
            if task is not None:
                self._put_on(task, pcpu)
                task.vcpu.starts_on_pcpu = True
            self._set_timer(pcpu, look_again_ns)
        if self._queues.tick_ns:
            if self._anywhere:
                self._tick_phase_ns = int(self._queues.tick_ns * self._phases[-1])
            self._start_ticks(0)

    # -- what the vCPUs tell and ask -------------------------------------------------------

    def keeps(self, vcpu: VCpu, now_ns: int) -> bool:
        """A vCPU has been interrupted and asks whether it may go on; else it is put aside."""
        task = self._tasks[vcpu.number]
        self._run_next(task.pcpu, now_ns)
        return self.running[task.pcpu] is task

    def block(self, vcpu: VCpu, now_ns: int) -> None:
        """A vCPU has nothing to do and leaves its pCPU."""
        task = self._tasks[vcpu.number]
        self._queues.block(task, now_ns)
        task.runnable, task.since_ns = False, now_ns
        self._run_next(task.pcpu, now_ns, left=task)

    def wake(self, vcpu: VCpu, now_ns: int) -> None:
        """A vCPU that had nothing to do has a reason to run."""
        task = self._tasks[vcpu.number]
        vcpu.idle_ns += now_ns - task.since_ns
        task.runnable, task.since_ns = True, now_ns
        pcpu = self._queues.wake(task, now_ns)
        if pcpu is None:
            return
        if self.running[pcpu] is None:
            self._run_next(pcpu, now_ns)
        else:
            self._post(now_ns, pcpu, partial(self._interrupt, pcpu))

    def on(self, pcpu: int) -> VCpu:
        """The vCPU that runs on a pCPU, if only the idle one."""
        task = self.running[pcpu]
        return self.idle[pcpu] if task is None else task.vcpu

    # -- switching -----------------------------------------------------------------------------

    def _run_next(self, pcpu: int, now_ns: int, *, left: Task | None = None) -> None:
        """Let the policy choose for this pCPU, whose vCPU can go on or has ``left``."""
        if left is not None:
            self.running[pcpu] = None
        before = self.running[pcpu]
        task, look_again_ns = self._queues.choose(pcpu, now_ns)
        self._generations[pcpu] += 1
        if task is not None:
            self._set_timer(pcpu, now_ns + look_again_ns)
        if task is not before or left is not None:
            if before is not None:
                before.since_ns = now_ns
            self.running[pcpu] = None
            if task is not None:
                task.vcpu.steal_ns += now_ns - task.since_ns
                task.since_ns = task.burned_ns = now_ns
                if could_go_on(task.vcpu):
                    self._vain_looks = 0
                go_on(task.vcpu, now_ns, switched=self._put_on(task, pcpu))
                self._start_ticks(now_ns)
        leaver = left or before
        if leaver is not None and leaver is not task:
            # Interrupts of the hypervisor's are for the pCPU, not for whom they found there.
            for arrival in leave(leaver.vcpu):
                self._clockwork.in_flight += 1
                self._post(now_ns, pcpu, partial(self._deliver, pcpu, arrival))

    def _put_on(self, task: Task, pcpu: int) -> bool:
        """The pCPU loads the vCPU's state; False: it has it still."""
        self.running[pcpu] = task
        task.pcpu = pcpu
        if self._loaded[pcpu] is task:
            return False
        self._loaded = [None if other is task else other for other in self._loaded]
        self._loaded[pcpu] = task
        if self._loaded_state is not None:
            self._loaded_state(pcpu, task.vcpu.number)
        return True

    def _deliver(self, pcpu: int, arrival: Arrival) -> None:
        """An interrupt for whoever runs on this pCPU."""
        self._clockwork.in_flight -= 1
        arrive(self.on(pcpu), arrival)

    def _interrupt(self, pcpu: int) -> None:
        """The vCPU on this pCPU is to ask who runs next."""
        task = self.running[pcpu]
        if task is not None:
            arrive(task.vcpu, scheduling_interrupt())

    # -- timers ----------------------------------------------------------------------------------

    def _set_timer(self, pcpu: int, time_ns: int) -> None:
        self._post(time_ns, pcpu, partial(self._time_is_over, pcpu, self._generations[pcpu]))

    def _time_is_over(self, pcpu: int, generation: int) -> None:
        if generation == self._generations[pcpu] and self._anything_can_happen():
            self._interrupt(pcpu)

    def _start_ticks(self, now_ns: int) -> None:
        tick_ns = self._queues.tick_ns
        if tick_ns and not self._ticking:
            self._ticking = True
            number = (now_ns - self._tick_phase_ns) // tick_ns + 1
            time_ns = number * tick_ns + self._tick_phase_ns
            self._post(time_ns, len(self.running), partial(self._tick, number))

    def _tick(self, number: int) -> None:
        """A period has ended; there are none while nobody runs."""
        self._ticking = False
        now_ns = self._env.now_ns
        self._queues.tick(number, now_ns)
        if any(self.running) and self._anything_can_happen():
            self._start_ticks(now_ns)

    def _anything_can_happen(self) -> bool:
        """Has any vCPU something to do but to wait for others that wait, too?

        Without this, timers would go on for ever after a deadlock.
        """
        on_pcpus = [self.on(pcpu) for pcpu in range(len(self.running))]
        if (
            self._env.others_are_due
            or self._clockwork.in_flight
            or any(could_go_on(vcpu) for vcpu in on_pcpus)
        ):
            self._vain_looks = 0
            return True
        # Only others could go on. A CPU that spins in the hypervisor for ever may keep one of
        # them from its pCPU although another is free to take it: a hang, as for Xen's watchdog.
        self._vain_looks += 1
        return (
            self._vain_looks <= _PATIENCE
            and any(is_preemptible(vcpu) for vcpu in on_pcpus)
            and any(
                task.runnable and task not in self.running and could_go_on(task.vcpu)
                for task in self._tasks
            )
        )

    def _post(self, time_ns: int, place: int, act: Callable[[], None]) -> None:
        """Have something done at a time, which may be ahead of the clock."""
        drawn = (time_ns + place) * self._tie_factor % _SPREAD
        self._env.call_at(time_ns, SCHEDULERS + drawn, act)
