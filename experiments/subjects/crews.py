"""The activities of a guest that boots on several vCPUs."""

from experiments.errors import InputError
from experiments.scenario.policies import composed
from experiments.scenario.scenario import Scenario
from experiments.subjects.building import new_guest
from models.linux.boot.crew import CrewPlan
from models.linux.boot.guest import Guest
from models.linux.boot.parallel_boot import activities
from models.machine.entries import PAGE_SHIFT
from models.xen.versions.paging import Paging
from sim.effects import Activity


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
