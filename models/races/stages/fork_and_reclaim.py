"""The stage of R1 and R2: a process forks and its children exit, while other CPUs reclaim."""

from collections.abc import Sequence

from models.linux.run.faults import touch
from models.linux.run.kernel import Cpu
from models.linux.run.mapping import map_area
from models.linux.run.mm import Area, Mm, tables_below
from models.linux.run.pinning import pin_mm
from models.linux.run.process import exit_mm, fork, new_mm
from models.linux.run.reclaim import page_referenced, use
from models.linux.run.switching import context_switch
from models.machine.walk import find_l1_entry
from models.races.race import Stage, pause
from models.races.seen import Seen
from models.races.verdict import read_only_and_untyped, seen_live_table, seen_writable
from sim.effects import Activity

FIRST_PAGE, PAGES = 0x1000, 2
_PAGES = range(FIRST_PAGE, FIRST_PAGE + PAGES)


def process(cpu: Cpu, name: str) -> Activity:
    """A process with two pages of its own, loaded on a CPU: its address space."""
    mm = yield from new_mm(cpu, name)
    yield from pin_mm(cpu, mm)
    yield from context_switch(cpu, mm)
    map_area(mm, Area("heap", FIRST_PAGE, FIRST_PAGE + PAGES))
    for page in _PAGES:
        yield from touch(cpu, mm, page << 12, write=True)
    return mm


def prepare_parent(stage: Stage) -> Activity:
    """A process that will fork."""
    stage.mms["parent"] = yield from process(stage.cpu(0), "parent")


def prepare_child(stage: Stage) -> Activity:
    """A process that has forked, with its pages marked as used."""
    yield from prepare_parent(stage)
    parent = stage.mms["parent"]
    yield from use(stage.cpu(0), parent, _PAGES)
    stage.mms["child"] = yield from fork(stage.cpu(0), parent, "child")


def children(stage: Stage) -> list[Mm]:
    """Address spaces of children, as the reverse mapping finds them."""
    return [mm for mm in stage.kernel.pgd_list if mm.name.startswith("child") and mm.areas]


def in_between(stage: Stage, seen: Seen, *, flagged: bool) -> bool:
    """Is an L1 of a child read-only and no table for Xen, its flag being so?"""
    kernel = stage.kernel
    for mm in seen.items(kernel.pgd_list):
        if not mm.name.startswith("child") or not seen.items(mm.areas):
            continue
        walk = find_l1_entry(seen, mm.pgd, FIRST_PAGE << 12)  # all its pages are in one L1
        if walk is None or seen.member(kernel.pinned, walk[0]) is not flagged:
            continue
        if seen_live_table(stage, seen, walk[0]) != 1 and not seen_writable(stage, seen, walk[0]):
            return True
    return False


def forks(stage: Stage) -> Activity:
    """Fork, and on the clock also the child's exit, again and again."""
    cpu, parent = stage.cpu(0), stage.mms["parent"]
    for number in range(stage.rounds):
        yield from use(cpu, parent, _PAGES)
        child = yield from fork(cpu, parent, f"child {number}")
        if stage.rounds > 1:
            yield from exit_mm(cpu, child)
    stage.end_rounds()


def reclaimers(stage: Stage, *, flagged: bool) -> Sequence[Activity]:
    """On every other CPU: one pass, or on the clock one after every pause."""
    return [
        _reclaims(stage, number, flagged=flagged) for number in range(1, len(stage.kernel.cpus))
    ]


def _reclaims(stage: Stage, number: int, *, flagged: bool) -> Activity:
    kernel = stage.kernel
    parents = {mfn for _, mfn in tables_below(kernel, stage.mms["parent"].pgd)}

    def asks(table: int) -> None:
        if table not in parents:
            stage.opportunities += 1
            between = read_only_and_untyped(stage, table)
            stage.near_misses += between and (table in kernel.pinned) is flagged

    while True:
        yield from pause()
        if stage.over:
            return
        yield from page_referenced(stage.cpu(number), FIRST_PAGE, asks)
        if stage.rounds == 1:
            return
