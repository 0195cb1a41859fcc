"""R12: a fault in vmalloc space inside of lazy MMU mode."""

from collections.abc import Sequence

from models.linux.run.mapping import l1_spans
from models.linux.run.pgd_sync import LATE_SLOTS, add_kernel_slot, vmalloc_fault
from models.linux.run.pv_mmu import enter_lazy_mmu, get_and_clear, leave_lazy_mmu
from models.races.race import Fix, Race, Stage
from models.races.stages.fork_and_reclaim import FIRST_PAGE, PAGES, process
from sim.effects import Activity


def prepare(stage: Stage) -> Activity:
    """A process whose pgd lacks an entry that the kernel's own has got since."""
    stage.mms["parent"] = yield from process(stage.cpu(0), "parent")
    yield from add_kernel_slot(stage.cpu(0), LATE_SLOTS[0])


def actors_on(stage: Stage) -> Sequence[Activity]:
    """It unmaps memory, and something in between touches the new part of the kernel's half."""
    return [_zaps(stage)]


def _zaps(stage: Stage) -> Activity:
    cpu, mm = stage.cpu(0), stage.mms["parent"]
    for table, first, _ in l1_spans(cpu, mm, FIRST_PAGE, FIRST_PAGE + PAGES):
        enter_lazy_mmu(cpu)
        yield from get_and_clear(cpu, table, first & 511)
        yield from vmalloc_fault(cpu, mm, LATE_SLOTS[0])
        yield from leave_lazy_mmu(cpu)


RACE = Race(
    id="R12",
    title="a vmalloc fault in lazy MMU mode",
    kind="order",
    actors=("zap_pte_range: faults on the kernel's half",),
    fix=Fix(
        "vmalloc_fault_flushes",
        "the buffer is flushed as soon as the fault has written the entry",
        ("1160c2779b82",),
    ),
    detectors=("D6",),
    without_fix="crash: kernel BUG at arch/x86/mm/fault.c:396",
    with_fix="ok: the entry is there when it is looked at",
    story=(
        "A process's pgd gets entries of the kernel's half by a fault when they are first used. "
        "If that happens while updates are being put off, the new entry is only queued. The "
        "handler looks at it again, finds the old one, and takes it for a broken table: BUG. One "
        "CPU is enough; nothing but the order within it is wrong."
    ),
    prepare=prepare,
    actors_on=actors_on,
    vcpus=1,
    bug="D6",
)
