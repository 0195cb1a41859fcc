"""X4: it is the pin that finds the type in flux: the second reason against retrying."""

from collections.abc import Sequence

from models.linux.run.pinning import pin_mm
from models.races.race import Race, Stage
from models.races.stages.retrying_xen import GUEST_LOCK, LIMITS, RETRIES, prepare_new, syncs
from sim.effects import Activity

_XEN_OF_2010 = (*RETRIES, ("waits_for_lock", False))
"""Nobody waited yet for a page's lock where the last other use of the page goes (XSA-242)."""


def actors_on(stage: Stage) -> Sequence[Activity]:
    """The first CPU copies the entry, the second one pins the new program's tables."""
    return [syncs(stage, 0), pin_mm(stage.cpu(1), stage.mms["new"])]


RACE = Race(
    id="X4",
    title="mmu_update tried again, and the pin that it makes fail",
    kind="race",
    actors=("vmalloc_sync_all: copies a new L4 entry into every pgd", "exec: pins the new pgd"),
    fix=GUEST_LOCK,
    detectors=("D2",),
    without_fix="latent: the pin is refused, as the update has made the page writable for a moment",
    with_fix="ok: the pgd is changed before it is pinned or after",
    story=(
        "The other reason why retrying was taken back (X2 has the first). An mmu_update of a page "
        "that is no table yet is an ordinary store; while Xen makes it, it uses the page as a "
        "writable one. If the kernel's own writable mapping goes meanwhile and the pin comes next, "
        "the pin finds the page in use as another type and is refused. It is the pin that would "
        "have to be tried again, not the update. That the update can be refused here as well, for "
        "the reason of X2, the search finds, too."
    ),
    prepare=prepare_new,
    actors_on=actors_on,
    hypervisor=_XEN_OF_2010,
    limits=(
        f"{LIMITS} Where the lock is waited for, the pin can be refused, too, but it takes one "
        "more switch between the vCPUs: the update comes when the page has no use at all."
    ),
)
