"""From a latency profile to the hypervisor's scheduler: its slices, ticks and rate limit."""

from typing import Literal

from models.profiles.catalogue import Profile, ProfileError
from sim.cpus.credit1 import Credit1
from sim.cpus.credit2 import Credit2

Scheduler = Literal["credit1", "credit2"]

_KEYS = ("sched_timeslice", "sched_tick", "sched_ratelimit")


def scheduler_named(name: Scheduler, profile: Profile) -> Credit1 | Credit2:
    """This scheduler: the profile's parameters if it is the profile's own, else Xen's defaults."""
    wanted: type[Credit1 | Credit2] = Credit1 if name == "credit1" else Credit2
    if all(key in profile.costs for key in _KEYS):
        own = scheduling_policy(profile)
        if isinstance(own, wanted):
            return own
    return wanted()


def scheduling_policy(profile: Profile) -> Credit1 | Credit2:
    """The scheduler of the machine that the profile describes.

    credit1 has an accounting tick, credit2 has none (``sched_tick`` is 0) and takes the time slice
    for the longest that anybody runs. Source: docs/misc/xen-command-line.pandoc; credit.c:50-52;
    credit2.c:234-274.

    Raises:
        ProfileError: the profile has no scheduler.
    """
    missing = [key for key in _KEYS if key not in profile.costs]
    if missing:
        raise ProfileError(
            f"latency profile {profile.name} lacks {', '.join(missing)}, which vCPUs need that "
            "share pCPUs; another profile has them, or give the guest as many pCPUs as vCPUs"
        )
    slice_ns, tick_ns, ratelimit_ns = (round(profile.costs[key].value_ns) for key in _KEYS)
    if tick_ns:
        return Credit1(slice_ns, tick_ns, ratelimit_ns)
    return Credit2(longest_ns=slice_ns, ratelimit_ns=ratelimit_ns)
