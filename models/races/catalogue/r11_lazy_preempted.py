"""R11: a task is preempted in lazy MMU mode and goes on elsewhere."""

from collections.abc import Sequence

from models.linux.crash import GuestCrash
from models.linux.run.faults import l1_for
from models.linux.run.mm import entry_at, slot_of
from models.linux.run.pv_mmu import enter_lazy_mmu, leave_lazy_mmu, set_pte
from models.linux.run.switching import context_switch
from models.linux.start_state.p2m import PAGE_KERNEL
from models.races.race import Fix, Race, Stage
from models.races.stages.fork_and_reclaim import process
from sim.effects import STEP, Activity, WaitUntil

_VA = 0xFFFF_C900_4000_0000


def prepare(stage: Stage) -> Activity:
    """A process that is waiting for the first CPU, and pages for kernel mappings."""
    stage.mms["other"] = yield from process(stage.cpu(1), "other")
    stage.pages["table"] = yield from l1_for(stage.cpu(0), stage.kernel.init_mm, _VA)
    stage.pages["page"] = stage.kernel.alloc_page()


def actors_on(stage: Stage) -> Sequence[Activity]:
    """A task maps pages on the first CPU, and after a switch on the second one."""
    return [_begins(stage), _goes_on(stage)]


def _map(stage: Stage, number: int, page: int) -> Activity:
    kernel = stage.kernel
    va = _VA + (page << 12)
    value = kernel.mfn(stage.pages["page"]) << 12 | PAGE_KERNEL
    table = stage.pages["table"]
    yield from set_pte(stage.cpu(number), kernel.init_mm, va, table, slot_of(va, 1), value)


def _begins(stage: Stage) -> Activity:
    """apply_to_page_range() on the kernel's own tables: no lock is held, so it is preemptible."""
    cpu = stage.cpu(0)
    enter_lazy_mmu(cpu)
    yield from _map(stage, 0, 0)
    yield from _map(stage, 0, 1)
    yield from context_switch(cpu, stage.mms["other"])
    yield STEP
    stage.turn = 1


def _goes_on(stage: Stage) -> Activity:
    cpu, kernel = stage.cpu(1), stage.kernel
    yield WaitUntil("the task to be switched away", lambda: stage.turn == 1)
    enter_lazy_mmu(cpu)  # TIF_LAZY_MMU_UPDATES
    yield from _map(stage, 1, 2)
    yield from leave_lazy_mmu(cpu)
    for page in range(3):
        if not entry_at(kernel, stage.pages["table"], slot_of(_VA + (page << 12), 1)):
            raise GuestCrash("bug", f"page {page} is not mapped, though lazy mode has been left")


RACE = Race(
    id="R11",
    title="a context switch in lazy MMU mode",
    kind="order",
    actors=("a task that maps kernel pages in lazy mode", "the scheduler: preempts and moves it"),
    fix=Fix(
        "switch_leaves_lazy_mmu",
        "a context switch flushes, leaves lazy MMU mode and notes that the task goes back to it",
        ("b407fc57b815", "2829b449276a", "d6382bf77e30"),
    ),
    detectors=("D9",),
    without_fix="crash: BUG, the CPU is in a lazy mode already",
    with_fix="ok: what was queued is done before the task can run elsewhere",
    story=(
        "The multicall buffer and the lazy mode belong to the CPU, the work in lazy mode to a "
        "task. Tables of the kernel are changed without a lock, so the task can be preempted in "
        "between: its updates would stay behind in the old CPU's buffer, and the next task would "
        "find itself in a mode that it did not ask for. The switch itself wants lazy CPU mode, "
        "and two modes at once are a BUG."
    ),
    prepare=prepare,
    actors_on=actors_on,
)
