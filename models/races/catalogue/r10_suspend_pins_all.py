"""R10: before a suspend every pgd is pinned, and the wrong one is walked."""

from collections.abc import Sequence

from models.linux.run.all_pgds import pin_all
from models.linux.run.process import begin_exec
from models.races.race import Fix, Race, Stage
from sim.effects import Activity


def prepare(stage: Stage) -> Activity:
    """A program that is being executed: its address space is not pinned yet."""
    stage.mms["new"] = yield from begin_exec(stage.cpu(0), "new")


def actors_on(stage: Stage) -> Sequence[Activity]:
    """The machine is suspended just then."""
    return [pin_all(stage.cpu(0))]


RACE = Race(
    id="R10",
    title="suspend pins an address space that fork or exec has not pinned yet",
    kind="order",
    actors=("suspend: pins all pgds on the list",),
    fix=Fix(
        "suspend_walks_listed_pgd",
        "the pgd on the list is walked, not that of the mm which is passed along",
        ("0e91398f2a5d", "86bbc2c235e5"),
    ),
    detectors=("D2",),
    without_fix="latent: the pin of the pgd is refused, its pages are still writable",
    with_fix="ok: every table of the address space is read-only and pinned",
    story=(
        "When a guest is saved, the tools replace frame numbers in page tables, which they find "
        "by their types: so every pgd has to be pinned, also one that fork or exec is just about "
        "to fill. That came with saving itself (0e91398f2a5d). Later the pinning function, which "
        "was given the kernel's own mm for it, walked that mm's pgd: the tables of the one to be "
        "pinned stayed writable, and Xen refused the pin, until the listed pgd was walked again "
        "(86bbc2c235e5)."
    ),
    prepare=prepare,
    actors_on=actors_on,
    vcpus=1,
    limits="Resume (xen_mm_unpin_all) and the tools' side are not modelled.",
)
