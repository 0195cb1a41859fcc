"""A task of the kernel's own that can be preempted, and goes on on another CPU.

An activity runs on one vCPU from its beginning to its end; a task is handed from one such activity
to the next, and is never in the hands of both. Source: Linux 2.6.26 kernel/sched.c
(preempt_schedule), arch/x86/xen/mmu.c (xen_set_pte_at); commits 2bd50036b5df, b407fc57b815.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from models.linux.run.kernel import Cpu, Lazy
from models.linux.run.mm import slot_of
from models.linux.run.pv_mmu import enter_lazy_mmu, set_pte
from models.linux.run.switching import context_switch
from sim.effects import STEP, Activity, Choose, Effect, Step

if TYPE_CHECKING:
    from models.linux.run.mm import Mm

_PREEMPTED = Choose("preempted", (False, True))


@dataclass
class Task:
    """What is run, and by which CPU now."""

    cpu: Cpu
    preemption_off: int = 0
    _was_lazy: bool = False
    """It was taken off in lazy MMU mode, to which it goes back (TIF_LAZY_MMU_UPDATES)."""
    _next: list["Effect | Activity"] = field(default_factory=list)
    """What it was about to do when it was taken off."""

    def run(self, work: Activity, *, preemptible: bool) -> Activity:
        """Do its work on its CPU: True at the end, False if it is preempted before some step."""
        answer: object = None
        if self._next:
            answer = yield self._next.pop()
        while True:
            try:
                effect = work.send(answer)
            except StopIteration:
                return True
            can_be = isinstance(effect, Step) and preemptible and self._lets_go()
            if can_be and (yield _PREEMPTED):
                self._next.append(effect)
                return False
            answer = yield effect

    def _lets_go(self) -> bool:
        return not self.preemption_off and not self.cpu.irqs_off

    def make_room(self, mm: "Mm") -> Activity:
        """Leave its CPU to a task of this address space."""
        self._was_lazy = self.cpu.lazy is Lazy.MMU
        yield from context_switch(self.cpu, mm)

    def move_to(self, cpu: Cpu) -> None:
        """Go on on another CPU."""
        self.cpu = cpu
        if self._was_lazy:
            enter_lazy_mmu(cpu)


def set_kernel_pte(task: Task, va: int, table: int, value: int) -> Activity:
    """set_pte_at() on the kernel's own tables, for which nobody takes a lock.

    Which CPU this is, and whether it puts updates off, is looked up before it is used. With a lock
    held the task would stay there; without one preemption has to be off (2bd50036b5df).
    """
    kernel = task.cpu.kernel
    holds = kernel.fixes.init_mm_updates_hold_cpu
    task.preemption_off += holds
    looked_up = task.cpu
    yield STEP
    # A call of its own is made by the CPU that runs the task; a buffer is whose it was.
    cpu = looked_up if looked_up.lazy is Lazy.MMU else task.cpu
    yield from set_pte(cpu, kernel.init_mm, va, table, slot_of(va, 1), value)
    task.preemption_off -= holds
