"""R4: pgd_lock with interrupts off, and somebody who waits for an interrupt's answer."""

from collections.abc import Sequence

from models.linux.run.ipi_flush import flush_under_lock
from models.linux.run.pgd_sync import LATE_SLOTS, add_kernel_slot, sync_global_pgds
from models.races.race import Fix, Race, Stage, pause
from models.races.stages.fork_and_reclaim import prepare_parent
from sim.effects import Activity


def actors_on(stage: Stage) -> Sequence[Activity]:
    """The first CPU walks pgd_list; the others change tables and flush."""
    others = range(1, len(stage.kernel.cpus))
    return [_syncs(stage), *(_flushes(stage, number) for number in others)]


def _syncs(stage: Stage) -> Activity:
    cpu = stage.cpu(0)
    for slot in LATE_SLOTS[: stage.rounds]:
        yield from pause()
        yield from add_kernel_slot(cpu, slot)
        stage.opportunities += 1
        held = stage.mms["parent"].page_table_lock.lock.locked
        stage.near_misses += held
        yield from sync_global_pgds(cpu, slot)
    stage.end_rounds()


def _flushes(stage: Stage, number: int) -> Activity:
    while True:
        yield from pause()
        if stage.over:
            return
        yield from flush_under_lock(stage.cpu(number), stage.mms["parent"])
        if stage.rounds == 1:
            return


def window(stage: Stage) -> bool:
    """Does somebody hold the page_table_lock and wait for answers?"""
    return stage.mms["parent"].page_table_lock.lock.locked


RACE = Race(
    id="R4",
    title="pgd_lock with interrupts off against a flush under page_table_lock",
    kind="deadlock",
    actors=(
        "sync_global_pgds: holds pgd_lock, wants the mm's page_table_lock",
        "a flush: holds page_table_lock, waits until every CPU has taken its interrupt",
    ),
    fix=Fix(
        "sync_leaves_irqs_on",
        "pgd_lock is taken with interrupts on",
        ("a79e53d85683",),
    ),
    detectors=("D5",),
    without_fix="deadlock: one wants the lock with interrupts off, its holder waits for an answer",
    with_fix="ok: who waits for the lock takes the interrupt meanwhile",
    story=(
        "The fix of R3 nests page_table_lock inside pgd_lock, which was taken with interrupts "
        "off. Somebody else may hold that page_table_lock and wait until all CPUs have answered "
        "an interrupt. The CPU that spins for the lock never will. As nothing under pgd_lock "
        "needs interrupts off, the fix is to leave them on."
    ),
    prepare=prepare_parent,
    actors_on=actors_on,
    window=window,
    opportunity="the list is walked for a new entry",
    search="seeds",
    limits=(
        "The holder flushes by the guest's own interrupts, as on bare hardware: a PV kernel of "
        "that time flushes by hypercall, and shares the locks."
    ),
)
