"""Boots on several vCPUs: from a scenario to the activities of its vCPUs, and what came of them."""

from collections.abc import Hashable
from typing import Any

from experiments.errors import InputError
from experiments.scenario.policies import composed
from experiments.scenario.scenario import Scenario
from experiments.subjects.building import new_guest
from models.linux.boot.crew import Crew, CrewPlan
from models.linux.boot.guest import Guest
from models.linux.boot.parallel_boot import activities, lost_regions
from models.machine.entries import ENTRIES, PAGE_SHIFT
from models.xen.versions.paging import Paging
from sim.effects import Activity
from sim.metrics import LockTimes

_PIECE = 1 << 21
_LOCKS = {"page_lock of mfn": "page locks", "entry": "entries above L1"}
"""Locks that are told together: how their names begin, and what they are called."""


def fresh(scenario: Scenario, strategy: str) -> tuple[Guest, list[Activity]]:
    """A guest that is about to boot on its vCPUs, and their activities.

    Each call builds another world, so that an explorer can run one after the other.

    Raises:
        InputError: the scenario cannot be built.
    """
    plan = composed(strategy, scenario.strategy)
    guest = new_guest(scenario, plan, vcpus=scenario.guest.vcpus)
    return guest, activities_of(scenario, guest)


def activities_of(scenario: Scenario, guest: Guest) -> list[Activity]:
    """What each vCPU of a guest that has not begun does.

    Raises:
        InputError: the guest's paging is modelled for one vCPU only.
    """
    if guest.xen.paging is Paging.SHADOW and scenario.guest.vcpus > 1:
        raise InputError(
            f'workload.kind = "parallel-boot" takes no strategy with shadow paging '
            f"({guest.strategy.name}): Xen does all work on a domain's shadows under one lock, "
            "which is not modelled; guest.vcpus = 1 can be run"
        )
    return activities(guest, crew_plan(scenario))


def crew_plan(scenario: Scenario) -> CrewPlan:
    """The workload as the model of the guest takes it."""
    workload = scenario.workload
    return CrewPlan(
        allocator=workload.allocator,
        reserve_pages=workload.reserve,
        shared_tables=workload.shared_tables,
        piece_pages=None if workload.piece is None else workload.piece >> PAGE_SHIFT,
    )


def parallel_failure(scenario: Scenario, guest: Guest, time_ns: int) -> dict[str, Any] | None:
    """What is wrong with a boot that came to its end; None: nothing.

    Raises:
        InputError: the strategy's walk has no ranges that could be shared out.
    """
    assert guest.crew is not None
    if not guest.crew.asked:
        raise InputError(
            f'workload.kind = "parallel-boot": strategy {guest.strategy.name!r} builds its map in '
            "one piece on one vCPU; there are no ranges that several could map "
            f"({scenario.name})"
        )
    lost = lost_regions(guest)
    if not lost:
        return None
    pages = len(lost) * ENTRIES
    return {
        "kind": "latent",
        "vcpu": 0,
        "time_ns": time_ns,
        "mfn": None,
        "pfn": hex(lost[0] * ENTRIES),
        "console": [line.text for line in guest.xen.console.lines],
        "explanation": (
            f"the boot went on, but the finished map does not lead to {pages} pages, of which pfn "
            f"{lost[0] * ENTRIES:x} is the first: another entry was written over the one that led "
            "there. The first touch of one is a fault."
        ),
    }


def parallel_figures(crew: Crew, lock_times: LockTimes | None) -> dict[str, Any]:
    """What a record of such a boot has on top: how work was shared out, and waits by lock."""
    by_name = {} if lock_times is None else lock_times.by_name
    locks = {
        str(name): {
            "taken": figures.taken,
            "waited": figures.waited,
            "wait_ns": figures.wait_total_ns,
            "hold_ns": figures.hold_total_ns,
        }
        for name, figures in by_name.items()
    }
    return {
        "workload": "parallel-boot",
        "parallel": {
            "vcpus": len(crew.members),
            "pieces": crew.pieces,
            "locks": dict(sorted(locks.items())),
        },
    }


def kind_of_lock(key: Hashable) -> str:
    """The name under which a lock's waits are told: all page locks have one."""
    name = str(key)
    return next((told for begin, told in _LOCKS.items() if name.startswith(begin)), name)
