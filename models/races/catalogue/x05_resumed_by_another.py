"""X5: a validation that was left half done goes on elsewhere: looked at, and found safe."""

from collections.abc import Sequence

from models.linux.run.mm import lower_table, slot_of
from models.linux.run.pv_mmu import direct_map_leaf
from models.linux.start_state.p2m import PAGE_KERNEL
from models.machine.entries import GLOBAL, GUEST_KERNEL, PAGE_SHIFT, RW
from models.races.race import Fix, Race, Stage
from models.races.verdict import live_table, wrong_accounts
from models.xen.hypercalls import MmuextOp, MmuUpdate
from models.xen.words import PIN_L2_TABLE
from sim.effects import Activity

_VA = 0xFFFF_C900_4000_0000


def prepare(stage: Stage) -> Activity:
    """An L2 with two L1s, none of them a table for Xen yet; one entry makes Xen print a line.

    Printing is a reason to stop: the L2 is left half done, wherever it is validated.
    """
    cpu, kernel = stage.cpu(0), stage.kernel
    names = ("L2", "first L1", "second L1")
    for name in names:
        stage.pages[name] = kernel.mfn(kernel.alloc_page())
        yield from kernel.clear_page(cpu, stage.pages[name])
    for slot, name in enumerate(names[1:]):
        entry = kernel.table_entry(stage.pages[name])
        yield from kernel.store(cpu, stage.pages["L2"], slot, entry)
    mapped = kernel.mfn(kernel.alloc_page()) << PAGE_SHIFT | PAGE_KERNEL & ~RW
    yield from kernel.store(cpu, stage.pages["first L1"], 0, mapped | GUEST_KERNEL | GLOBAL)
    for name in names:
        yield from kernel.direct(cpu, direct_map_leaf(cpu, stage.pages[name], writable=False))


def actors_on(stage: Stage) -> Sequence[Activity]:
    """One vCPU pins the L2, the other one enters it into the kernel's own tables."""
    kernel = stage.kernel
    l2 = stage.pages["L2"]
    l3 = lower_table(kernel, kernel.init_l4, slot_of(_VA, 4))
    assert l3 is not None
    pin = MmuextOp(((PIN_L2_TABLE, l2, 0),))
    enter = MmuUpdate(((l3 << PAGE_SHIFT | slot_of(_VA, 3) << 3, kernel.table_entry(l2)),))
    return [_makes(stage, 0, pin), _makes(stage, 1, enter)]


def _makes(stage: Stage, number: int, call: MmuextOp | MmuUpdate) -> Activity:
    rc = yield from stage.kernel.direct(stage.cpu(number), call)
    if rc:
        stage.kernel.refuse(call, rc)


def inspect(stage: Stage) -> tuple[str, str] | None:
    """The accounts, and whether both have what they asked for."""
    if live_table(stage, stage.pages["L2"]) != 2:
        return "D8", "the L2 is no table, though nothing was refused"
    return wrong_accounts(stage)


RACE = Race(
    id="X5",
    title="a validation interrupted on one vCPU and taken up by another",
    kind="checked-not-a-race",
    actors=("PIN_L2: is interrupted half-way", "mmu_update: meets the L2 as it was left"),
    fix=Fix(
        "keeps_partial_references",
        "no fix here: off is how references of a half-done entry were counted before XSA-299",
        (),
        side="hypervisor",
    ),
    detectors=("D2", "D8", "D12"),
    without_fix="ok: who takes it up holds the one use, and takes the reference anew",
    with_fix="ok: who takes it up holds the one use, and the entry has kept its reference",
    story=(
        "A long validation is interrupted, and the table is left marked as partial, with one use "
        "and one reference of its own. Whoever needs the table next goes on where it was left, be "
        "it the continuation or another vCPU that has just come across it. In every order both "
        "get the table, each L1 is validated once, and a recount agrees with all words. XSA-299 "
        "changed where the reference of an entry in the middle is kept; here both ways are safe."
    ),
    prepare=prepare,
    actors_on=actors_on,
    inspect=inspect,
    limits="One interruption, by a console line; in 4.1 and 4.2dev a line interrupts nothing.",
)
