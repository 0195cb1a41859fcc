"""Whether the vCPUs have come to an end, where others on the same clock may go on for ever."""

from sim.vcpu.clockwork import Clockwork
from sim.vcpu.state import Rest, VCpu


def are_through(clockwork: Clockwork[VCpu]) -> bool:
    """Has every vCPU ended, and is there no interrupt left that one could answer?"""
    return not clockwork.in_flight and all(
        vcpu.ended and vcpu.rest is Rest.IDLE for vcpu in clockwork.vcpus
    )


def are_stuck(clockwork: Clockwork[VCpu]) -> bool:
    """Does every vCPU that has not ended wait for a lock that one of them holds?

    No process of others could end that. Whoever waits for a condition or an event may still be
    helped by one.
    """
    if clockwork.in_flight:
        return False
    for vcpu in clockwork.vcpus:
        if vcpu.ended and vcpu.rest is Rest.IDLE:
            continue
        if vcpu.rest is not Rest.WAITING or vcpu not in clockwork.waiting:
            return False
        if not any(other.holds(vcpu.waits_for) for other in clockwork.vcpus):
            return False
    return True
