"""The CPUs of a run: as many as the scenario says, under the profile's scheduler."""

from collections.abc import Mapping

from experiments.errors import InputError
from models.profiles.catalogue import Profile, ProfileError
from models.profiles.scheduler import scheduling_policy
from models.xen.context_switch import LoadedVcpus
from models.xen.hypervisor import Xen
from sim.streams import Streams
from sim.timed import Price, Simulation


def simulation_of(
    xen: Xen,
    profile: Profile,
    table: Mapping[str, Price],
    streams: Streams,
    *,
    pcpus: int,
    every_event: bool,
) -> Simulation:
    """A simulation for this hypervisor's vCPUs; with fewer pCPUs they are scheduled.

    Raises:
        InputError: they would have to be, and the profile has no scheduler.
    """
    if pcpus >= len(xen.vcpus):
        return Simulation(table, streams, every_event=every_event)
    try:
        policy = scheduling_policy(profile)
    except ProfileError as error:
        raise InputError(f"machine.pcpus = {pcpus}: {error}") from error
    return Simulation(
        table,
        streams,
        every_event=every_event,
        pcpus=pcpus,
        scheduler=policy,
        loaded=LoadedVcpus(xen).load,
    )
