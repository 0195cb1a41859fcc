"""X1: a type is changed after the flush that makes the change safe (XSA-401)."""

from collections.abc import Sequence
from functools import partial

from models.linux.run.faults import l1_for
from models.linux.run.kernel import Cpu
from models.linux.run.mm import slot_of
from models.linux.run.pv_mmu import direct_map_leaf
from models.linux.start_state.p2m import PAGE_KERNEL
from models.machine.entries import PAGE_SHIFT
from models.races.race import Fix, Race, Stage, pause
from models.races.verdict import wrong_accounts
from models.xen.accesses import store
from models.xen.hypercalls import MmuextOp, MmuUpdate
from models.xen.words import PIN_L1_TABLE, UNPIN_TABLE
from sim.effects import STEP, Activity, WaitUntil

_VA = 0xFFFF_C900_4000_0000


def prepare(stage: Stage) -> Activity:
    """A page that was mapped writable and is not mapped so now, and an L1 for an alias of it."""
    cpu, kernel = stage.cpu(0), stage.kernel
    stage.pages["alias table"] = yield from l1_for(cpu, kernel.init_mm, _VA)
    stage.pages["page"] = kernel.mfn(kernel.alloc_page())
    yield from kernel.clear_page(cpu, stage.pages["page"])
    yield from kernel.direct(cpu, direct_map_leaf(cpu, stage.pages["page"], writable=False))


def actors_on(stage: Stage) -> Sequence[Activity]:
    """One vCPU makes the page a table, the other one maps it writable for a moment."""
    return [_pins(stage), _keeps_a_translation(stage)]


def _pins(stage: Stage) -> Activity:
    for _ in range(stage.rounds):
        yield from pause()
        stage.opportunities += 1
        rc = yield from _operation(stage, PIN_L1_TABLE)
        yield STEP
        stage.turn = int(rc == 0)
        if stage.rounds > 1 and rc == 0:
            yield from pause()
            stage.turn = 0
            yield from _operation(stage, UNPIN_TABLE)
    stage.over = True


def _operation(stage: Stage, command: int) -> Activity:
    call = MmuextOp(((command, stage.pages["page"], 0),))
    return (yield from stage.kernel.direct(stage.cpu(0), call))


def _keeps_a_translation(stage: Stage) -> Activity:
    """Map, write, unmap; and write once more, when the page is a table.

    Nothing is flushed in between: the CPU may still have the translation.
    """
    cpu, kernel = stage.cpu(1), stage.kernel
    writable = stage.pages["page"] << PAGE_SHIFT | PAGE_KERNEL
    # What no guest is allowed: a writable mapping of a table, here the kernel's own L4.
    forged = kernel.init_l4 << PAGE_SHIFT | PAGE_KERNEL
    while True:
        if not (yield from _set_alias(stage, cpu, writable)):
            yield from store(kernel.xen, cpu.vcpu, _VA, 0)
            yield from _set_alias(stage, cpu, 0)
            yield WaitUntil("the pin", partial(_pinned_or_over, stage))
            if stage.turn:
                yield from store(kernel.xen, cpu.vcpu, _VA, forged)
        if stage.over or stage.rounds == 1:
            return
        yield from pause()


def _set_alias(stage: Stage, cpu: Cpu, entry: int) -> Activity:
    pointer = stage.pages["alias table"] << PAGE_SHIFT | slot_of(_VA, 1) << 3
    return (yield from stage.kernel.direct(cpu, MmuUpdate(((pointer, entry),))))


def _pinned_or_over(stage: Stage) -> bool:
    return stage.over or bool(stage.turn)


RACE = Race(
    id="X1",
    title="a flush before the type that it is to protect is taken",
    kind="race",
    actors=(
        "PIN_L1: sees that nobody uses the page, flushes, takes the type",
        "mmu_update: maps the page writable and unmaps it; the CPU keeps the translation",
    ),
    fix=Fix(
        "flush_before_publishing",
        "the type is taken first, which keeps others from the old one, and then comes the flush",
        ("8cc5036bc385",),
        side="hypervisor",
        reverse=True,
    ),
    detectors=("D12",),
    without_fix="latent: a live L1 holds a writable mapping of a page table, which nobody checked",
    with_fix="ok: either the page is in use, or every CPU has forgotten it before it is a table",
    story=(
        "A page changes its type when nobody uses the old one. CPUs may still have writable "
        "translations from before, so they are flushed; then a compare-and-exchange takes the "
        "type. It succeeds if the type word is what it was, and that does not mean that nothing "
        "has happened: in between another vCPU can have mapped the page writable, written to it, "
        "and unmapped it, which gives the same word and a new translation. The page becomes a "
        "table that this vCPU can write to, and with it the guest has the whole machine. The "
        "guest does it on purpose: this is XSA-401 (CVE-2022-26362), found in 2022. 4.1 and "
        "4.2dev do it so; for the later versions the fix is taken back."
    ),
    prepare=prepare,
    actors_on=actors_on,
    inspect=wrong_accounts,
    opportunity="the page is pinned",
    gap="1us",
    limits=(
        "The fix of that fix (XSA-408, c946524a65f3: the wrong word decided whether to flush) "
        "concerns guests in shadow mode only, whose pages have no types here."
    ),
)
