"""R6: the interrupt that takes a CPU off an address space finds it on its way to another."""

from collections.abc import Sequence

from models.linux.run.pinning import pin_mm
from models.linux.run.process import begin_exec
from models.linux.run.switching import switch_mm
from models.races.race import Fix, Race, Stage
from models.races.stages.borrowed_child import exit_and_move_on, prepare_borrowed
from sim.effects import Activity


def prepare(stage: Stage) -> Activity:
    """The second CPU is idle on a child, and about to execute a program."""
    stage.mms["new"] = yield from begin_exec(stage.cpu(1), "new")
    yield from pin_mm(stage.cpu(1), stage.mms["new"])
    yield from prepare_borrowed(stage)


def actors_on(stage: Stage) -> Sequence[Activity]:
    """The first CPU takes a child down, the second one executes a program on its tables.

    That is a kernel thread (call_usermodehelper): interrupts are on while it changes over.
    """
    new = stage.mms["new"]
    return exit_and_move_on(stage, lambda cpu: switch_mm(cpu, new), window)


def window(stage: Stage) -> bool:
    """Has the second CPU left lazy mode, and not yet the borrowed address space?"""
    cpu = stage.cpu(1)
    moving = stage.turn > stage.notes["left"]
    return moving and not cpu.tlb_is_lazy and cpu.loaded_mm is stage.mms.get("child")


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
    bug="D4",
    gap="500ns",
    rounds=20,
)
