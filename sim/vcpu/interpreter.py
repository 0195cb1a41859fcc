"""The life of a vCPU's process: it interprets the effects of the activities that it runs.

It keeps a local time and goes back to SimPy only where somebody else could see a difference. The
loop is one long function, because a call for each effect costs more than what most effects do. In
the order of the code:

* a vCPU that is alone: nobody could see anything, and work is only counted;
* effects that no other vCPU can see, whoever is there, and steps before anybody else is due;
* effects at which another vCPU could see a difference, or an interrupt could be taken. Only here
  does the process wait for its turn, and may be interrupted.

A trap is of the second kind: what it changes is only who may interrupt the vCPU, so its time is
remembered (``traps_ns``), and the vCPU waits at the first step behind it.
"""

from collections.abc import Callable, Generator
from heapq import heappush
from types import GeneratorType
from typing import TYPE_CHECKING, Any

from simpy.events import URGENT, Event

from sim.effects import (
    DECLINED,
    Acquire,
    Activity,
    Again,
    AwaitAcks,
    Block,
    Bulk,
    Choose,
    CpuMode,
    Draw,
    Effect,
    Irqs,
    Mark,
    Mode,
    Note,
    PreemptPoint,
    PreemptPoints,
    Release,
    Send,
    Spend,
    Spent,
    Step,
    Stretch,
    Trap,
    Unbroken,
    WaitUntil,
)
from sim.stepwise import INVISIBLE
from sim.vcpu import resting
from sim.vcpu.costs import UNITS, Marked
from sim.vcpu.interrupts import (
    enter_handler,
    is_wanted,
    leave_handler,
    run_on_top,
    send_interrupt,
    takes_pending,
)
from sim.vcpu.sharing import GiveUp, switching
from sim.vcpu.state import AFTER_SIMPY, NOT_ASKED, TIE_MASK, Callers, Rest, VCpu
from sim.vcpu.waits import obstacle

if TYPE_CHECKING:
    from sim.timed import Simulation

# Charged where the profile has it: for a lock got by waiting.
_HAND_OVER = "lock_handoff"


class _Ended(Effect):
    """An activity has come to its end: seen by the others at this vCPU's time, like an effect."""

    __slots__ = ("failure", "value")

    def __init__(self, value: Any, failure: BaseException | None = None) -> None:
        self.value = value
        self.failure = failure


class _Moment(Effect):
    """The one in which all of a trap's work happens, which comes from ``mode``."""

    __slots__ = ("mode", "trap")

    def __init__(self, mode: CpuMode, trap: Trap) -> None:
        self.mode = mode
        self.trap = trap


class _Return(Effect):
    """A trap's activity has ended with ``value``: the CPU goes back to ``mode``."""

    __slots__ = ("mode", "value")

    def __init__(self, mode: CpuMode, value: Any) -> None:
        self.mode = mode
        self.value = value


class _Idle(Effect):
    """Nothing is left to do but to take interrupts."""

    __slots__ = ()


_IDLE = _Idle()


def start(
    simulation: "Simulation",
    number: int,
    activity: Activity,
    *,
    name: str | None = None,
    scheduled: bool = True,
) -> VCpu:
    """Make a vCPU, whose process begins with the run.

    ``scheduled``: it needs a pCPU, where there are fewer than vCPUs.
    """
    vcpu = VCpu(simulation, number, activity, name=name, scheduled=scheduled)
    process = _interpret(vcpu)
    next(process)
    # What SimPy's own Process does between an event and a generator is done already: the event
    # never fails, and the generator arms it itself.
    vcpu.resume.append(process.send)
    vcpu.wake.callbacks = vcpu.resume
    simulation.env.schedule(vcpu.wake, URGENT)
    return vcpu


