"""R16: the last CPU to be flushed leaves between the question and the call."""

from collections.abc import Sequence

from models.linux.run.switching import flush_tlb_mm
from models.races.race import Fix, Race, Stage, pause
from models.races.stages.shared_space import leaves, prepare_shared
from sim.effects import Activity


def actors_on(stage: Stage) -> Sequence[Activity]:
    """One CPU flushes the address space, the other one leaves it."""
    return [_flushes(stage), leaves(stage)]


def _flushes(stage: Stage) -> Activity:
    cpu, mm = stage.cpu(0), stage.mms["shared"]
    for _ in range(stage.rounds):
        yield from pause()
        stage.opportunities += 1
        yield from flush_tlb_mm(cpu, mm)
        if stage.failed:
            break
    stage.end_rounds()


RACE = Race(
    id="R16",
    title="a flush whose mask becomes empty",
    kind="race",
    actors=("flush_tlb_others: queues a flush", "context switch: leaves the mask"),
    fix=Fix(
        "flush_tests_mask_first",
        "whether anybody is to be flushed is known before an entry is queued",
        ("694aa960608d", "e3f8a74e3a88"),
    ),
    detectors=("D10",),
    without_fix="latent: the multicall has an entry that nobody filled in, -38 for 0xaaaaaaaa",
    with_fix="ok: an entry is queued for the mask that was tested, and is always filled in",
    story=(
        "The caller sees that other CPUs use the address space. The function then takes an entry "
        "of the multicall buffer, copies the mask of these CPUs into it, and finds it empty, "
        "since the last of them has switched away meanwhile. It went on to issue the batch with "
        "the entry as it was: with debugging that is 0xaa in every byte."
    ),
    prepare=prepare_shared,
    actors_on=actors_on,
    opportunity="an address space is flushed that two CPUs may use",
    gap="1us",
)
