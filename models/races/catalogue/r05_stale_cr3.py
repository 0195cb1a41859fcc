"""R5: an address space is unpinned while a CPU still has it loaded."""

from collections.abc import Sequence

from models.linux.run.switching import context_switch
from models.races.race import Fix, Race, Stage
from models.races.stages.borrowed_child import exit_and_move_on, prepare_borrowed
from models.races.stages.fork_and_reclaim import process
from sim.effects import Activity


def prepare(stage: Stage) -> Activity:
    """A second process, and the second CPU idle on a child of the first."""
    stage.mms["other"] = yield from process(stage.cpu(1), "other")
    yield from prepare_borrowed(stage)


def actors_on(stage: Stage) -> Sequence[Activity]:
    """The first CPU takes a child down, the second one switches from it to another process."""
    other = stage.mms["other"]
    return exit_and_move_on(stage, lambda cpu: context_switch(cpu, other), window)


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
    without_fix="crash: Xen refuses to make a loaded pgd writable, and the kernel stores to it",
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
    gap="2us",
)
