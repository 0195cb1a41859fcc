"""R8: a page becomes a table while an old mapping of it in vmap space is still there."""

from collections.abc import Sequence

from models.linux.run.faults import l1_for
from models.linux.run.mapping import map_area, unmap
from models.linux.run.mm import Area
from models.linux.run.vmalloc import Vmalloc
from models.races.race import Fix, Race, Stage, pause
from models.races.stages.fork_and_reclaim import FIRST_PAGE, process
from models.xen.accesses import translate
from sim.effects import STEP, Activity

_FAR_PAGE = FIRST_PAGE + 512
"""An area whose L1 is missing, under an L2 that is there."""


def prepare(stage: Stage) -> Activity:
    """A process on the second CPU, and tables for vmap space."""
    cpu = stage.cpu(0)
    stage.mms["other"] = yield from process(stage.cpu(1), "other")
    space = Vmalloc(stage.kernel)
    page = stage.kernel.alloc_page()
    yield from space.unmap(cpu, (yield from space.map(cpu, [page])))
    stage.kernel.free_page(page)


def actors_on(stage: Stage) -> Sequence[Activity]:
    """The first CPU maps and frees pages, the second one takes pages for tables."""
    return [_maps(stage), _takes_tables(stage)]


def _maps(stage: Stage) -> Activity:
    cpu, kernel = stage.cpu(0), stage.kernel
    space = Vmalloc(kernel, clears_at_once=kernel.fixes.vunmap_clears_at_once)
    for _ in range(stage.rounds):
        page = kernel.alloc_page()
        va = yield from space.map(cpu, [page])
        yield from space.unmap(cpu, va)
        yield STEP
        stage.pages = {"freed": page, "alias": va}
        kernel.free_page(page)
        yield from pause()
        if stage.failed:
            break
        yield from space.purge(cpu)
    stage.end_rounds()


def _takes_tables(stage: Stage) -> Activity:
    cpu, mm = stage.cpu(1), stage.mms["other"]
    while True:
        yield from pause()
        if stage.over:
            return
        area = map_area(mm, Area("far", _FAR_PAGE, _FAR_PAGE + 1))
        stage.opportunities += 1
        stage.near_misses += window(stage)
        yield from l1_for(cpu, mm, _FAR_PAGE << 12)
        if stage.rounds == 1 or stage.failed:
            return
        yield from unmap(cpu, mm, area)


def window(stage: Stage) -> bool:
    """Is a page free that has a mapping in vmap space?"""
    if "freed" not in stage.pages:
        return False
    kernel = stage.kernel
    found = translate(kernel.xen, stage.cpu(0).vcpu, stage.pages["alias"])
    return found is not None and found.mfn == kernel.mfn(stage.pages["freed"])


RACE = Race(
    id="R8",
    title="a page-table page with a stale alias in vmap space",
    kind="race",
    actors=("vm_unmap_ram: puts the emptying of entries off", "page fault: takes the page"),
    fix=Fix(
        "vunmap_clears_at_once",
        "entries are emptied when they are given back; only the flush is put off",
        ("d05fdf316067", "64141da58724"),
    ),
    detectors=("D2",),
    without_fix="latent: the pin is refused, the page is mapped writable once more",
    with_fix="ok: no entry is left, and Xen flushes what CPUs have loaded when the type changes",
    story=(
        "Emptying vmap space needs a flush on all CPUs, so it is put off until enough has come "
        "together. The page behind it is freed at once. When it is the next one to become a page "
        "table, its mapping in the direct map is made read-only, but the forgotten entry still "
        "maps it writable, and Xen refuses: saw 74...01. It was fixed in 2008, came back with a "
        "new allocator (56e4ebf877b6), and was fixed for good by emptying at once."
    ),
    prepare=prepare,
    actors_on=actors_on,
    window=window,
    opportunity="tables are taken for an address",
)
