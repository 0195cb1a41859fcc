"""The stage of R7 and R16: an address space that two CPUs use, and one of them leaves."""

from models.linux.run.switching import context_switch
from models.races.race import Stage, pause
from models.races.stages.fork_and_reclaim import process
from sim.effects import Activity


def prepare_shared(stage: Stage) -> Activity:
    """A process with a thread on each of two CPUs, and another one that waits."""
    stage.mms["other"] = yield from process(stage.cpu(1), "other")
    stage.mms["shared"] = yield from process(stage.cpu(0), "shared")
    yield from context_switch(stage.cpu(1), stage.mms["shared"])


def leaves(stage: Stage) -> Activity:
    """The second CPU leaves the address space, and on the clock comes back, again and again."""
    cpu = stage.cpu(1)
    while True:
        yield from pause()
        yield from context_switch(cpu, stage.mms["other"])
        if stage.over or stage.rounds == 1:
            return
        yield from pause()
        yield from context_switch(cpu, stage.mms["shared"])
