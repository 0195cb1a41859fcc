"""R13: a table is freed under a walk that takes no lock."""

from collections.abc import Sequence

from models.linux.run.faults import touch
from models.linux.run.gup import gup_fast
from models.linux.run.kernel import Cpu
from models.linux.run.mapping import map_area, unmap
from models.linux.run.mm import Area, Mm
from models.linux.run.switching import context_switch
from models.races.race import Fix, Race, Stage, pause
from models.races.stages.fork_and_reclaim import process
from sim.effects import Activity

_FAR_PAGE = 0x4000_0000


def prepare(stage: Stage) -> Activity:
    """A process with a thread on each of two CPUs, and an area with tables of its own."""
    cpu = stage.cpu(0)
    mm = stage.mms["shared"] = yield from process(cpu, "shared")
    yield from context_switch(stage.cpu(1), mm)
    yield from _map(cpu, mm)


def _map(cpu: Cpu, mm: Mm) -> Activity:
    map_area(mm, Area("far", _FAR_PAGE, _FAR_PAGE + 1))
    yield from touch(cpu, mm, _FAR_PAGE << 12, write=True)


def actors_on(stage: Stage) -> Sequence[Activity]:
    """One thread unmaps, the other looks up the same address."""
    return [_unmaps(stage), _walks(stage)]


def _unmaps(stage: Stage) -> Activity:
    cpu, mm = stage.cpu(0), stage.mms["shared"]
    for number in range(stage.rounds):
        if number:
            yield from _map(cpu, mm)
        yield from pause()
        yield from unmap(cpu, mm, mm.area("far"))
    stage.end_rounds()


def _walks(stage: Stage) -> Activity:
    while True:
        yield from pause()
        if stage.over:
            return
        stage.opportunities += 1
        yield from gup_fast(stage.cpu(1), stage.mms["shared"], _FAR_PAGE << 12)
        if stage.rounds == 1:
            return


def window(stage: Stage) -> bool:
    """Is a lockless walk under way?"""
    return any(stage.kernel.walked.values())


RACE = Race(
    id="R13",
    title="freeing a table under get_user_pages_fast()",
    kind="race",
    actors=(
        "munmap: frees tables after a flush by hypercall",
        "gup_fast: walks with interrupts off",
    ),
    fix=Fix(
        "tables_freed_by_rcu",
        "tables are given back after a grace period (RCU)",
        ("9e52fc2b50de", "a17c9da9264d"),
    ),
    detectors=("D7",),
    without_fix="crash: the walk reads a table that is free, and may be anything",
    with_fix="ok: it is given back when the walk has ended",
    story=(
        "get_user_pages_fast() takes no lock. On bare hardware interrupts that are off protect "
        "it: who frees a table has to interrupt this CPU first, for the flush, and waits. Under "
        "Xen the flush is a hypercall, which asks the guest's interrupt flag nothing: it comes "
        "back while the walk is still under way, and the table is freed under it."
    ),
    prepare=prepare,
    actors_on=actors_on,
    window=window,
    opportunity="an address is looked up",
    bug="D7",
    gap="1us",
)
