"""R1: fork pins a new address space while reclaim writes to its entries."""

from collections.abc import Sequence

from models.linux.mapping import map_area
from models.linux.mm import Area, tables_below
from models.linux.pinning import pin_mm
from models.linux.process import exit_mm, fork, new_mm
from models.linux.faults import touch
from models.linux.reclaim import page_referenced, use
from models.linux.switching import context_switch
from models.races.race import GAP, Fix, Race, Stage
from models.races.verdict import read_only_and_untyped
from sim.effects import Activity

FIRST_PAGE, PAGES = 0x1000, 2


def prepare(stage: Stage) -> Activity:
    """A process with two pages of its own, loaded on the first CPU."""
    cpu = stage.cpu(0)
    mm = yield from new_mm(cpu, "parent")
    yield from pin_mm(cpu, mm)
    yield from context_switch(cpu, mm)
    map_area(mm, Area("heap", FIRST_PAGE, FIRST_PAGE + PAGES))
    for page in range(FIRST_PAGE, FIRST_PAGE + PAGES):
        yield from touch(cpu, mm, page << 12, write=True)
    stage.mms["parent"] = mm


def window(stage: Stage) -> bool:
    """Is an L1 of a child read-only, and no table for Xen?"""
    kernel = stage.kernel
    parent = stage.mms["parent"]
    return any(
        read_only_and_untyped(stage, mfn)
        for mm in kernel.pgd_list
        if mm is not parent and mm.areas
        for level, mfn in tables_below(kernel, mm.pgd)
        if level == 1
    )


def actors_on(stage: Stage) -> Sequence[Activity]:
    """The first CPU forks; the others reclaim."""
    return [_forks(stage), *(_reclaims(stage, cpu) for cpu in range(1, len(stage.kernel.cpus)))]


def _forks(stage: Stage) -> Activity:
    cpu, parent = stage.cpu(0), stage.mms["parent"]
    for number in range(stage.rounds):
        yield from use(cpu, parent, range(FIRST_PAGE, FIRST_PAGE + PAGES))
        child = yield from fork(cpu, parent, f"child {number}")
        if stage.rounds > 1:
            yield from exit_mm(cpu, child)
        if stage.failed:
            break
    stage.over = True


def _reclaims(stage: Stage, number: int) -> Activity:
    cpu, parent = stage.cpu(number), stage.mms["parent"]

    def asks(table: int) -> None:
        if any(table == mfn for _, mfn in tables_below(stage.kernel, parent.pgd)):
            return
        stage.opportunities += 1
        stage.near_misses += read_only_and_untyped(stage, table)

    for _ in range(stage.rounds if stage.rounds == 1 else 1 << 30):
        yield GAP
        if stage.over and stage.rounds > 1:
            return
        yield from page_referenced(cpu, FIRST_PAGE, asks)


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
    prepare=prepare,
    actors_on=actors_on,
    window=window,
    opportunity="reclaim finds the page in a child",
)
