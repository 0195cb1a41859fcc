"""Effects that are carried out seldom, or before which a vCPU has to wait: a function each.

All are called at the vCPU's turn, with what it runs and its local time in its fields. They answer
the effect, or change what the vCPU runs: then the answer is None, and is for that.
"""

from collections.abc import Callable, Generator
from typing import Any, TypeAlias

from simpy.events import Event

from sim.effects import (
    Acquire,
    Await,
    AwaitAcks,
    Block,
    Boundary,
    Choose,
    Draw,
    Effect,
    Irqs,
    Mode,
    PreemptPoint,
    PreemptPoints,
    Send,
    WaitUntil,
)
from sim.vcpu import resting
from sim.vcpu.interrupts import (
    divert,
    enter_handler,
    is_wanted,
    leave_handler,
    run_on_top,
    send_interrupt,
)
from sim.vcpu.own_effects import IDLE, Coming, Ended, Idle, Return
from sim.vcpu.sharing import GiveUp, switching
from sim.vcpu.state import NOT_ASKED, Rest, VCpu
from sim.vcpu.waits import obstacle, reconsider

Outcome: TypeAlias = "tuple[Any, Effect | None]"
"""The answer to an effect, and the one to be taken up next in place of an activity's, if any."""

Rested: TypeAlias = Generator[Event, object, Outcome]

# Charged where the profile has it: for a lock got by waiting.
_HAND_OVER = "lock_handoff"
_NOTHING: Outcome = None, None


# -- without waiting --------------------------------------------------------------------------


def _mode(vcpu: VCpu, effect: Mode) -> Outcome:
    vcpu.mode = effect.mode
    divert(vcpu, None)
    return _NOTHING


def _return(vcpu: VCpu, effect: Return) -> Outcome:
    vcpu.mode = effect.mode
    return None if divert(vcpu, effect) else effect.value, None


def _irqs(vcpu: VCpu, effect: Irqs) -> Outcome:
    vcpu.irqs_enabled = effect.enabled
    divert(vcpu, None)
    return _NOTHING


def _preempt_point(vcpu: VCpu, _: PreemptPoint) -> Outcome:
    return (bool(vcpu.pending) and is_wanted(vcpu)) or vcpu.clockwork.oracle.preempt(), None


def _preempt_points(vcpu: VCpu, effect: PreemptPoints) -> Outcome:
    # Nothing can come between two of them: who is due before this vCPU at this time has had his
    # turn at the first, and interrupts that could be taken were taken there.
    wanted = vcpu.pending and is_wanted(vcpu)
    return 0 if wanted else vcpu.clockwork.oracle.preempt_after(effect.n), None


def _choose(vcpu: VCpu, effect: Choose) -> Outcome:
    return vcpu.clockwork.oracle.choose(effect.name, effect.options), None


def _draw(vcpu: VCpu, effect: Draw) -> Outcome:
    return vcpu.clockwork.oracle.draw(effect.stream, effect.distribution), None


def _boundary(vcpu: VCpu, effect: Boundary) -> Outcome:
    probe = vcpu.clockwork.probe
    if probe is not None:
        probe.note(vcpu.number, vcpu.local_ns, effect.what)
    return _NOTHING


def _send(vcpu: VCpu, effect: Send) -> Outcome:
    send_interrupt(vcpu, effect)
    return _NOTHING


def _ended(vcpu: VCpu, effect: Ended) -> Outcome:
    """The vCPU's own activity, or the handler of an interrupt."""
    if effect.failure is not None:
        raise effect.failure
    if not vcpu.interrupted:
        vcpu.result, vcpu.ended = effect.value, True
        return None, IDLE
    left = leave_handler(vcpu)
    if divert(vcpu, left.effect, left.remaining_ns):
        return _NOTHING
    vcpu.local_ns += left.remaining_ns
    return None, left.effect


# -- where it may have to wait ------------------------------------------------------------------


def _wait(vcpu: VCpu, effect: Acquire | WaitUntil | AwaitAcks) -> Rested:
    """For a lock, a condition or acknowledgements, with its pCPU."""
    vcpu.may_go_on = obstacle(vcpu, effect)
    if vcpu.may_go_on is not None:
        computing = isinstance(effect, WaitUntil) and effect.computing
        yield from resting.waiting(vcpu, computing=computing)
        return None, None if divert(vcpu, effect) else effect
    if isinstance(effect, Acquire):
        return take(vcpu, effect), None
    vcpu.asked_ns = NOT_ASKED
    return _NOTHING


