"""R6: the interrupt that takes a CPU off an address space finds it on its way to another."""

from collections.abc import Sequence

from models.linux.pinning import pin_mm
from models.linux.process import begin_exec, exit_mm, fork
from models.linux.switching import context_switch, switch_mm
from models.races.fork_and_reclaim import process
from models.races.race import GAP, Fix, Race, Stage
from sim.effects import STEP, Activity, WaitUntil


def prepare(stage: Stage) -> Activity:
    """A process on the first CPU, and a program that the second one is about to execute."""
    stage.mms["parent"] = yield from process(stage.cpu(0), "parent")
    stage.mms["new"] = yield from begin_exec(stage.cpu(1), "new")
    yield from pin_mm(stage.cpu(1), stage.mms["new"])


def actors_on(stage: Stage) -> Sequence[Activity]:
    """The first CPU takes a child down, the second one executes a program on the child's tables."""
    return [_exits(stage), _executes(stage)]


def _exits(stage: Stage) -> Activity:
    cpu = stage.cpu(0)
    for _ in range(stage.rounds):
        stage.mms["child"] = yield from fork(cpu, stage.mms["parent"], "child")
        yield STEP
        stage.turn += 1
        yield WaitUntil("the child to be borrowed", lambda: stage.turn % 3 == 2)
        yield GAP
        stage.opportunities += 1
        yield from exit_mm(cpu, stage.mms["child"])
        if stage.failed:
            break
        yield WaitUntil("the other CPU", lambda: stage.turn % 3 == 0)
    yield STEP
    stage.over = True


def _executes(stage: Stage) -> Activity:
    cpu = stage.cpu(1)
    while True:
        yield WaitUntil("a child", lambda: stage.over or stage.turn % 3 == 1)
        if stage.over:
            return
        yield from context_switch(cpu, stage.mms["child"])
        yield from context_switch(cpu, None)
        yield STEP
        stage.turn += 1
        yield GAP
        # A kernel thread that executes a program (call_usermodehelper): interrupts are on.
        yield from switch_mm(cpu, stage.mms["new"])
        yield STEP
        stage.turn += 1


def window(stage: Stage) -> bool:
    """Has the second CPU left lazy mode, and not yet the borrowed address space?"""
    cpu = stage.cpu(1)
    return not cpu.tlb_is_lazy and cpu.loaded_mm is stage.mms.get("child")


RACE = Race(
    id="R6",
    title="leave_mm() on a CPU that has left lazy mode",
    kind="race",
    actors=("exit: interrupts who borrows the pgd", "kernel thread: executes a program"),
    fix=Fix(
        "leave_mm_asks_again",
        "the interrupt's handler looks whether the address space is still a borrowed one",
        ("7899891c7d16", "86bc85941ec3"),
    ),
    detectors=("D4",),
    without_fix="crash: kernel BUG at arch/x86/mm/tlb.c:61",
    with_fix="ok: the handler leaves a CPU alone that is no longer lazy, but for its base",
    story=(
        "Exit finds a CPU that runs a kernel thread on the dying address space and interrupts "
        "it, to be left by leave_mm(). Before the interrupt arrives that CPU may have begun to "
        "take an address space of its own: its state says so already, while the address space "
        "it has loaded is still the old one. leave_mm() on a CPU that is not lazy is a BUG. A "
        "change of when the CPU leaves the mask (831d52bc1539) made a rare accident a common one."
    ),
    prepare=prepare,
    actors_on=actors_on,
    window=window,
    opportunity="a child exits whose base was loaded elsewhere",
    search="seeds",
    bug="D4",
    gap="500ns",
    rounds=20,
)
