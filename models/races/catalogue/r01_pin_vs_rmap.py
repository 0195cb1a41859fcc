"""R1: fork pins a new address space while reclaim writes to its entries."""

from collections.abc import Sequence

from models.races.race import Fix, Race, Stage
from models.races.seen import Seen
from models.races.stages.fork_and_reclaim import forks, in_between, prepare_parent, reclaimers
from sim.effects import Activity


def actors_on(stage: Stage) -> Sequence[Activity]:
    """The first CPU forks; the others reclaim."""
    return [forks(stage), *reclaimers(stage, flagged=True)]


def look(stage: Stage, seen: Seen) -> bool:
    """Is an L1 of a child read-only, and not pinned yet?"""
    return in_between(stage, seen, flagged=True)


def window(stage: Stage) -> bool:
    """The same, once."""
    return look(stage, Seen(stage.kernel.frames))


RACE = Race(
    id="R1",
    title="pinning a new address space against reclaim's stores to it",
    kind="race",
    actors=("fork: pins the child", "reclaim: clears an accessed bit by the reverse mapping"),
    fix=Fix(
        "pin_takes_pte_locks",
        "pinning holds an L1's split lock from the read-only mapping to the end of the batch",
        ("74260714c56d", "eefb47f6a1e8"),
    ),
    detectors=("D1",),
    without_fix="crash: reclaim's store faults on a page that Xen does not take for a table yet",
    with_fix="ok: reclaim waits for the lock, and Xen emulates its store",
    story=(
        "fork() puts the child's areas into the reverse mapping long before it pins the child's "
        "tables. Pinning makes a table read-only first and tells Xen that it is one next, in the "
        "same multicall or in two. A CPU that follows the reverse mapping in between stores to a "
        "page that it may not write to, and for which Xen has no reason to help: the kernel dies. "
        "Nothing but the table's own lock keeps the two apart, so pinning takes it, and gives it "
        "back when the batch is done; the size of a batch bounds the number of locks."
    ),
    prepare=prepare_parent,
    actors_on=actors_on,
    window=window,
    window_seen=look,
    opportunity="reclaim finds the page in a child",
)
