"""A vCPU that shares its pCPU: how it is asked for it, leaves it, and is given one again.

Being preempted is an interrupt. The scheduler (:mod:`sim.cpus.scheduler`) interrupts a vCPU whose
pCPU should look for somebody else; the handler here asks whether it may go on and, if not,
returns when it has a pCPU again.
"""

from sim.effects import Activity, CpuMode, Effect, Send, Spend
from sim.vcpu.state import Arrival, Rest, VCpu

# Charged where the profile has it: for a pCPU that ran another.
_SWITCH = "vcpu_context_switch"


class GiveUp(Effect):
    """The scheduler has asked for the pCPU: go on if it lets us, else when it gives us one."""

    __slots__ = ()


_GIVE_UP = GiveUp()


def idle_activity() -> Activity:
    """Nothing, for a CPU that only takes interrupts."""
    yield from ()


SCHEDULE = Send("schedule", (), idle_activity, hypervisor=True)
"""The interrupt by which a scheduler makes a vCPU ask; its handler is :func:`asking`."""


def scheduling_interrupt() -> Arrival:
    """A :data:`SCHEDULE` that has reached its vCPU."""
    return Arrival(SCHEDULE, None)


# -- what a vCPU does ------------------------------------------------------------------------


def asking(vcpu: VCpu) -> Activity:
    """The scheduler's interrupt: leave the pCPU if somebody else shall have it."""
    yield _GIVE_UP
    yield from switching(vcpu)


def switching(vcpu: VCpu) -> Activity:
    """Load the vCPU's state where another's was."""
    if vcpu.switched:
        vcpu.switched = False
        if _SWITCH in vcpu.clockwork.prices:
            yield Spend(_SWITCH)


def has_to_ask(vcpu: VCpu) -> bool:
    """Has the scheduler interrupted it, and it has not yet asked?"""
    return any(arrival.interrupt is SCHEDULE for arrival in vcpu.pending)


# -- what the scheduler asks of it -----------------------------------------------------------


def go_on(vcpu: VCpu, now_ns: int, *, switched: bool) -> None:
    """It has a pCPU, which had another's state if ``switched``."""
    vcpu.switched = switched
    vcpu.wake_at(now_ns)


def leave(vcpu: VCpu) -> list[Arrival]:
    """It has no pCPU any more; what it has not taken yet of the pCPU's interrupts."""
    left = [arrival for arrival in vcpu.pending if arrival.interrupt.hypervisor]
    vcpu.pending[:] = [each for each in vcpu.pending if not each.interrupt.hypervisor]
    return [arrival for arrival in left if arrival.interrupt is not SCHEDULE]


def is_preemptible(vcpu: VCpu) -> bool:
    """Would it give its pCPU away now?"""
    return vcpu.mode is CpuMode.GUEST or _is_switching(vcpu)


def could_go_on(vcpu: VCpu) -> bool:
    """Would it do more than to wait if it had a pCPU?"""
    rest = vcpu.rest
    if rest is Rest.IDLE or rest is Rest.BLOCKED:
        return False
    if rest is Rest.WAITING:
        return vcpu not in vcpu.clockwork.waiting
    if rest is Rest.WOKEN or not _is_switching(vcpu):
        return True
    back = vcpu.interrupted[-1]
    if back.irqs_enabled and any(not each.interrupt.hypervisor for each in vcpu.pending):
        return True
    return back.may_go_on is None or back.may_go_on()


def _is_switching(vcpu: VCpu) -> bool:
    """Is it in the scheduler's interrupt?"""
    return bool(vcpu.interrupted) and vcpu.interrupted[-1].sender is None
