"""X2: Xen looks again, and the page is still not validated: the first reason against retrying."""

from collections.abc import Sequence

from models.linux.run.pinning import pin_mm, unpin_at_exit
from models.races.race import Race, Stage
from models.races.stages.retrying_xen import GUEST_LOCK, LIMITS, RETRIES, prepare_new, syncs
from sim.effects import Activity


def prepare(stage: Stage) -> Activity:
    """A process whose pgd is pinned, and lacks an entry that the kernel's own has got since."""
    yield from prepare_new(stage)
    yield from pin_mm(stage.cpu(0), stage.mms["new"])


def actors_on(stage: Stage) -> Sequence[Activity]:
    """The first CPU unpins it, the second one copies the entry."""
    return [unpin_at_exit(stage.cpu(0), stage.mms["new"]), syncs(stage, 1)]


RACE = Race(
    id="X2",
    title="mmu_update tried again, while a pgd is unpinned for as long as it takes",
    kind="race",
    actors=("exit: unpins the pgd", "vmalloc_sync_all: copies a new L4 entry into every pgd"),
    fix=GUEST_LOCK,
    detectors=("D2",),
    without_fix="latent: the update is refused after all its tries, the type is still in flux",
    with_fix="ok: the pgd is changed before it is unpinned or after",
    story=(
        "In 2010 the race R3 was to be closed in the hypervisor: an mmu_update that meets a page "
        "in between two types was tried again a few times (fda843e7c0ba). Two days later it was "
        "taken back (4c4d34b390e7). A page has no valid type while its table is taken apart or "
        "validated, and how long that lasts is not bounded: the CPU that does it may be "
        "interrupted, and the work itself is left to a continuation where it is long. So any "
        "number of tries can fall into it. X4 is the other reason."
    ),
    prepare=prepare,
    actors_on=actors_on,
    hypervisor=RETRIES,
    limits=LIMITS,
)
