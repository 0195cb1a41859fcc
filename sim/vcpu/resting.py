"""A vCPU that does not run: each reason is an activity of its process that ends when it goes on.

The commonest, to sleep until its own time has come, is in the interpreter's loop.
"""

from collections.abc import Generator

from simpy.events import Event

from sim.vcpu.state import NOT_ASKED, Rest, VCpu

Resting = Generator[None, Event, int]
"""Returns the time at which the vCPU goes on."""


def waiting(vcpu: VCpu, local_ns: int) -> Resting:
    """Until what it waits for has come, or an interrupt that it takes; it keeps its pCPU."""
    if vcpu.asked_ns == NOT_ASKED:
        vcpu.asked_ns = local_ns
    vcpu.simulation.waiting.append(vcpu)
    _lie_down(vcpu, Rest.WAITING, local_ns)
    now_ns = yield from _woken(vcpu)
    vcpu.lock_wait_ns += now_ns - local_ns
    return now_ns


def blocked(vcpu: VCpu, local_ns: int) -> Resting:
    """The same, and its pCPU is for others meanwhile."""
    vcpu.simulation.waiting.append(vcpu)
    return (yield from _leaving(vcpu, Rest.BLOCKED, local_ns))


def idle(vcpu: VCpu, local_ns: int) -> Resting:
    """Until an interrupt comes."""
    return (yield from _leaving(vcpu, Rest.IDLE, local_ns))


def without_pcpu(vcpu: VCpu, rest: Rest, local_ns: int) -> Resting:
    """Until the scheduler gives it one; it was taken from it, or it has not had any."""
    _lie_down(vcpu, rest, local_ns)
    return (yield from _woken(vcpu))


def _leaving(vcpu: VCpu, rest: Rest, local_ns: int) -> Resting:
    scheduler = vcpu.scheduler
    _lie_down(vcpu, rest, local_ns)
    if scheduler is not None:
        scheduler.block(vcpu, local_ns)
    now_ns = yield from _woken(vcpu)
    if scheduler is None:  # else that has kept the time
        vcpu.idle_ns += now_ns - local_ns
    return now_ns


def _lie_down(vcpu: VCpu, rest: Rest, local_ns: int) -> None:
    vcpu.local_ns, vcpu.rest = local_ns, rest
    vcpu.wake.callbacks = vcpu.resume


def _woken(vcpu: VCpu) -> Resting:
    yield
    vcpu.rest = None
    vcpu.local_ns = now_ns = vcpu.simulation.env.now_ns
    return now_ns
