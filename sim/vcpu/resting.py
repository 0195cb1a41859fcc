"""A vCPU that does not run: each reason is an activity of its process that ends when it goes on.

The commonest, to sleep until its own time has come, is in the interpreter's loop. Here and there
is the one level at which SimPy's ``Process.interrupt`` reaches a vCPU; no activity sees it.
"""

from collections.abc import Generator

from simpy.events import Event
from simpy.exceptions import Interrupt

from sim.vcpu.state import NOT_ASKED, Rest, VCpu

Resting = Generator[Event, object, None]
"""Ends when the vCPU goes on, with its local time as that of the clock."""


def waiting(vcpu: VCpu, *, computing: bool = False) -> Resting:
    """Until what it waits for has come, or an interrupt that it takes; it keeps its pCPU."""
    since_ns = vcpu.local_ns
    if vcpu.asked_ns == NOT_ASKED:
        vcpu.asked_ns = since_ns
    vcpu.clockwork.waiting.append(vcpu)
    _lie_down(vcpu, Rest.WAITING, "guest" if computing else "lock_wait")
    yield from _woken(vcpu)
    if computing:
        vcpu.spin_ns += vcpu.local_ns - since_ns
    else:
        vcpu.lock_wait_ns += vcpu.local_ns - since_ns


def blocked(vcpu: VCpu) -> Resting:
    """The same, and its pCPU is for others meanwhile."""
    vcpu.clockwork.waiting.append(vcpu)
    yield from _leaving(vcpu, Rest.BLOCKED)


def idle(vcpu: VCpu) -> Resting:
    """Until an interrupt comes."""
    yield from _leaving(vcpu, Rest.IDLE)


def without_pcpu(vcpu: VCpu, rest: Rest) -> Resting:
    """Until the scheduler gives it one; it was taken from it, or it has not had any."""
    _lie_down(vcpu, rest, "steal")
    yield from _woken(vcpu)


def interrupted(vcpu: VCpu) -> Resting:
    """SimPy has thrown an interrupt: the vCPU goes on at this time, when its turn comes."""
    env = vcpu.clockwork.env
    # What it slept for may be on the queue, where it will come to nothing.
    vcpu.wake = env.ready_event()
    vcpu.local_ns = env.now_ns
    vcpu.wake_at(vcpu.local_ns)
    yield vcpu.wake


def _leaving(vcpu: VCpu, rest: Rest) -> Resting:
    scheduler = vcpu.scheduler
    since_ns = vcpu.local_ns
    _lie_down(vcpu, rest, "idle")
    if scheduler is not None:
        scheduler.block(vcpu, since_ns)
    yield from _woken(vcpu)
    if scheduler is None:  # else that has kept the time
        vcpu.idle_ns += vcpu.local_ns - since_ns


def _lie_down(vcpu: VCpu, rest: Rest, account: str) -> None:
    vcpu.rest, vcpu.resting_account = rest, account
    vcpu.wake.callbacks = []


def _woken(vcpu: VCpu) -> Resting:
    try:
        yield vcpu.wake
    except Interrupt:
        yield from interrupted(vcpu)
    vcpu.rest = None
    vcpu.local_ns = vcpu.clockwork.env.now_ns
