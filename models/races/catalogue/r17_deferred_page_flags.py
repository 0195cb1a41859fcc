"""R17: the flag of a pinned page is cleared when its descriptor is initialised."""

from collections.abc import Sequence

from models.linux.run.deferred import deferred_init
from models.linux.run.faults import l1_for
from models.races.race import Fix, Race, Stage
from sim.effects import Activity

_VA = 0xFFFF_C900_4000_0000


def prepare(stage: Stage) -> Activity:  # noqa: ARG001 - nothing is there beforehand
    """A kernel that has just built its tables."""
    yield from ()


def actors_on(stage: Stage) -> Sequence[Activity]:
    """The rest of the descriptors is initialised; then the first vmalloc needs tables."""
    return [_goes_on_booting(stage)]


def _goes_on_booting(stage: Stage) -> Activity:
    cpu, kernel = stage.cpu(0), stage.kernel
    pages = [kernel.pfn(mfn) for mfn in kernel.pinned]
    # The node's first section is initialised early, what lies above it is late.
    yield from deferred_init(cpu, (min(pages) + max(pages)) // 2, max(pages) + 1)
    yield from l1_for(cpu, kernel.init_mm, _VA)


RACE = Race(
    id="R17",
    title="PG_pinned of pages whose descriptors are initialised late",
    kind="order",
    actors=("boot: initialises descriptors after tables were marked",),
    fix=Fix(
        "late_pages_marked_pinned",
        "tables are marked as pinned after all descriptors have been initialised",
        ("after 4267739cabb8",),
    ),
    detectors=("D11",),
    without_fix="crash: a plain store to a pinned table, since its flag says that it is none",
    with_fix="ok: the entry is written by hypercall",
    story=(
        "The kernel marks its own tables as pinned while it boots. With deferred initialisation "
        "the descriptors of most pages are filled in later, by threads of their own, and flags "
        "set before are gone. set_pud() then finds a table that is not marked, stores to it, and "
        "the page is read-only: Xen emulates such stores to L1s only."
    ),
    prepare=prepare,
    actors_on=actors_on,
    vcpus=1,
    limits="One pass clears the flags; the threads that do it in parallel are not modelled.",
)
