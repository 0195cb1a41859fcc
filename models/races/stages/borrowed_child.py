"""The stage of R5 and R6: a child exits on one CPU while another, which borrows it, moves on."""

from collections.abc import Callable, Sequence
from functools import partial

from models.linux.run.kernel import Cpu
from models.linux.run.process import exit_mm, fork
from models.linux.run.switching import context_switch
from models.races.race import Stage, pause
from models.races.stages.fork_and_reclaim import process
from sim.effects import STEP, Activity, WaitUntil


def prepare_borrowed(stage: Stage) -> Activity:
    """A process on the first CPU; the second one is idle on the tables of its child."""
    cpu = stage.cpu(0)
    parent = stage.mms["parent"] = yield from process(cpu, "parent")
    stage.mms["child"] = yield from fork(cpu, parent, "child")
    yield from _borrow(stage)


def exit_and_move_on(
    stage: Stage, move_on: Callable[[Cpu], Activity], window: Callable[[Stage], bool]
) -> Sequence[Activity]:
    """The first CPU takes children down; the second one leaves each by ``move_on``."""
    return [_exits(stage, window), _moves_on(stage, move_on)]


def _borrow(stage: Stage) -> Activity:
    yield from context_switch(stage.cpu(1), stage.mms["child"])
    yield from context_switch(stage.cpu(1), None)


def _exits(stage: Stage, window: Callable[[Stage], bool]) -> Activity:
    cpu = stage.cpu(0)
    for number in range(stage.rounds):
        if number:
            yield WaitUntil("the other CPU to leave", partial(_reached, stage, "left", number))
            stage.mms["child"] = yield from fork(cpu, stage.mms["parent"], "child")
            yield STEP
            stage.notes["made"] = number
            yield WaitUntil("it to borrow", partial(_reached, stage, "borrowed", number))
        yield from pause()
        stage.opportunities += 1
        stage.near_misses += window(stage)
        yield from exit_mm(cpu, stage.mms["child"])
        if stage.failed:
            break
    yield STEP
    stage.over = True


def _reached(stage: Stage, note: str, number: int) -> bool:
    return stage.over or stage.notes[note] >= number


def _moves_on(stage: Stage, move_on: Callable[[Cpu], Activity]) -> Activity:
    cpu = stage.cpu(1)
    for number in range(1, stage.rounds + 1):
        yield from pause()
        stage.turn = number
        yield from move_on(cpu)
        yield STEP
        stage.notes["left"] = number
        if number == stage.rounds:
            return
        yield WaitUntil("a child", partial(_reached, stage, "made", number))
        if stage.over:
            return
        yield from _borrow(stage)
        yield STEP
        stage.notes["borrowed"] = number
