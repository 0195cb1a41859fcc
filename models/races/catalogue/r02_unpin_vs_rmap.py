"""R2: exit unpins an address space while reclaim writes to its entries."""

from collections.abc import Sequence

from models.linux.run.process import exit_mm
from models.races.race import Fix, Race, Stage
from models.races.seen import Seen
from models.races.stages.fork_and_reclaim import forks, in_between, prepare_child, reclaimers
from sim.effects import Activity


def actors_on(stage: Stage) -> Sequence[Activity]:
    """The first CPU takes children down; the others reclaim."""
    first = _exits(stage) if stage.rounds == 1 else forks(stage)
    return [first, *reclaimers(stage, flagged=False)]


def _exits(stage: Stage) -> Activity:
    yield from exit_mm(stage.cpu(0), stage.mms["child"])
    stage.end_rounds()


def look(stage: Stage, seen: Seen) -> bool:
    """Is an L1 of a child unpinned, and not writable yet?"""
    return in_between(stage, seen, flagged=False)


def window(stage: Stage) -> bool:
    """The same, once."""
    return look(stage, Seen(stage.kernel.frames))


RACE = Race(
    id="R2",
    title="unpinning an address space against reclaim's stores to it",
    kind="race",
    actors=("exit: unpins the child", "reclaim: clears an accessed bit by the reverse mapping"),
    fix=Fix(
        "unpin_takes_pte_locks",
        "unpinning holds an L1's split lock from the unpin to the end of the batch",
        ("74260714c56d",),
    ),
    detectors=("D1",),
    without_fix="crash: reclaim's store faults on a page that is no table any more",
    with_fix="ok: reclaim waits for the lock, and its store is an ordinary one",
    story=(
        "The mirror of R1. exit_mmap() unpins the tables before it takes the areas out of the "
        "reverse mapping. Each L1 stops being a table for Xen, and becomes writable by the next "
        "entry of the multicall. In between it is neither: Xen does not emulate stores to it and "
        "its mapping does not allow them. The lock of the table is held across both."
    ),
    prepare=prepare_child,
    actors_on=actors_on,
    window=window,
    window_seen=look,
    opportunity="reclaim finds the page in a child",
)
