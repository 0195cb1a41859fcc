"""X3: a page's lock is the last use of its type (XSA-242)."""

from collections.abc import Sequence

from models.linux.run.pv_mmu import direct_map_leaf
from models.linux.start_state.p2m import PAGE_KERNEL
from models.machine.entries import PAGE_SHIFT, RW
from models.races.race import Fix, Race, Stage
from models.races.verdict import wrong_accounts
from models.xen.hypercalls import MmuextOp, MmuUpdate
from models.xen.words import PIN_L1_TABLE, UNPIN_TABLE
from sim.effects import Activity


def prepare(stage: Stage) -> Activity:
    """A table that nothing but its pin keeps, with an entry."""
    cpu, kernel = stage.cpu(0), stage.kernel
    table = stage.pages["table"] = kernel.mfn(kernel.alloc_page())
    mapped = kernel.mfn(kernel.alloc_page())
    yield from kernel.clear_page(cpu, table)
    yield from kernel.store(cpu, table, 0, mapped << PAGE_SHIFT | PAGE_KERNEL & ~RW)
    yield from kernel.direct(cpu, direct_map_leaf(cpu, table, writable=False))
    yield from kernel.direct(cpu, MmuextOp(((PIN_L1_TABLE, table, 0),)))


def actors_on(stage: Stage) -> Sequence[Activity]:
    """One vCPU empties another entry of the table, the other one unpins it."""
    table = stage.pages["table"]
    empty = MmuUpdate(((table << PAGE_SHIFT | 1 << 3, 0),))
    unpin = MmuextOp(((UNPIN_TABLE, table, 0),))
    kernel = stage.kernel
    return [kernel.direct(stage.cpu(0), empty), kernel.direct(stage.cpu(1), unpin)]


RACE = Race(
    id="X3",
    title="a table's lock, given back as the last use of its type",
    kind="race",
    actors=("mmu_update: holds the table's lock", "UNPIN: drops the last use but the lock's"),
    fix=Fix(
        "waits_for_lock",
        "nobody drops the last use but one of a page that is locked; who wants to, waits",
        ("XSA-242",),
        side="hypervisor",
    ),
    detectors=("D12",),
    without_fix="latent: a table without uses is still validated, and what it maps is never freed",
    with_fix="ok: the unpin waits for the lock, and takes the table apart",
    story=(
        "The lock of a page table is a bit of its type word and counts as a use of the type. "
        "Whoever drops the last use of a table takes it apart: the references of its entries are "
        "given back. Releasing the lock does not, as there is always another use. But that one "
        "can go while the lock is held: then nobody has taken the table apart, its entries keep "
        "their references for ever, and the page counts as a table that has been looked at. This "
        "is XSA-242, of 2017."
    ),
    prepare=prepare,
    actors_on=actors_on,
    inspect=wrong_accounts,
)