def _repeat(vcpu: VCpu, marked: Marked, again: Again) -> Spent:
    """Spend and tell what was spent and told since the mark, so many times more."""
    costs, probe = vcpu.costs, vcpu.simulation.probe
    rest = costs.counted()
    spent = marked.spent(rest)
    if not marked.told:
        costs.count_again(rest, again.times)
        return spent
    assert probe is not None  # else nothing would have been told
    local = vcpu.local_ns + costs.settle()
    for number in range(1, again.times + 1):
        for stretch, what in marked.told:
            vcpu.local_ns = local = local + costs.spend_again(stretch)
            probe.note(vcpu.number, local, again.moved(what, number))
        local += costs.spend_again(rest)
    vcpu.local_ns = local
    return spent


def _tell(vcpu: VCpu, local_ns: int, note: Note) -> None:
    """Make a note where a vCPU stands, as if its activity had."""
    simulation = vcpu.simulation
    if simulation.waiting:
        simulation.reconsider(local_ns)
    if simulation.probe is not None:
        vcpu.local_ns = local_ns
        simulation.probe.note(vcpu.number, local_ns, note.what)


def _skip_lead(trap: Trap) -> None:
    """Let the activity begin where its lead has been spent already."""
    for spend in trap.lead or ():
        if trap.activity.send(None) is not spend:
            raise TypeError(f"the activity of this trap does not begin with {spend.cost}")


