"""The life of a vCPU's process: it interprets the effects of the activities that it runs.

It keeps a local time and goes back to SimPy only where somebody else could see a difference. The
loop is one long function, because a call for each effect costs more than what most effects do:

* a vCPU that is alone is run by :mod:`sim.vcpu.alone`: nobody could see anything;
* effects that no other vCPU can see, whoever is there, and steps before anybody else is due, are
  carried out as they come;
* effects at which another vCPU could see a difference, or an interrupt could be taken, wait for the
  vCPU's turn, where its process may be interrupted. :mod:`sim.vcpu.seldom` has those that are rare.

A trap is of the second kind: what it changes is only who may interrupt the vCPU, so its time is
remembered (``traps_ns``), and the vCPU waits at the first step behind it.

Who is due next is asked when that may have changed: while a process runs, only what it does itself
adds an event.
"""

from collections.abc import Generator
from types import GeneratorType
from typing import Any

from simpy.core import Infinity
from simpy.events import Event
from simpy.exceptions import Interrupt

from sim.effects import (
    DECLINED,
    Acquire,
    Activity,
    Again,
    Await,
    Bulk,
    CpuMode,
    Mark,
    Note,
    Release,
    Spend,
    Step,
    Stretch,
    Trap,
    Unbroken,
)
from sim.environment import VCPUS
from sim.routines import not_an_effect
from sim.stepwise import INVISIBLE
from sim.vcpu import resting
from sim.vcpu.alone import run_alone
from sim.vcpu.clockwork import Clockwork
from sim.vcpu.interrupts import divert, enter_handler, run_on_top, takes_pending
from sim.vcpu.own_effects import Ended, Moment, Return
from sim.vcpu.seldom import RESTING, SELDOM, take
from sim.vcpu.sharing import switching
from sim.vcpu.state import TIE_MASK, Rest, VCpu
from sim.vcpu.waits import reconsider


def start(
    clockwork: Clockwork[VCpu],
    number: int,
    activity: Activity,
    *,
    name: str | None = None,
    scheduled: bool = True,
) -> VCpu:
    """Make a vCPU, whose process begins with the run.

    ``scheduled``: it needs a pCPU, where there are fewer than vCPUs.
    """
    vcpu = VCpu(clockwork, number, activity, name=name, scheduled=scheduled)
    vcpu.process = clockwork.env.process(_live(vcpu))
    return vcpu


def _live(vcpu: VCpu) -> Generator[Event, Any, None]:
    """A vCPU's process; it goes on after its activity's end, to take interrupts."""
    try:
        yield from _interpret(vcpu)
    except Exception as failure:  # noqa: BLE001 - it ends the run; SimPy would raise a copy
        vcpu.clockwork.fail(failure, vcpu.local_ns)


def _always_due() -> float:
    """In place of the next event's time: so each effect that others could see is an event."""
    return -1


def _tell(vcpu: VCpu, local_ns: int, note: Note) -> None:
    """Make a note where a vCPU stands, as if its activity had."""
    clockwork = vcpu.clockwork
    if clockwork.waiting:
        reconsider(clockwork, local_ns)
    if clockwork.probe is not None:
        vcpu.local_ns = local_ns
        clockwork.probe.note(vcpu.number, local_ns, note.what)


def _skip_lead(trap: Trap) -> None:
    """Let the activity begin where its lead has been spent already."""
    for spend in trap.lead or ():
        if trap.activity.send(None) is not spend:
            raise TypeError(f"the activity of this trap does not begin with {spend.cost}")


