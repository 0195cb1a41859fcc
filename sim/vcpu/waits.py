"""What a vCPU waits for, and what happens when the reason has gone.

A lock is busy, a condition does not hold, an interrupt is not acknowledged: ``obstacle`` gives the
test that tells when to try again; ``reconsider`` looks at these tests where a step may have
changed their answer.
"""

from collections.abc import Callable

from sim.effects import Acquire, Effect, WaitUntil
from sim.locks import TicketLock
from sim.vcpu.clockwork import Clockwork
from sim.vcpu.sharing import could_go_on
from sim.vcpu.state import Rest, VCpu

A_PCPU = "a pCPU"


def obstacle(vcpu: VCpu, effect: Effect) -> Callable[[], bool] | None:
    """None if the effect can go on now; else the test that tells when it can."""
    if isinstance(effect, Acquire):
        lock = effect.lock
        if isinstance(lock, TicketLock):
            return _queue_for(vcpu, lock)
        if not lock.busy():
            return None
        vcpu.waits_for = lock.key
        return lambda: not lock.busy()
    if isinstance(effect, WaitUntil):
        vcpu.waits_for = effect.what
        return None if effect.predicate() else effect.predicate
    vcpu.waits_for = f"{vcpu.unacknowledged} acknowledgements"
    return (lambda: vcpu.unacknowledged == 0) if vcpu.unacknowledged else None


def _queue_for(vcpu: VCpu, lock: TicketLock) -> Callable[[], bool] | None:
    """As :func:`obstacle`: whoever finds a fair lock busy takes a ticket."""
    if vcpu.ticket is None:
        if not lock.busy():
            return None
        vcpu.ticket = lock.draw_ticket()
    ticket = vcpu.ticket
    if lock.serves(ticket):
        return None
    vcpu.waits_for = lock.key
    return lambda: lock.serves(ticket)


def reconsider(clockwork: Clockwork[VCpu], now_ns: int) -> None:
    """Wake the waiting vCPUs whose reason has gone; they try again at this time."""
    waiting = clockwork.waiting
    for vcpu in [each for each in waiting if each.may_go_on and each.may_go_on()]:
        waiting.remove(vcpu)
        _reason_has_gone(vcpu, now_ns)


def _reason_has_gone(vcpu: VCpu, now_ns: int) -> None:
    """It need not wait any longer: it tries again, if it has a pCPU."""
    scheduler = vcpu.scheduler
    if vcpu.rest is Rest.BLOCKED and scheduler is not None:
        vcpu.woken()
        scheduler.wake(vcpu, now_ns)
    else:
        vcpu.wake_at(now_ns)


def kept_by(vcpu: VCpu) -> str | None:
    """What keeps it from going on, for people; None if nothing does."""
    if vcpu.rest in (Rest.WAITING, Rest.BLOCKED):
        return str(vcpu.waits_for)
    if vcpu.rest is Rest.WOKEN:
        return A_PCPU
    if vcpu.rest is Rest.OFF:
        return A_PCPU if could_go_on(vcpu) else str(vcpu.waits_for)
    return None
