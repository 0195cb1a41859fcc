"""Interrupts: how they reach a vCPU, when it takes them, and its way into a handler and back.

A handler is an activity that runs on top of what it interrupts; nothing is thrown into a
generator. What was left of divided work, and the wait that was given up, are kept with it.
"""

from functools import partial

from sim.effects import Activity, CpuMode, Effect, Send
from sim.environment import INTERRUPTS
from sim.vcpu.clockwork import Clockwork
from sim.vcpu.sharing import SCHEDULE, asking, has_to_ask
from sim.vcpu.state import NO_TRAP, NOT_ASKED, Arrival, Interrupted, Rest, VCpu
from sim.vcpu.waits import reconsider

# -- on the way ------------------------------------------------------------------------------


def send_interrupt(vcpu: VCpu, interrupt: Send) -> None:
    """Put an interrupt on its way to each of its targets; the sender may wait for their answers."""
    clockwork = vcpu.clockwork
    vcpu.unacknowledged += len(interrupt.targets)
    for number in interrupt.targets:
        latency_ns = 0
        if interrupt.latency is not None:
            latency_ns = vcpu.costs.draw(vcpu.mode, interrupt.latency)(1)
        arrives_ns = vcpu.local_ns + latency_ns
        clockwork.in_flight += 1
        # Before what the vCPUs do themselves at that time; among each other by the draw.
        reach = partial(_reach, clockwork, number, Arrival(interrupt, vcpu))
        clockwork.env.call_at(arrives_ns, INTERRUPTS + vcpu.tie(arrives_ns), reach)


def _reach(clockwork: Clockwork[VCpu], number: int, arrival: Arrival) -> None:
    """A guest's interrupt is for a vCPU; a hypervisor's is for a pCPU, whoever runs there."""
    clockwork.in_flight -= 1
    scheduler = clockwork.scheduler
    if not arrival.interrupt.hypervisor or (scheduler is None and number < len(clockwork.vcpus)):
        arrive(clockwork.vcpus[number], arrival)
    elif scheduler is not None:
        arrive(scheduler.on(number), arrival)
    elif arrival.sender is not None:
        _acknowledged(arrival.sender, clockwork.env.now_ns)  # nobody ever ran there


def arrive(vcpu: VCpu, arrival: Arrival) -> None:
    """An interrupt has reached this vCPU; it divides what may be divided."""
    if arrival.interrupt is SCHEDULE and has_to_ask(vcpu):
        return
    vcpu.pending.append(arrival)
    clockwork = vcpu.clockwork
    rest = vcpu.rest
    if rest in (None, Rest.OFF, Rest.WOKEN) or not _can_take(vcpu, arrival, clockwork.env.now_ns):
        return
    if rest is Rest.BLOCKED or rest is Rest.WAITING:
        if vcpu not in clockwork.waiting:
            return  # woken already, at this very time: it looks for interrupts when it resumes
        clockwork.waiting.remove(vcpu)
    if rest is Rest.IDLE or rest is Rest.BLOCKED:
        scheduler = vcpu.scheduler
        if scheduler is not None:
            vcpu.woken()
            scheduler.wake(vcpu, clockwork.env.now_ns)
            return
    vcpu.rest = None
    assert vcpu.process is not None
    vcpu.process.interrupt(arrival.interrupt.name)


# -- which are taken -------------------------------------------------------------------------


def _can_take(vcpu: VCpu, arrival: Arrival, now_ns: int) -> bool:
    in_guest = vcpu.mode is CpuMode.GUEST or now_ns <= vcpu.traps_ns
    if arrival.interrupt is SCHEDULE:
        return in_guest  # a hypervisor is left at its own points only
    if arrival.interrupt.hypervisor:
        # A guest cannot hold it back; another of its kind can, until its handler has ended.
        return not (vcpu.interrupted and vcpu.interrupted[-1].by_hypervisor)
    return vcpu.irqs_enabled and in_guest


def takes_pending(vcpu: VCpu, now_ns: int) -> bool:
    """Can it take any interrupt that has reached it?"""
    return any(_can_take(vcpu, arrival, now_ns) for arrival in vcpu.pending)