def take(vcpu: VCpu, acquire: Acquire) -> bool:
    """Take a lock that nobody keeps from this vCPU; False: it is refused."""
    clockwork, lock = vcpu.clockwork, acquire.lock
    if vcpu.ticket is None:
        taken = lock.take()
    else:
        vcpu.ticket, taken = None, True
    if taken:
        vcpu.held.append(lock)
        vcpu.brief_locks += lock.brief
    if vcpu.asked_ns != NOT_ASKED and _HAND_OVER in clockwork.prices:
        ns = vcpu.costs.draw(vcpu.mode, _HAND_OVER)(1)
        vcpu.lock_wait_ns += ns
        vcpu.local_ns += ns
    if clockwork.lock_times is not None and taken:
        clockwork.lock_times.taken(lock.key, vcpu.asked_ns, vcpu.local_ns)
    vcpu.asked_ns, vcpu.may_go_on = NOT_ASKED, None
    return taken


def _block(vcpu: VCpu, effect: Block) -> Rested:
    """For a condition, while its pCPU is for others."""
    vcpu.may_go_on = obstacle(vcpu, effect)
    if vcpu.may_go_on is None:
        return _NOTHING
    return (yield from _blocked(vcpu, effect))


def _await(vcpu: VCpu, effect: Await) -> Rested:
    """For an event of SimPy's, which is made now: the clock stands where the vCPU does."""
    clockwork = vcpu.clockwork
    event: Any = effect.event(clockwork.env)
    if not isinstance(event, Event):
        raise TypeError(f"{effect.what}: not an event of SimPy's: {event!r}")
    if event.callbacks is not None:

        def has_come(event: Event) -> None:
            if not event.ok:
                event.defused = True  # its failure is this vCPU's
            reconsider(clockwork, clockwork.env.now_ns)

        event.callbacks.append(has_come)
    return (yield from _coming(vcpu, Coming(effect.what, event)))


def _coming(vcpu: VCpu, effect: Coming) -> Rested:
    """For that event, from the beginning or after an interrupt."""
    vcpu.may_go_on = obstacle(vcpu, effect)
    if vcpu.may_go_on is not None:
        return (yield from _blocked(vcpu, effect))
    event = effect.event
    if not event.ok:
        failure: Any = event.value
        raise failure
    return event.value, None


def _blocked(vcpu: VCpu, effect: Block | Coming) -> Rested:
    yield from resting.blocked(vcpu)
    if vcpu.scheduler is not None:
        run_on_top(vcpu, switching(vcpu), effect)
        return _NOTHING
    return None, None if divert(vcpu, effect) else effect


def _idle(vcpu: VCpu, _: Idle) -> Rested:
    env = vcpu.clockwork.env
    if env.others_are_due:  # else the run ends when no event is left
        env.look_at(vcpu.local_ns)
    yield from resting.idle(vcpu)
    if vcpu.scheduler is None:
        enter_handler(vcpu, IDLE)
    else:
        run_on_top(vcpu, switching(vcpu), IDLE)
    return _NOTHING


def _give_up(vcpu: VCpu, _: GiveUp) -> Rested:
    scheduler = vcpu.scheduler
    assert scheduler is not None
    if not scheduler.keeps(vcpu, vcpu.local_ns):
        yield from resting.without_pcpu(vcpu, Rest.OFF)
    return _NOTHING


SELDOM: dict[type, Callable[[VCpu, Any], Outcome]] = {
    Mode: _mode,
    Return: _return,
    Irqs: _irqs,
    PreemptPoint: _preempt_point,
    PreemptPoints: _preempt_points,
    Choose: _choose,
    Draw: _draw,
    Boundary: _boundary,
    Send: _send,
    Ended: _ended,
}
"""Effects after which the vCPU goes on."""

RESTING: dict[type, Callable[[VCpu, Any], Rested]] = {
    Acquire: _wait,
    WaitUntil: _wait,
    AwaitAcks: _wait,
    Block: _block,
    Await: _await,
    Coming: _coming,
    Idle: _idle,
    GiveUp: _give_up,
}
"""Effects at which it may have to rest."""
