"""R9: a high page becomes a page table while an old kmap of it is still there (32-bit)."""

from collections.abc import Sequence

from models.linux.run.faults import l1_for
from models.linux.run.highmem import PKMAP_BASE, HighMemory
from models.linux.run.mm import lower_table, slot_of
from models.races.race import Fix, Race, Stage, pause
from models.races.stages.fork_and_reclaim import FIRST_PAGE, process
from models.races.verdict import live_table
from models.xen.accesses import store, translate
from sim.effects import STEP, Activity, WaitUntil

_FAR = FIRST_PAGE + 512 << 12
"""An address whose L1 is missing, under an L2 that is there."""


def prepare(stage: Stage) -> Activity:
    """A process on the second CPU, tables for kmaps, and a page that is to be a high one."""
    cpu, kernel = stage.cpu(0), stage.kernel
    stage.mms["other"] = yield from process(stage.cpu(1), "other")
    yield from l1_for(cpu, kernel.init_mm, PKMAP_BASE)
    memory = stage.parts["high memory"] = HighMemory(kernel)
    stage.pages["high"] = kernel.alloc_page()
    yield from memory.take_from_direct_map(cpu, stage.pages["high"])


def actors_on(stage: Stage) -> Sequence[Activity]:
    """The first CPU maps and frees high pages, the second one takes them for tables."""
    return [_maps(stage), _takes_tables(stage)]


def _maps(stage: Stage) -> Activity:
    cpu = stage.cpu(0)
    memory: HighMemory = stage.parts["high memory"]
    for _ in range(stage.rounds):
        yield from pause()
        if not memory.free:
            continue
        page = memory.free.pop()
        va = yield from memory.kmap(cpu, page)
        yield from store(stage.kernel.xen, cpu.vcpu, va, 0)
        yield from memory.kunmap(va)
        yield STEP
        memory.free.append(page)
        if stage.failed:
            break
    yield STEP
    stage.over = True


def _takes_tables(stage: Stage) -> Activity:
    cpu, kernel = stage.cpu(1), stage.kernel
    memory: HighMemory = stage.parts["high memory"]
    mm = stage.mms["other"]
    l3 = lower_table(kernel, mm.pgd, slot_of(_FAR, 4))
    assert l3 is not None
    l2 = lower_table(kernel, l3, slot_of(_FAR, 3))
    assert l2 is not None
    while True:
        yield from pause()
        yield WaitUntil("a high page", lambda: stage.over or bool(memory.free))
        if not memory.free or (stage.over and stage.rounds > 1):
            return
        page = memory.free.pop()
        stage.opportunities += 1
        stage.near_misses += window(stage)
        yield from memory.add_table(cpu, l2, slot_of(_FAR, 2), page)
        if stage.rounds == 1 or stage.failed:
            return
        yield from memory.remove_table(cpu, l2, slot_of(_FAR, 2), page)


def window(stage: Stage) -> bool:
    """Is the page mapped somewhere, and no table?"""
    mfn = stage.kernel.mfn(stage.pages["high"])
    found = translate(stage.kernel.xen, stage.cpu(0).vcpu, PKMAP_BASE)
    return found is not None and found.mfn == mfn and not live_table(stage, mfn)


RACE = Race(
    id="R9",
    title="a page table in high memory with a stale kmap",
    kind="race",
    actors=("kunmap: leaves the entry where it is", "page fault: takes the page for a table"),
    fix=Fix(
        "high_tables_flush_kmaps",
        "unused kmaps are flushed before a high page becomes a table; later high tables were "
        "switched off under Xen",
        ("817a824b75b",),
    ),
    detectors=("D2",),
    without_fix="latent: the L2's entry is refused, the page is mapped writable once more",
    with_fix="ok: no entry is left when Xen validates the page",
    story=(
        "A 32-bit kernel maps high pages when it needs them, and forgets to unmap them: an entry "
        "that nobody uses stays until there are none left, as in R8. A high page can be a page "
        "table (HIGHPTE). It has no place in the direct map that would have to become read-only, "
        "so the kernel only enters it, and Xen finds it mapped writable by the forgotten entry. "
        "kmap_flush_unused() empties these first; since 817a824b75b tables under Xen come from "
        "low memory."
    ),
    prepare=prepare,
    actors_on=actors_on,
    window=window,
    opportunity="a high page is taken for a table",
    limits=(
        "High memory in outline on a 64-bit guest: a page is taken out of the direct map and "
        "mapped in vmalloc space. How many levels there are, and how large an entry is, makes no "
        "difference to what Xen counts."
    ),
)
