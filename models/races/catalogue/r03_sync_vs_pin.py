"""R3: a new entry of the kernel's half is put into a pgd that is being pinned or unpinned."""

from collections.abc import Sequence

from models.linux.run.pgd_sync import LATE_SLOTS, add_kernel_slot, sync_global_pgds
from models.linux.run.pinning import pin_mm
from models.linux.run.process import begin_exec, exit_mm
from models.races.race import Fix, Race, Stage, pause
from models.races.seen import Seen
from models.races.verdict import seen_live_table, seen_writable
from sim.effects import Activity


def prepare(stage: Stage) -> Activity:
    """A new program that is not pinned yet, and an entry that its pgd does not have."""
    cpu = stage.cpu(0)
    stage.mms["new"] = yield from begin_exec(cpu, "new")
    yield from add_kernel_slot(cpu, LATE_SLOTS[0])


def actors_on(stage: Stage) -> Sequence[Activity]:
    """The first CPU executes programs, the second one adds memory to the direct map."""
    return [_executes(stage), _adds(stage)]


def _executes(stage: Stage) -> Activity:
    cpu = stage.cpu(0)
    mm = stage.mms["new"]
    for number in range(stage.rounds):
        if number:
            mm = stage.mms["new"] = yield from begin_exec(cpu, f"new {number}")
        yield from pin_mm(cpu, mm)
        if stage.rounds > 1:
            yield from exit_mm(cpu, mm)
        if stage.failed:
            break
    stage.end_rounds()


def _adds(stage: Stage) -> Activity:
    cpu = stage.cpu(1)
    yield from pause()
    yield from _sync(stage, LATE_SLOTS[0])
    for slot in LATE_SLOTS[1:]:
        yield from pause()
        if stage.over or stage.rounds == 1:
            return
        yield from add_kernel_slot(cpu, slot)
        yield from _sync(stage, slot)


def _sync(stage: Stage, slot: int) -> Activity:
    stage.opportunities += 1
    stage.near_misses += window(stage)
    yield from sync_global_pgds(stage.cpu(1), slot)


def look(stage: Stage, seen: Seen) -> bool:
    """Does the flag of a pgd say something else than its mapping and its type?"""
    pinned = stage.kernel.pinned
    return any(
        not seen_live_table(stage, seen, mm.pgd)
        if seen.member(pinned, mm.pgd)
        else not seen_writable(stage, seen, mm.pgd)
        for mm in seen.items(stage.kernel.pgd_list)
    )


def window(stage: Stage) -> bool:
    """The same, once."""
    return look(stage, Seen(stage.kernel.frames))


RACE = Race(
    id="R3",
    title="sync_global_pgds against pinning and unpinning a pgd",
    kind="race",
    actors=("exec: pins the new pgd", "memory hotplug: copies a new L4 entry into every pgd"),
    fix=Fix(
        "sync_takes_page_table_lock",
        "the mm's page_table_lock is taken inside pgd_lock before its pgd is changed",
        ("617d34d9e5d8", "a842f3f13d1f"),
    ),
    detectors=("D1", "D2"),
    without_fix="crash or latent: the store faults on a read-only pgd, or Xen refuses the call",
    with_fix="ok: the pgd is changed before it is pinned or after",
    story=(
        "A pgd is on pgd_list from the moment it is allocated. Whoever adds an entry to the "
        "kernel's half walks that list with pgd_lock and writes the entry into each pgd: by a "
        "store if the page's flag says that it is not pinned, else by a hypercall. Pinning holds "
        "another lock, the mm's, so the flag that was read can be out of date when the store "
        "comes, or be set before Xen has heard of the page. The fix takes the mm's lock inside "
        "pgd_lock, and needs a way from the pgd's page to its mm."
    ),
    prepare=prepare,
    actors_on=actors_on,
    window=window,
    window_seen=look,
    opportunity="the list is walked for a new entry",
)