def _interpret(vcpu: VCpu) -> Generator[None, Event, None]:  # noqa: PLR0915 - a call costs too much
    """Run the activities. Hot path: one pass of the loop an effect, locals throughout."""
    yield  # until the run begins
    simulation = vcpu.simulation
    oracle = simulation.oracle
    probe = simulation.probe
    env: Any = simulation.env
    queue, numbers = env._queue, env._eid  # noqa: SLF001 - env.peek() without the call
    tie_factor, tie_offset = vcpu.tie_factor, vcpu.tie_offset
    asleep: Any = Rest.ASLEEP
    waiting, pending, resume = simulation.waiting, vcpu.pending, vcpu.resume
    every_event = simulation.every_event
    scheduler = vcpu.scheduler
    # Others are there, or somebody wants to know each moment: nothing is done unseen.
    look, stepped = simulation.look, False
    watched = every_event or scheduler is not None or simulation.lock_times is not None
    watched = watched or look is not None
    lock_times = simulation.lock_times
    step_by_step = every_event or lock_times is not None
    no_moments = step_by_step or look is not None
    # Looking an Enum up in a dict would call Python code to hash it.
    guest = CpuMode.GUEST
    hypervisor = CpuMode.HYPERVISOR
    settle = vcpu.costs.settle
    guest_costs, hypervisor_costs = vcpu.costs.by_mode[guest], vcpu.costs.by_mode[hypervisor]
    costs = guest_costs
    brief_locks = 0
    held = vcpu.held
    send: Callable[[Any], Any] = vcpu.activity.send
    callers: Callers = []
    answer: Any = None
    effect: Any = None  # an effect that is to be taken up again
    local = 0
    counted = False  # units of work that are not drawn yet
    marked: Marked | None = None  # the mark since which nothing has happened but counted work
    if scheduler is not None and not vcpu.starts_on_pcpu:
        local = yield from resting.without_pcpu(vcpu, Rest.WOKEN, 0)
        send, callers, costs = run_on_top(vcpu, local, switching(vcpu), send, callers, None, 0)
    while True:
        if effect is None:
            try:
                if not (queue or waiting or pending or watched):
                    # Fast path, alone: nothing is due, nobody waits, no interrupt is held back,
                    # and none of the effects in this loop can change that. So nobody can see a
                    # step, and work is counted in units, to be turned into time when it matters.
                    counted = True
                    while True:
                        effect = send(answer)
                        kind = effect.__class__
                        if kind is Step:
                            answer = None
                        elif kind is Spend:
                            costs[effect.cost][UNITS] += effect.n
                            answer = None
                        elif kind is Trap:
                            before, vcpu.mode = vcpu.mode, hypervisor
                            costs = hypervisor_costs
                            costs[effect.cost][UNITS] += 1
                            if effect.at_once is not None and not oracle.may_preempt:
                                whole = effect.at_once()
                                if whole is not None:
                                    answer, spent = whole
                                    for spend in spent:
                                        costs[spend.cost][UNITS] += spend.n
                                    vcpu.mode = before
                                    costs = guest_costs if before is guest else costs
                                    continue
                            callers.append((send, before))
                            send = effect.activity.send
                            answer = None
                        elif kind is PreemptPoint:
                            answer = oracle.preempt()
                        elif kind is PreemptPoints:
                            answer = oracle.preempt_after(effect.n)
                        elif kind is GeneratorType:
                            callers.append((send, None))
                            send = effect.send
                            answer = None
                        elif kind is Acquire and not effect.lock.busy():
                            answer = effect.lock.take()
                            if answer:
                                held.append(effect.lock)
                                brief_locks += effect.lock.brief
                        elif kind is Release:
                            effect.lock.release()
                            held.remove(effect.lock)
                            brief_locks -= effect.lock.brief
                            answer = None
                        elif kind is Note:
                            if probe is not None:
                                if marked is not None:
                                    marked.told.append((vcpu.costs.counted(), effect.what))
                                vcpu.local_ns = local = local + settle()
                                probe.note(vcpu.number, local, effect.what)
                            answer = None
                        elif kind is Bulk or kind is Stretch:
                            answer = effect.all_at_once()
                        elif kind is Mark:
                            local += settle()
                            answer = marked = None if oracle.may_preempt else Marked()
                        elif kind is Again:
                            answer = None
                            if marked is not None and effect.mark is marked:
                                vcpu.local_ns = local
                                answer = _repeat(vcpu, marked, effect)
                                local = vcpu.local_ns
                            marked = None
                        elif kind is Unbroken:
                            answer = DECLINED if oracle.may_preempt else effect.all_at_once()
                        else:
                            break
                    local += settle()
                    counted = False
                    marked = None
                else:
                    # Effects that no other vCPU can see, or could see before it is due itself.
                    while True:
                        effect = send(answer)
                        kind = effect.__class__
                        if look is not None:
                            if stepped and (note := look()) is not None:
                                _tell(vcpu, local, note)
                            stepped = kind not in INVISIBLE
                        if waiting:
                            # What the last step changed may be what somebody waits for.
                            simulation.reconsider(local)
                        if kind is Spend:
                            entry = costs[effect.cost]
                            ns = entry[0](effect.n)
                            entry[1] += ns
                            local += ns
                            answer = None
                        elif kind is Step:
                            if every_event or pending or not queue:
                                break
                            if not brief_locks and queue[0][0] <= local:
                                break
                            answer = None
                        elif kind is Trap:
                            # What is pending cannot be taken here: else it would have been.
                            before, vcpu.mode = vcpu.mode, hypervisor
                            costs = hypervisor_costs
                            entry = costs[effect.cost]
                            ns = entry[0](1)
                            if ns and before is guest:
                                vcpu.traps_ns = local
                            entry[1] += ns
                            local += ns
                            if effect.lead is None or no_moments or oracle.may_preempt:
                                callers.append((send, before))
                                send = effect.activity.send
                                answer = None
                                stepped = False
                                continue
                            for spend in effect.lead:
                                entry = costs[spend.cost]
                                ns = entry[0](spend.n)
                                entry[1] += ns
                                local += ns
                            effect = _Moment(before, effect)
                            kind = _Moment
                            break
                        elif kind is Acquire:
                            if step_by_step or pending or not queue or queue[0][0] <= local:
                                break
                            if effect.lock.busy():
                                break
                            answer = effect.lock.take()
                            if answer:
                                held.append(effect.lock)
                                brief_locks += effect.lock.brief
                        elif kind is GeneratorType:
                            callers.append((send, None))
                            send = effect.send
                            answer = None
                            stepped = False
                        elif kind is Stretch or kind is Unbroken:
                            answer = DECLINED  # others could see what lies between
                        elif kind is Mark or kind is Again:
                            answer = None
                        elif kind is Note:
                            if probe is not None:
                                vcpu.local_ns = local
                                probe.note(vcpu.number, local, effect.what)
                            answer = None
                        else:
                            break
            except StopIteration as end:
                effect = None
                if look is not None:
                    if stepped and (note := look()) is not None:
                        _tell(vcpu, local, note)
                    stepped = True  # what began it may be followed by a change
                if callers:
                    (send, mode), answer = callers.pop(), end.value
                    if mode is None:
                        continue
                    if not ((queue and queue[0][0] <= local) or waiting or pending or every_event):
                        # As _Return below, where nobody could see that it is one.
                        vcpu.mode = mode
                        costs = guest_costs if mode is guest else hypervisor_costs
                        continue
                    effect = _Return(mode, answer)
                    kind = _Return
                else:
                    effect = _Ended(end.value)
                    kind = _Ended
                if counted:
                    local += settle()
                    counted = False
                    marked = None
            except Exception as failure:  # noqa: BLE001 - it ends the run, at its time
                effect = _Ended(None, failure)
                kind = _Ended
                if counted:
                    local += settle()
                    counted = False
                    marked = None
            if waiting:
                simulation.reconsider(local)
        else:
            kind = effect.__class__

        # The effects from here on are places where another vCPU could see a difference, or
        # where it matters whether an interrupt has come.
        now = local
        if every_event or (queue and queue[0][0] <= local):
            inside = brief_locks and (kind is Step or kind is Bulk)
            if not inside:
                # vcpu.tie() and vcpu.wake_at() without the calls.
                tie = AFTER_SIMPY + ((local * tie_factor + tie_offset) & TIE_MASK)
                if every_event or queue[0][0] < local or queue[0][1] < tie:
                    vcpu.local_ns = local
                    wake = vcpu.wake
                    wake.callbacks = resume
                    vcpu.rest = asleep
                    heappush(queue, (local, tie, next(numbers), wake))
                    yield
                    if vcpu.rest is None:
                        now = env._now  # noqa: SLF001 - an interrupt has come earlier
                    vcpu.rest = None
        if pending and takes_pending(vcpu, now):
            vcpu.local_ns, remaining, local = now, local - now, now
            send, callers, costs = enter_handler(vcpu, local, send, callers, effect, remaining)
            effect = answer = None
            continue

        answer = None
        if kind is Step:
            pass
        elif kind is _Moment:
            # Who waits would have to be asked after each of its steps.
            whole = None if waiting else effect.trap.at_once()
            if whole is None:
                callers.append((send, effect.mode))
                send = effect.trap.activity.send
                _skip_lead(effect.trap)
            else:
                vcpu.mode = effect.mode
                costs = guest_costs if effect.mode is guest else hypervisor_costs
                answer = whole.answer
                if pending and takes_pending(vcpu, local):
                    vcpu.local_ns = local
                    back = _Return(effect.mode, answer)
                    send, callers, costs = enter_handler(vcpu, local, send, callers, back, 0)
                    answer = None
        elif kind is Release:
            if lock_times is not None:
                lock_times.released(effect.lock.key, local)
            effect.lock.release()
            held.remove(effect.lock)
            brief_locks -= effect.lock.brief
        elif kind is _Return:
            vcpu.mode = effect.mode
            costs = guest_costs if vcpu.mode is guest else hypervisor_costs
            if pending and takes_pending(vcpu, local):
                vcpu.local_ns = local
                send, callers, costs = enter_handler(vcpu, local, send, callers, effect, 0)
            else:
                answer = effect.value
        elif kind is Bulk:
            answer = effect.all_at_once()
        elif kind is Acquire or kind is WaitUntil or kind is AwaitAcks:
            vcpu.may_go_on = obstacle(vcpu, effect)
            if vcpu.may_go_on is not None:
                local = yield from resting.waiting(vcpu, local)
                if pending and takes_pending(vcpu, local):
                    send, callers, costs = enter_handler(vcpu, local, send, callers, effect, 0)
                    effect = None
                continue
            if kind is Acquire:
                if vcpu.ticket is None:
                    answer = effect.lock.take()
                else:
                    vcpu.ticket, answer = None, True
                if answer:
                    held.append(effect.lock)
                    brief_locks += effect.lock.brief
                if vcpu.asked_ns != NOT_ASKED and _HAND_OVER in simulation.prices:
                    ns = vcpu.costs.draw(vcpu.mode, _HAND_OVER)(1)
                    vcpu.lock_wait_ns += ns
                    local += ns
                if lock_times is not None and answer:
                    lock_times.taken(effect.lock.key, vcpu.asked_ns, local)
            vcpu.asked_ns = NOT_ASKED
        elif kind is Mode:
            vcpu.mode = effect.mode
            costs = guest_costs if vcpu.mode is guest else hypervisor_costs
            if pending and takes_pending(vcpu, local):
                vcpu.local_ns = local
                send, callers, costs = enter_handler(vcpu, local, send, callers, None, 0)
        elif kind is PreemptPoint:
            answer = (bool(pending) and is_wanted(vcpu)) or oracle.preempt()
        elif kind is PreemptPoints:
            # Nothing can come between two of them: who is due before this vCPU at this time has
            # had his turn at the first, and interrupts that could be taken were taken there.
            answer = 0 if pending and is_wanted(vcpu) else oracle.preempt_after(effect.n)
        elif kind is Choose:
            answer = oracle.choose(effect.name, effect.options)
        elif kind is Draw:
            answer = oracle.draw(effect.stream, effect.distribution)
        elif kind is Irqs:
            vcpu.irqs_enabled = effect.enabled
            if pending and takes_pending(vcpu, local):
                vcpu.local_ns = local
                send, callers, costs = enter_handler(vcpu, local, send, callers, None, 0)
        elif kind is Send:
            send_interrupt(vcpu, effect, local)
        elif kind is _Ended:
            vcpu.local_ns = local
            if effect.failure is not None:
                simulation.failure, simulation.failed_at_ns = effect.failure, local
                raise effect.failure
            if not vcpu.interrupted:
                vcpu.result = effect.value
                effect = _IDLE
                continue
            left = leave_handler(vcpu, local)
            send, callers, effect = left.send, left.callers, left.effect
            costs = guest_costs if vcpu.mode is guest else hypervisor_costs
            if pending and takes_pending(vcpu, local):
                send, callers, costs = enter_handler(
                    vcpu, local, send, callers, effect, left.remaining_ns
                )
                effect = None
            else:
                local += left.remaining_ns
            continue
        elif kind is _Idle:
            local = yield from resting.idle(vcpu, local)
            if scheduler is None:
                send, callers, costs = enter_handler(vcpu, local, send, callers, _IDLE, 0)
            else:
                load = switching(vcpu)
                send, callers, costs = run_on_top(vcpu, local, load, send, callers, _IDLE, 0)
        elif kind is Block:
            vcpu.may_go_on = obstacle(vcpu, effect)
            if vcpu.may_go_on is not None:
                local = yield from resting.blocked(vcpu, local)
                if scheduler is not None:
                    load = switching(vcpu)
                    send, callers, costs = run_on_top(vcpu, local, load, send, callers, effect, 0)
                    effect = None
                elif pending and takes_pending(vcpu, local):
                    send, callers, costs = enter_handler(vcpu, local, send, callers, effect, 0)
                    effect = None
                continue
        elif kind is GiveUp:
            assert scheduler is not None
            vcpu.local_ns = local
            if not scheduler.keeps(vcpu, local):
                local = yield from resting.without_pcpu(vcpu, Rest.OFF, local)
        else:
            raise TypeError(f"not an effect: {effect!r}")
        effect = None
