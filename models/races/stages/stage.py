"""Fresh stages for a race: a small guest is booted and prepared once, then copied."""

from copy import deepcopy
from functools import lru_cache

from models.linux.boot.direct_map_phase import boot
from models.linux.boot.guest import Guest
from models.linux.multicall_buffer import MC_BATCH, MulticallBuffer
from models.linux.run.kernel import RunningKernel
from models.linux.run.start import start
from models.linux.runtime_era import V6_1
from models.linux.start_state import build as domain_builder
from models.linux.start_state.geometry import Geometry
from models.races.race import Race, Stage
from models.strategies.catalogue import find_strategy
from models.xen.versions.abi import find_abi
from sim.instant import drain

_MIB = 1 << 20
_RAM, _IMAGE_END = 32 * _MIB, 17 * _MIB


def fresh(
    race: Race,
    *,
    fix: bool,
    vcpus: int,
    xen: str,
    rounds: int = 1,
    pcpus: int | None = None,
    batch: int = MC_BATCH,
) -> Stage:
    """A stage on which the race has not begun.

    ``pcpus``: None for one for each vCPU; ``batch``: entries of a CPU's multicall buffer.

    Raises:
        ValueError: the race takes more vCPUs.
    """
    if vcpus < race.vcpus:
        raise ValueError(f"{race.id} takes {race.vcpus} vCPUs at least")
    stage = deepcopy(_prepared(race, fix, vcpus, xen, vcpus if pcpus is None else pcpus))
    stage.rounds = rounds
    if batch != MC_BATCH:
        for cpu in stage.kernel.cpus:
            cpu.buffer = MulticallBuffer(batch)
    return stage


@lru_cache(maxsize=8)
def _prepared(race: Race, fix: bool, vcpus: int, xen: str, pcpus: int) -> Stage:  # noqa: FBT001 - a cache's key
    stage = Stage(deepcopy(_booted(vcpus, xen, pcpus)))
    stage.fix = fix
    stage.kernel.fixes = race.fixes(on=fix)
    stage.kernel.xen.abi = race.abi(stage.kernel.xen.abi, on=fix)
    drain(race.prepare(stage))
    return stage


@lru_cache(maxsize=4)
def _booted(vcpus: int, xen: str, pcpus: int) -> RunningKernel:
    """Linux 6.1 with 32 MiB."""
    strategy = find_strategy("mapped-only-6.1")
    geometry = Geometry(kind="domU", e820=((0, _RAM),), kernel_end=_IMAGE_END)
    state = domain_builder.build(
        geometry, strategy.kernel, find_abi(xen), debug=True, pcpus=pcpus, vcpus=vcpus
    )
    guest = Guest(state, strategy)
    drain(boot(guest))
    kernel: RunningKernel = drain(start(guest, V6_1))
    return kernel
