"""The guest of a scenario, as it is when its kernel begins."""

from experiments.errors import InputError
from experiments.scenario.scenario import Scenario, geometry
from models.linux.boot.guest import Guest
from models.linux.boot.strategy import Strategy
from models.linux.start_state import build as domain_builder
from models.xen.versions.abi import find_abi


def new_guest(scenario: Scenario, strategy: Strategy, *, vcpus: int) -> Guest:
    """Machine, hypervisor and guest, the latter on so many vCPUs.

    Raises:
        InputError: the scenario cannot be built.
    """
    machine = scenario.machine
    try:
        start = domain_builder.build(
            geometry(scenario),
            strategy.kernel,
            find_abi(machine.xen),
            debug=machine.xen_build == "debug",
            pcpus=scenario.pcpus,
            vcpus=vcpus,
            paging=strategy.paging,
        )
    except domain_builder.CannotBuild as error:
        raise InputError(f"guest: {error}") from error
    return Guest(start, strategy)