def _interpret(vcpu: VCpu) -> Generator[Event, Any, None]:  # noqa: PLR0915 - a call costs too much
    """Run the activities. Hot path: one pass of the loop an effect, locals throughout."""
    clockwork = vcpu.clockwork
    oracle, probe, env = clockwork.oracle, clockwork.probe, clockwork.env
    waiting, pending, held = clockwork.waiting, vcpu.pending, vcpu.held
    look, lock_times, scheduler = clockwork.look, clockwork.lock_times, vcpu.scheduler
    every_event = clockwork.every_event
    post: Any = env.post
    peek = _always_due if every_event else env.peek
    # Others are there, or somebody wants to know each moment: nothing is done unseen.
    step_by_step = every_event or lock_times is not None
    no_moments = step_by_step or look is not None
    watched = no_moments or scheduler is not None
    stepped = False
    # Looking an Enum up in a dict would call Python code to hash it.
    guest, hypervisor = CpuMode.GUEST, CpuMode.HYPERVISOR
    guest_costs, hypervisor_costs = vcpu.costs.by_mode[guest], vcpu.costs.by_mode[hypervisor]
    tie_factor, tie_offset = vcpu.tie_factor, vcpu.tie_offset
    answer: Any = None
    effect: Any = None  # an effect that is to be taken up again
    clock = vcpu.local_ns = env.now_ns  # the local time is ahead of the clock, never behind it
    posted = 0  # events at its last turn
    if scheduler is not None and not vcpu.starts_on_pcpu:
        yield from resting.without_pcpu(vcpu, Rest.WOKEN)
        clock = vcpu.local_ns
        run_on_top(vcpu, switching(vcpu), None)
    # What follows is in locals while the process runs, and in the vCPU's fields elsewhere.
    send, callers, local = vcpu.send, vcpu.callers, vcpu.local_ns
    costs = guest_costs if vcpu.mode is guest else hypervisor_costs
    due = peek()
    while True:
        if effect is not None:
            kind = effect.__class__
        elif due == Infinity and not (waiting or pending or watched):
            vcpu.send, vcpu.local_ns = send, local
            effect = run_alone(vcpu, answer)
            send, local = vcpu.send, vcpu.local_ns
            costs = guest_costs if vcpu.mode is guest else hypervisor_costs
            kind = effect.__class__
        else:
            try:
                # Effects that no other vCPU can see, or could see before it is due itself.
                while True:
                    effect = send(answer)
                    kind = effect.__class__
                    if look is not None:
                        if stepped and (note := look()) is not None:
                            _tell(vcpu, local, note)
                            due = peek()
                        stepped = kind not in INVISIBLE
                    if waiting:
                        # What the last step changed may be what somebody waits for.
                        reconsider(clockwork, local)
                        due = peek()
                    if kind is Spend:
                        entry = costs[effect.cost]
                        ns = entry[0](effect.n)
                        entry[1] += ns
                        local += ns
                        answer = None
                    elif kind is Step:
                        if pending or (due <= local and not vcpu.brief_locks):
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
                        effect = Moment(before, effect)
                        kind = Moment
                        break
                    elif kind is Acquire:
                        if step_by_step or pending or due <= local or effect.lock.busy():
                            break
                        answer = effect.lock.take()
                        if answer:
                            held.append(effect.lock)
                            vcpu.brief_locks += effect.lock.brief
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
                        due = peek()
                    stepped = True  # what began it may be followed by a change
                if callers:
                    (send, mode), answer = callers.pop(), end.value
                    if mode is None:
                        continue
                    if not (due <= local or waiting or pending):
                        # As Return below, where nobody could see that it is one.
                        vcpu.mode = mode
                        costs = guest_costs if mode is guest else hypervisor_costs
                        continue
                    effect = Return(mode, answer)
                else:
                    effect = Ended(end.value)
                kind = effect.__class__
            except Exception as failure:  # noqa: BLE001 - it ends the run, at its time
                effect = Ended(None, failure)
                kind = Ended
            if waiting:
                reconsider(clockwork, local)
                due = peek()

        # The effects from here on are places where another vCPU could see a difference, or
        # where it matters whether an interrupt has come.
        now = local
        if (
            due < local
            # At its own moment whoever else is due comes later, unless it came after the turn.
            or (due == local and (clock < local or env.events_posted != posted))
            or (kind is Await and clock < local)
        ):
            inside = vcpu.brief_locks and (kind is Step or kind is Bulk)
            if not inside:
                # vcpu.tie() and vcpu.wake_at() without the calls.
                tie = VCPUS + ((local * tie_factor + tie_offset) & TIE_MASK)
                wake = vcpu.wake
                wake.callbacks = []
                vcpu.local_ns, vcpu.rest = local, Rest.ASLEEP
                env.events_posted += 1
                post(wake, tie, local - clock)
                try:
                    yield wake
                except Interrupt:
                    yield from resting.interrupted(vcpu)
                vcpu.rest = None
                clock = now = vcpu.local_ns
                posted, due = env.events_posted, peek()
        if pending and takes_pending(vcpu, now):
            vcpu.send, vcpu.local_ns = send, now
            enter_handler(vcpu, effect, local - now)
            effect = answer = None
            send, callers, local = vcpu.send, vcpu.callers, now
            costs = guest_costs if vcpu.mode is guest else hypervisor_costs
            continue

        answer = None
        vcpu.local_ns = local
        if kind is Step:
            pass
        elif kind is Moment:
            # Who waits would have to be asked after each of its steps.
            whole = None if waiting else effect.trap.at_once()
            if whole is None:
                callers.append((send, effect.mode))
                send = effect.trap.activity.send
                _skip_lead(effect.trap)
            else:
                vcpu.mode = effect.mode
                answer = whole.answer
                vcpu.send = send
                if pending and divert(vcpu, Return(effect.mode, answer)):
                    send, callers, answer = vcpu.send, vcpu.callers, None
                costs = guest_costs if vcpu.mode is guest else hypervisor_costs
        elif kind is Release:
            if lock_times is not None:
                lock_times.released(effect.lock.key, local)
            effect.lock.release()
            held.remove(effect.lock)
            vcpu.brief_locks -= effect.lock.brief
        elif kind is Bulk:
            answer = effect.all_at_once()
        elif kind is Acquire and vcpu.ticket is None and not effect.lock.busy():
            answer = take(vcpu, effect)
            local = vcpu.local_ns
        else:
            vcpu.send = send
            seldom = SELDOM.get(kind)
            if seldom is not None:
                answer, effect = seldom(vcpu, effect)
            elif kind in RESTING:
                answer, effect = yield from RESTING[kind](vcpu, effect)
                if clock < env.now_ns:
                    clock, posted = env.now_ns, env.events_posted
            else:
                raise not_an_effect(vcpu.running, effect)
            send, callers, local = vcpu.send, vcpu.callers, vcpu.local_ns
            costs = guest_costs if vcpu.mode is guest else hypervisor_costs
            due = peek()
            continue
        effect = None
