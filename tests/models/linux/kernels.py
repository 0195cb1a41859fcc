"""Running kernels for tests."""

from collections.abc import Callable, Iterable

from experiments.scenario.scenario import geometry, load
from models.linux.boot.direct_map_phase import boot
from models.linux.boot.guest import Guest
from models.linux.run.faults import touch
from models.linux.run.kernel import RunningKernel
from models.linux.run.mapping import map_area
from models.linux.run.mm import Area, Mm
from models.linux.run.pinning import pin_mm
from models.linux.run.process import new_mm
from models.linux.run.start import start
from models.linux.run.switching import context_switch
from models.linux.runtime_era import V6_1, RuntimeEra
from models.linux.start_state import build as domain_builder
from models.profiles.catalogue import load_profile
from models.profiles.prices import prices
from models.strategies.catalogue import find_strategy
from models.xen.hypercalls import (
    Called,
    MmuextOp,
    MmuUpdate,
    Multicall,
    UpdateVaMapping,
)
from models.xen.versions.abi import find_abi
from models.xen.words import MMUEXT_NAMES
from sim.effects import Activity
from sim.instant import drain
from sim.streams import Streams
from sim.timed import Simulation


def running_kernel(vcpus: int = 1, era: RuntimeEra = V6_1) -> RunningKernel:
    """Linux with 256 MiB under Xen 4.17, after its boot."""
    strategy = find_strategy("mapped-only-6.1")
    state = domain_builder.build(
        geometry(load("guest-512M", ["guest.ram=256MiB"])),
        strategy.kernel,
        find_abi("4.17"),
        debug=True,
        pcpus=vcpus,
        vcpus=vcpus,
    )
    guest = Guest(state, strategy)
    drain(boot(guest))
    kernel: RunningKernel = drain(start(guest, era))
    return kernel


def loaded_mm(kernel: RunningKernel, *areas: Area) -> Mm:
    """An address space, pinned and loaded on the first CPU, every page of its areas written."""
    cpu = kernel.cpus[0]

    def make() -> Activity:
        mm = yield from new_mm(cpu, "test")
        yield from pin_mm(cpu, mm)
        yield from context_switch(cpu, mm)
        for area in areas:
            map_area(mm, area)
            for page in range(area.start, area.end):
                yield from touch(cpu, mm, page << 12, write=True)
        return mm

    mm: Mm = drain(make())
    return mm


class Calls:
    """A probe that keeps the hypercalls that were made, and looks at the kernel before each."""

    def __init__(self, look: Callable[[], None] | None) -> None:
        self.made: list[object] = []
        self._look = look

    def note(self, _vcpu: int, _time_ns: int, what: object) -> None:
        """Keep what is a call, at its entry."""
        if isinstance(what, Called) and not what.ended:
            self.made.append(what.call)
            if self._look is not None:
                self._look()


def timed(
    kernel: RunningKernel, *activities: Activity, look: Callable[[], None] | None = None
) -> list[object]:
    """Run an activity on each CPU; the hypercalls they make. ``look`` is called before each."""
    calls = Calls(look)
    kernel.xen.tells_calls = True
    simulation = Simulation(prices(load_profile("modern-2023")), Streams(0, 0), probe=calls)
    for activity in activities:
        simulation.start(activity)
    simulation.run()
    kernel.xen.tells_calls = False
    return calls.made


def operations(calls: Iterable[object]) -> list[str]:
    """What the calls are, entry by entry, in a few letters each."""
    told: list[str] = []
    for call in calls:
        if isinstance(call, Multicall):
            told += operations(call.calls)
        elif isinstance(call, UpdateVaMapping):
            told.append("RW" if call.entry & 2 else "RO")
        elif isinstance(call, MmuUpdate):
            told.append(f"update {len(call.requests)}")
        elif isinstance(call, MmuextOp):
            told += [MMUEXT_NAMES[command] for command, _, _ in call.operations]
    return told
