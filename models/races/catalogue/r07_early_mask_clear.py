"""R7: a CPU leaves an address space's mask while it still has its base loaded."""

from collections.abc import Sequence

from models.linux.run.faults import touch
from models.linux.run.mm import entry_at, find_place
from models.linux.run.process import unmap_whole
from models.machine.entries import PAGE_SHIFT, mfn_of
from models.races.race import Fix, Race, Stage, pause
from models.races.stages.fork_and_reclaim import FIRST_PAGE
from models.races.stages.shared_space import leaves, prepare_shared
from models.xen.accesses import held_against_tables, walk_ahead
from sim.effects import STEP, Activity

_VA = FIRST_PAGE << PAGE_SHIFT


def actors_on(stage: Stage) -> Sequence[Activity]:
    """One CPU gives pages back, the other one leaves the address space; its walker looks ahead."""
    return [_gives_back(stage), leaves(stage), _looks_ahead(stage)]


def _gives_back(stage: Stage) -> Activity:
    """madvise(MADV_DONTNEED): entries are emptied, CPUs flushed, pages freed."""
    cpu, kernel, mm = stage.cpu(0), stage.kernel, stage.mms["shared"]
    for number in range(stage.rounds):
        if number:
            yield from touch(cpu, mm, _VA, write=True)
        yield from pause()
        place = find_place(kernel, mm, _VA)
        assert place is not None
        mfn = mfn_of(entry_at(kernel, *place))
        stage.opportunities += 1
        stage.near_misses += window(stage)
        yield from unmap_whole(cpu, mm, mm.area("heap"))
        yield STEP
        held = held_against_tables(kernel.xen, stage.cpu(1).vcpu, _VA)
        if held is not None and held.mfn == mfn:
            stage.pages["still reached"] = mfn
            break
    stage.end_rounds()


def _looks_ahead(stage: Stage) -> Activity:
    """The second CPU's own page walker, which asks nobody."""
    while True:
        yield from pause()
        yield from walk_ahead(stage.kernel.xen, stage.cpu(1).vcpu, _VA)
        if stage.over or stage.rounds == 1:
            return


def inspect(stage: Stage) -> tuple[str, str] | None:
    """What the first CPU has noted down."""
    mfn = stage.pages.get("still reached")
    if mfn is None:
        return None
    return "D13", (
        f"mfn {mfn:x} is free, and CPU 1, which has left the address space's mask but not its "
        f"tables, still reaches it at {_VA:x}"
    )


def window(stage: Stage) -> bool:
    """Has the second CPU left the mask, and not the tables?"""
    mm = stage.mms["shared"]
    return stage.cpu(1).vcpu.cr3 == mm.pgd and 1 not in mm.cpumask


RACE = Race(
    id="R7",
    title="leaving an address space's mask before its base",
    kind="race",
    actors=(
        "madvise: flushes the CPUs of the mask, frees pages",
        "context switch: leaves the mask, then loads another base",
        "the page walker of that CPU: loads what the tables hold, at any moment",
    ),
    fix=Fix(
        "mask_left_after_cr3",
        "a CPU leaves the mask when the other base has been loaded",
        ("831d52bc1539",),
    ),
    detectors=("D13",),
    without_fix="latent: a page is free, and a CPU could still read and write it",
    with_fix="ok: the CPU is flushed with the others until it has other tables",
    story=(
        "A CPU that switches to another process first left the mask of CPUs to be flushed and then "
        "loaded the new base. In between it still walks the old tables, on its own account and "
        "ahead of any instruction, and keeps what it finds; but who empties an entry of these "
        "tables does not flush it any more. The page, or the table, is freed and used anew while "
        "this CPU still goes by the old entry. The fix leaves the mask last; that made R6 a common "
        "accident. Under Xen the worst does not happen, a walk through a table that has become "
        "something else: before a page that was a table can be written to, its change of type "
        "flushes whoever may have kept it. Pages of data do not change their type."
    ),
    prepare=prepare_shared,
    actors_on=actors_on,
    inspect=inspect,
    window=window,
    opportunity="pages of a shared address space are freed",
    gap="1us",
    limits=(
        "In a context switch under Xen the load of the base is only queued; here the mask is left "
        "when it has been made. The commit leaves it after load_cr3(), with which the search would "
        "still find the failure. On the clock the walker looks once in every pause; how often a "
        "CPU does is not known."
    ),
)
