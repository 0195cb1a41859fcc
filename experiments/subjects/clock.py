"""The CPUs of a run: as many as the scenario says, under the profile's scheduler."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from experiments.errors import InputError
from experiments.scenario.scenario import Machine
from models.profiles.catalogue import Profile, ProfileError, load_profile, with_overrides
from models.profiles.prices import prices
from models.profiles.scheduler import Scheduler, scheduler_named, scheduling_policy
from models.xen.gate import Xen
from models.xen.pages.context_switch import LoadedVcpus
from sim.effects import Activity
from sim.metrics import LockTimes
from sim.streams import Streams
from sim.timed import Price, Simulation

if TYPE_CHECKING:
    from sim.recording import Follower


class Pricing(NamedTuple):
    """What work costs, and how CPUs are shared out."""

    profile: Profile
    table: Mapping[str, Price]
    """Prices by cost; the profile's, or others in their place."""
    scheduler: Scheduler | None = None
    """None: the profile's own."""


def pricing_of(machine: Machine, table: Mapping[str, Price] | None = None) -> Pricing:
    """What work costs on this machine; ``table``: prices in place of the profile's.

    Raises:
        InputError: a latency that the profile does not have.
    """
    try:
        profile = with_overrides(load_profile(machine.profile), machine.latency)
        return Pricing(profile, prices(profile) if table is None else table, machine.scheduler)
    except ProfileError as error:
        raise InputError(f"machine: {error}") from error


def simulation_of(
    xen: Xen,
    pricing: Pricing,
    streams: Streams,
    *,
    pcpus: int,
    every_event: bool,
    lock_times: LockTimes | None = None,
    others: int = 0,
) -> Simulation:
    """A simulation for this hypervisor's vCPUs; with fewer pCPUs they are scheduled.

    ``lock_times`` keeps waits and holds. ``others``: so many vCPUs of other domains run beside
    the guest's; they are started last.

    Raises:
        InputError: they would have to be, and the profile has no scheduler.
    """
    if pcpus >= len(xen.vcpus) + others:
        return Simulation(pricing.table, streams, every_event=every_event, lock_times=lock_times)
    try:
        policy = (
            scheduling_policy(pricing.profile)
            if pricing.scheduler is None
            else scheduler_named(pricing.scheduler, pricing.profile)
        )
    except ProfileError as error:
        raise InputError(f"machine.pcpus = {pcpus}: {error}") from error
    return Simulation(
        pricing.table,
        streams,
        every_event=every_event,
        pcpus=pcpus,
        scheduler=policy,
        loaded=LoadedVcpus(xen).load,
        lock_times=lock_times,
    )


def followed(
    simulation: Simulation, activities: Iterable[Activity], follower: "Follower"
) -> list[Activity]:
    """The activities, to be started, of a simulation that is recorded or replayed."""
    simulation.oracle = follower.oracle(simulation.oracle)
    simulation.probe = follower.probe(simulation.probe)
    return [follower.activity(activity) for activity in activities]