def is_wanted(vcpu: VCpu) -> bool:
    """Does the scheduler, or an interrupt that the guest would take, wait for this call's end?

    Source: xen/include/asm-x86/event.h, xen/sched.h:hypercall_preempt_check.
    """
    return any(
        arrival.interrupt is SCHEDULE or (vcpu.irqs_enabled and not arrival.interrupt.hypervisor)
        for arrival in vcpu.pending
    )


# -- into a handler and back -----------------------------------------------------------------


def divert(vcpu: VCpu, effect: Effect | None, remaining_ns: int = 0) -> bool:
    """Leave what is running for an interrupt's handler, if one is pending that can be taken.

    ``effect`` is then to be taken up again, ``remaining_ns`` of work before it to be done.
    """
    if not (vcpu.pending and takes_pending(vcpu, vcpu.local_ns)):
        return False
    enter_handler(vcpu, effect, remaining_ns)
    return True


def enter_handler(vcpu: VCpu, effect: Effect | None, remaining_ns: int = 0) -> None:
    """Leave what is running for the handler of the first interrupt that can be taken.

    Those that are for the vCPU's pCPU come before the scheduler's.
    """
    takeable = [arrival for arrival in vcpu.pending if _can_take(vcpu, arrival, vcpu.local_ns)]
    # The scheduler's comes last: whoever leaves has done what its pCPU was asked to do.
    arrival = min(takeable, key=lambda arrival: arrival.interrupt is SCHEDULE)
    vcpu.pending.remove(arrival)
    if arrival.interrupt is SCHEDULE:
        run_on_top(vcpu, asking(vcpu), effect, remaining_ns)
        return
    run_on_top(
        vcpu,
        arrival.interrupt.handler(),
        effect,
        remaining_ns,
        by_hypervisor=arrival.interrupt.hypervisor,
        sender=arrival.sender,
    )


def run_on_top(
    vcpu: VCpu,
    handler: Activity,
    effect: Effect | None,
    remaining_ns: int = 0,
    *,
    by_hypervisor: bool = True,
    sender: VCpu | None = None,
) -> None:
    """Leave what is running for this activity, which runs with the guest's interrupts off."""
    vcpu.interrupted.append(
        Interrupted(
            send=vcpu.send,
            callers=vcpu.callers,
            effect=effect,
            remaining_ns=remaining_ns,
            traps_after_ns=vcpu.traps_ns - vcpu.local_ns,
            mode=vcpu.mode,
            irqs_enabled=vcpu.irqs_enabled,
            asked_ns=vcpu.asked_ns,
            ticket=vcpu.ticket,
            may_go_on=vcpu.may_go_on,
            by_hypervisor=by_hypervisor,
            sender=sender,
        )
    )
    vcpu.asked_ns, vcpu.ticket, vcpu.may_go_on = NOT_ASKED, None, None
    vcpu.irqs_enabled, vcpu.traps_ns = False, NO_TRAP
    vcpu.mode = CpuMode.HYPERVISOR if by_hypervisor else CpuMode.GUEST
    vcpu.send, vcpu.callers = handler.send, []


def leave_handler(vcpu: VCpu) -> Interrupted:
    """A handler has ended: whoever sent its interrupt is told; what the vCPU goes back to."""
    now_ns = vcpu.local_ns
    back = vcpu.interrupted.pop()
    if back.sender is not None:
        _acknowledged(back.sender, now_ns)
    vcpu.send, vcpu.callers = back.send, back.callers
    vcpu.mode, vcpu.irqs_enabled = back.mode, back.irqs_enabled
    vcpu.asked_ns, vcpu.ticket = back.asked_ns, back.ticket
    vcpu.traps_ns = now_ns + back.traps_after_ns if back.traps_after_ns >= 0 else NO_TRAP
    return back


def _acknowledged(sender: VCpu, now_ns: int) -> None:
    """One of the targets has finished the handler of the sender's interrupt."""
    sender.unacknowledged -= 1
    if sender.clockwork.waiting:
        reconsider(sender.clockwork, now_ns)
