"""R5: an address space is unpinned while a CPU still has it loaded."""

from collections.abc import Sequence

from models.linux.process import exit_mm, fork
from models.linux.switching import context_switch
from models.races.fork_and_reclaim import process
from models.races.race import GAP, Fix, Race, Stage
from sim.effects import STEP, Activity, WaitUntil


def prepare(stage: Stage) -> Activity:
    """A process on each of the first two CPUs."""
    stage.mms["parent"] = yield from process(stage.cpu(0), "parent")
    stage.mms["other"] = yield from process(stage.cpu(1), "other")


def actors_on(stage: Stage) -> Sequence[Activity]:
    """The first CPU takes a child down that the second one has just left."""
    return [_exits(stage), _switches(stage)]


def _exits(stage: Stage) -> Activity:
    cpu = stage.cpu(0)
    for _ in range(stage.rounds):
        stage.mms["child"] = yield from fork(cpu, stage.mms["parent"], "child")
        yield STEP
        stage.turn += 1
        yield WaitUntil("the child to be borrowed", lambda: stage.turn % 3 == 2)
        yield GAP
        stage.opportunities += 1
        stage.near_misses += window(stage)
        yield from exit_mm(cpu, stage.mms["child"])
        if stage.failed:
            break
        yield WaitUntil("the other CPU", lambda: stage.turn % 3 == 0)
    yield STEP
    stage.over = True


def _switches(stage: Stage) -> Activity:
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
        yield from context_switch(cpu, stage.mms["other"])
        yield STEP
        stage.turn += 1


def window(stage: Stage) -> bool:
    """Has the second CPU asked for another base than the hypervisor has loaded?"""
    cpu = stage.cpu(1)
    return cpu.cr3 != cpu.vcpu.cr3


RACE = Race(
    id="R5",
    title="unpinning an address space that a CPU is about to leave",
    kind="race",
    actors=("exit: unpins the pgd", "context switch: has queued the load of another base"),
    fix=Fix(
        "exit_asks_current_cr3",
        "exit goes by the base that the hypervisor was really told, and interrupts who has it",
        ("9f79991d4186",),
    ),
    detectors=("D3",),
    without_fix="latent: Xen refuses to make a pgd writable that a CPU has loaded",
    with_fix="ok: the CPU is interrupted, and its queued load is made first",
    story=(
        "A context switch puts the load of the new base into the multicall buffer and counts as "
        "done from then on. Until the buffer is flushed the CPU still runs on the old base. If "
        "the last user of the old address space exits just then, nobody seems to use it: it is "
        "unpinned and made writable, which Xen refuses as the base pointer still holds it. The "
        "fix keeps a second record per CPU, set when the hypercall has been made."
    ),
    prepare=prepare,
    actors_on=actors_on,
    window=window,
    opportunity="a child exits whose base was loaded elsewhere",
    search="seeds",
    gap="2us",
)
