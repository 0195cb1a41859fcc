"""R18: tables are added to an address space that is being pinned: looked at, and found safe."""

from collections.abc import Sequence

from models.linux.run.faults import l1_for
from models.linux.run.pinning import pin_mm
from models.linux.run.process import STACK_TOP_PAGE, begin_exec
from models.races.race import Fix, Race, Stage
from sim.effects import STEP, Activity, WaitUntil

_NEIGHBOUR = STACK_TOP_PAGE - 512 << 12
"""An address whose L1 is missing, under an L2 that is there."""


def prepare(stage: Stage) -> Activity:
    """An address space that is about to be pinned."""
    stage.mms["new"] = yield from begin_exec(stage.cpu(0), "new")


def actors_on(stage: Stage) -> Sequence[Activity]:
    """One CPU pins it, the other one adds a table."""
    return [_pins(stage), populate(stage, waits=stage.fix)]


def _pins(stage: Stage) -> Activity:
    yield from pin_mm(stage.cpu(0), stage.mms["new"])
    yield STEP
    stage.turn = 1


def populate(stage: Stage, *, waits: bool) -> Activity:
    """A page fault in it; with split locks none can come before somebody runs there."""
    if waits:
        yield WaitUntil("the new address space to run", lambda: stage.turn == 1)
    yield from l1_for(stage.cpu(1), stage.mms["new"], _NEIGHBOUR)


RACE = Race(
    id="R18",
    title="pmd_populate() against pinning",
    kind="checked-not-a-race",
    actors=("fork or exec: pins", "page fault: adds an L1 to the same address space"),
    fix=Fix(
        "split_pmd_locks",
        "no fix: off is one page_table_lock for both (2.6.39); on are split L2 locks (since 3.13), "
        "where nobody can fault in an address space that is not in use yet",
        (),
    ),
    detectors=("D1", "D2"),
    without_fix="ok: both hold the mm's page_table_lock",
    with_fix="ok: the fault cannot come before the address space is pinned",
    story=(
        "Adding an L1 looks at whether the address space is pinned and then stores or calls, as "
        "in R3. Until 3.12 the same lock excludes it while it is being pinned. Since then an L2 "
        "has a lock of its own, which pinning does not take: what keeps them apart is that a new "
        "address space is pinned before any CPU runs in it or can fault on its behalf. Without "
        "either, the tests see it fail."
    ),
    prepare=prepare,
    actors_on=actors_on,
)
