"""A vCPU that is alone: nobody could see its steps, and its work is only counted.

Nothing is due, nobody waits and no interrupt is held back, and none of the effects that are carried
out here can change that. So steps cost nothing, and work is counted in units, which are turned into
time when it matters.
"""

from types import GeneratorType
from typing import Any

from sim.effects import (
    DECLINED,
    Acquire,
    Again,
    Bulk,
    CpuMode,
    Effect,
    Mark,
    Note,
    PreemptPoint,
    PreemptPoints,
    Release,
    Spend,
    Spent,
    Step,
    Stretch,
    Trap,
    Unbroken,
)
from sim.vcpu.costs import UNITS, Marked
from sim.vcpu.own_effects import Ended
from sim.vcpu.state import VCpu


def run_alone(vcpu: VCpu, answer: Any) -> Effect:  # noqa: PLR0915 - a call costs too much
    """Run the activities up to an effect that is not carried out here; returns it.

    ``answer`` is for the one that runs. Hot path: a pass of the loop an effect, locals throughout.
    """
    oracle, probe = vcpu.clockwork.oracle, vcpu.clockwork.probe
    # Looking an Enum up in a dict would call Python code to hash it.
    guest, hypervisor = CpuMode.GUEST, CpuMode.HYPERVISOR
    settle = vcpu.costs.settle
    guest_costs, hypervisor_costs = vcpu.costs.by_mode[guest], vcpu.costs.by_mode[hypervisor]
    costs = guest_costs if vcpu.mode is guest else hypervisor_costs
    held, callers = vcpu.held, vcpu.callers
    send = vcpu.send
    marked: Marked | None = None  # the mark since which nothing has happened but counted work
    effect: Any
    while True:
        try:
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
                        vcpu.brief_locks += effect.lock.brief
                elif kind is Release:
                    effect.lock.release()
                    held.remove(effect.lock)
                    vcpu.brief_locks -= effect.lock.brief
                    answer = None
                elif kind is Note:
                    if probe is not None:
                        if marked is not None:
                            marked.told.append((vcpu.costs.counted(), effect.what))
                        vcpu.local_ns += settle()
                        probe.note(vcpu.number, vcpu.local_ns, effect.what)
                    answer = None
                elif kind is Bulk or kind is Stretch:
                    answer = effect.all_at_once()
                elif kind is Mark:
                    vcpu.local_ns += settle()
                    answer = marked = None if oracle.may_preempt else Marked()
                elif kind is Again:
                    answer = None
                    if marked is not None and effect.mark is marked:
                        answer = _repeat(vcpu, marked, effect)
                    marked = None
                elif kind is Unbroken:
                    answer = DECLINED if oracle.may_preempt else effect.all_at_once()
                else:
                    break
        except StopIteration as end:
            if callers:
                (send, mode), answer = callers.pop(), end.value
                if mode is not None:
                    vcpu.mode = mode
                    costs = guest_costs if mode is guest else hypervisor_costs
                continue
            effect = Ended(end.value)
        except Exception as failure:  # noqa: BLE001 - it ends the run, at its time
            effect = Ended(None, failure)
        vcpu.send = send
        vcpu.local_ns += settle()
        found: Effect = effect
        return found


def _repeat(vcpu: VCpu, marked: Marked, again: Again) -> Spent:
    """Spend and tell what was spent and told since the mark, so many times more."""
    costs, probe = vcpu.costs, vcpu.clockwork.probe
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
