"""R19: what it costs to get every CPU off an address space that ends."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from models.linux.run.process import exit_mm, fork
from models.linux.run.switching import context_switch, leave_mm
from models.races.race import Fix, Race, Stage
from models.races.stages.fork_and_reclaim import process
from sim.effects import STEP, Activity, WaitUntil


def prepare(stage: Stage) -> Activity:
    """A process that will fork."""
    stage.mms["parent"] = yield from process(stage.cpu(0), "parent")


def actors_on(stage: Stage) -> Sequence[Activity]:
    """Every CPU has run in a child and is idle when the child exits on the first one."""
    others = range(1, len(stage.kernel.cpus))
    return [_exits(stage), *(_idles(stage, number) for number in others)]


def _exits(stage: Stage) -> Activity:
    cpu = stage.cpu(0)
    others = len(stage.kernel.cpus) - 1
    for number in range(1, stage.rounds + 1):
        stage.mms["child"] = yield from fork(cpu, stage.mms["parent"], "child")
        yield STEP
        stage.turn = number
        stage.notes["idle"] = 0
        yield WaitUntil("all to be idle", lambda: stage.notes["idle"] == others)
        stage.notes["exits"] = number
        yield from exit_mm(cpu, stage.mms["child"])
    yield STEP
    stage.over = True


def _idles(stage: Stage, number: int) -> Activity:
    cpu = stage.cpu(number)
    seen = 0
    while True:
        yield WaitUntil("a child", partial(_waited_for, stage, seen))
        if stage.over:
            return
        seen = stage.turn
        yield from context_switch(cpu, stage.mms["child"])
        yield from context_switch(cpu, None)
        if stage.fix:
            yield from leave_mm(cpu)
        yield STEP
        stage.notes["idle"] += 1


def _waited_for(stage: Stage, seen: int) -> bool:
    return stage.over or stage.turn > seen


def measures(stage: Stage) -> dict[str, Any]:
    """Interrupts for each exit."""
    exits = stage.notes["exits"]
    return {
        "exits": exits,
        "interrupts": stage.kernel.drop_interrupts,
        "interrupts_per_exit": stage.kernel.drop_interrupts / exits,
    }


RACE = Race(
    id="R19",
    title="interrupts at exit for every CPU that borrows the address space",
    kind="cost",
    actors=("exit: interrupts all who have the pgd loaded", "idle CPUs: keep what they had loaded"),
    fix=Fix(
        "",
        "CPUs that go idle load the kernel's own tables (leave_mm before a deep sleep)",
        (),
    ),
    detectors=(),
    without_fix="ok, with an interrupt for each idle vCPU that ran in the address space",
    with_fix="ok, without interrupts",
    story=(
        "An idle CPU keeps the tables of the last process loaded, so that coming back to it "
        "costs nothing. When that process exits, its pgd is to be unpinned, which takes every "
        "CPU off it: an interrupt to each, and a wait for all, descheduled ones included. The "
        "cost grows with the number of CPUs that were idle in it."
    ),
    prepare=prepare,
    actors_on=actors_on,
    search="seeds",
    measures=measures,
)
