"""R15: the kernel's own tables are changed without a lock, by tasks that can be preempted."""

from collections.abc import Sequence

from models.linux.crash import GuestCrash
from models.linux.run.faults import l1_for
from models.linux.run.mm import entry_at, slot_of
from models.linux.run.pv_mmu import enter_lazy_mmu, leave_lazy_mmu, set_pte
from models.linux.run.task import Task, set_kernel_pte
from models.linux.start_state.p2m import PAGE_KERNEL
from models.machine.entries import PAGE_SHIFT
from models.races.race import Fix, Race, Stage
from models.races.stages.fork_and_reclaim import process
from sim.effects import STEP, Activity, WaitUntil

_VA = 0xFFFF_C900_4000_0000
_FIRST, _SECOND, _NEXT, _OTHER = range(4)
"""Whose pages these are: two of the task, one of who gets its CPU, one of the other CPU's task."""


def prepare(stage: Stage) -> Activity:
    """An L1 of vmalloc space, a page to map there, and an address space to switch to."""
    stage.pages["table"] = yield from l1_for(stage.cpu(0), stage.kernel.init_mm, _VA)
    stage.pages["page"] = stage.kernel.alloc_page()
    stage.mms["other"] = yield from process(stage.cpu(1), "other")


def actors_on(stage: Stage) -> Sequence[Activity]:
    """A task maps pages, is perhaps preempted and moved, while others map some in the same L1."""
    task = Task(stage.cpu(0))
    work = _maps_two(stage, task)
    return [_first_cpu(stage, task, work), _second_cpu(stage, task, work)]


def _first_cpu(stage: Stage, task: Task, work: Activity) -> Activity:
    """The task, and another one when it has ended or has been taken off."""
    ended = yield from task.run(work, preemptible=True)
    if not ended:
        yield from task.make_room(stage.mms["other"])
        yield STEP
        stage.turn = 1
    stage.over = True
    yield from _maps_in_lazy_mode(stage, Task(stage.cpu(0)), (_NEXT,))


def _second_cpu(stage: Stage, task: Task, work: Activity) -> Activity:
    """A mapping at the same time, and then the task, if it has been taken off."""
    kernel, cpu = stage.kernel, stage.cpu(1)
    va = _VA + (_OTHER << PAGE_SHIFT)
    yield from set_pte(cpu, kernel.init_mm, va, stage.pages["table"], slot_of(va, 1), _entry(stage))
    _must_be_mapped(stage, _OTHER)
    yield WaitUntil("the task to be taken off or to end", lambda: stage.over)
    if stage.turn:
        task.move_to(cpu)
        yield from task.run(work, preemptible=False)


def _maps_two(stage: Stage, task: Task) -> Activity:
    return _maps_in_lazy_mode(stage, task, (_FIRST, _SECOND))


def _maps_in_lazy_mode(stage: Stage, task: Task, pages: Sequence[int]) -> Activity:
    """apply_to_page_range() on the kernel's own address space."""
    enter_lazy_mmu(task.cpu)
    for page in pages:
        yield STEP
        va = _VA + (page << PAGE_SHIFT)
        yield from set_kernel_pte(task, va, stage.pages["table"], _entry(stage))
    yield from leave_lazy_mmu(task.cpu)
    yield STEP
    for page in pages:
        _must_be_mapped(stage, page)


def _entry(stage: Stage) -> int:
    return stage.kernel.mfn(stage.pages["page"]) << PAGE_SHIFT | PAGE_KERNEL


def _must_be_mapped(stage: Stage, page: int) -> None:
    va = _VA + (page << PAGE_SHIFT)
    if not entry_at(stage.kernel, stage.pages["table"], slot_of(va, 1)):
        waiting = [cpu.number for cpu in stage.kernel.cpus if cpu.buffer.requests]
        crash = GuestCrash("bug", f"{va:x} is not mapped, though its mapping has been made")
        crash.why = f"updates wait in the multicall buffer of CPU {waiting}"
        raise crash


RACE = Race(
    id="R15",
    title="changes of the kernel's own tables without a lock, and with preemption on",
    kind="race",
    actors=(
        "a task that maps kernel pages: looks up its CPU, is preempted, goes on elsewhere",
        "the next task of that CPU: maps pages, too, and puts its updates off",
    ),
    fix=Fix(
        "init_mm_updates_hold_cpu",
        "set_pte_at() switches preemption off for the kernel's own tables",
        ("2bd50036b5df",),
    ),
    detectors=("D6",),
    without_fix="crash: an update waits in the buffer of a CPU that the task has left",
    with_fix="ok: every entry is there, whoever changes others of the same table meanwhile",
    story=(
        "Nobody takes a lock for leaves of the kernel's own tables: tasks on several CPUs map "
        "pages of vmalloc space in the same L1 at the same time. That is safe, since each entry is "
        "changed by an update of its own, which Xen makes under the table's page lock. What is not "
        "is to take for granted what a lock gives on the side, that preemption is off: which "
        "buffer updates are put into, and whether they are, belongs to the CPU. A task that is "
        "preempted in between goes on elsewhere with the old CPU's buffer, and if the next task "
        "there puts updates off, nobody makes this one in time."
    ),
    prepare=prepare,
    actors_on=actors_on,
    bug="D6",
    limits=(
        "The commit says that preemption must be off, not what has gone wrong without it: that the "
        "CPU is looked up before the preemption and its buffer is used after it is inferred. "
        "Lazy mode without a lock is that of apply_to_page_range()."
    ),
)
