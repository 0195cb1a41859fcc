"""One vCPU of a timed simulation: a SimPy process that runs ahead of the clock.

The process interprets the effects of the activity that it runs. It keeps a local time and goes
back to SimPy only where somebody else could see a difference; interrupts are activities that it
runs on top of what they interrupt.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from enum import Enum
from functools import partial
from heapq import heappush
from types import GeneratorType
from typing import TYPE_CHECKING, Any

from simpy.events import Event

from sim.effects import (
    DECLINED,
    Acquire,
    Activity,
    AwaitAcks,
    Bulk,
    Choose,
    CpuMode,
    Draw,
    Effect,
    Irqs,
    Mode,
    Note,
    PreemptPoint,
    Release,
    Send,
    Spend,
    Step,
    Stretch,
    Trap,
    WaitUntil,
)
from sim.metrics import Accounts

if TYPE_CHECKING:
    from sim.environment import Environment
    from sim.locks import Lock
    from sim.timed import Simulation

_AFTER_SIMPY = 2  # SimPy's own priorities are 0 and 1; ours are 2 and above, drawn for ties.
_TIE_MASK = (1 << 61) - 1
_UNITS = 3  # in the entry of a cost: see VCpu
_HAND_OVER = "lock_handoff"  # charged, where the profile has it, for a lock got by waiting

_Callers = list[tuple[Callable[[Any], Any], CpuMode | None]]
"""The activities below the one that runs: their send, and the mode to go back to, if any."""


class _Ended(Effect):
    """An activity has come to its end: seen by the others at this vCPU's time, like an effect."""

    __slots__ = ("failure", "value")

    def __init__(self, value: Any, failure: BaseException | None = None) -> None:
        self.value = value
        self.failure = failure


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


class _Rest(Enum):
    """Why a vCPU does not run."""

    ASLEEP = "until its own time"
    WAITING = "for a lock, a condition or acknowledgements"
    IDLE = "for interrupts"


@dataclass(slots=True)
class _Interrupted:
    """What an interrupt's handler goes back to when it has ended."""

    send: Callable[[Any], Any]
    callers: _Callers
    effect: Effect | None
    """The effect to be taken up again."""
    remaining_ns: int
    """What was left of the work that the interrupt divided."""
    mode: CpuMode
    irqs_enabled: bool
    waited: bool
    by_hypervisor: bool
    sender: "VCpu"
    """Who waits for the handler's end."""


@dataclass(slots=True)
class _Arrival:
    """An interrupt that has reached its vCPU and is not yet taken."""

    interrupt: Send
    sender: "VCpu"


class VCpu:
    """One virtual CPU: the activity it runs, its local time, and where its time went."""

    def __init__(self, simulation: "Simulation", number: int, activity: Activity) -> None:
        self.number = number
        self.name = f"vcpu{number}"
        self.local_ns = 0
        self.result: Any = None
        self.waits_for: Any = None
        self._simulation = simulation
        self._activity = activity
        self._interrupted: list[_Interrupted] = []
        self._mode = CpuMode.GUEST
        self._irqs_enabled = True
        # Mode -> cost -> [function that draws, nanoseconds spent, heading, units not drawn yet].
        self._costs: dict[CpuMode, dict[str, list[Any]]] = {mode: {} for mode in CpuMode}
        self._durations: dict[str, Callable[[int], int]] = {}
        self._lock_wait_ns = 0
        tie = simulation.streams.generator("tie", self.name)
        self._tie_factor = int(tie.integers(0, 2**60)) * 2 + 1
        self._tie_offset = int(tie.integers(0, 2**61))
        self._wake = _armed(simulation.env)
        self._rest: _Rest | None = None
        self._held: list[Lock] = []
        self._may_go_on: Callable[[], bool] | None = None
        self._waited = False
        """The lock that is asked for now was found busy before: getting it is a hand-over."""
        self._pending: list[_Arrival] = []
        self._unacknowledged = 0
        simulation.env.process(self._interpret())

    # -- what the simulation asks of it --------------------------------------------------

    @property
    def accounts(self) -> Accounts:
        """Where this vCPU's time went up to now."""
        accounts = Accounts(lock_wait=self._lock_wait_ns)
        for costs in self._costs.values():
            for cost, (_, spent_ns, heading, _) in costs.items():
                setattr(accounts, heading, getattr(accounts, heading) + spent_ns)
                accounts.by_cost[cost] = accounts.by_cost.get(cost, 0) + spent_ns
        return accounts

    def holds(self, key: Any) -> bool:
        """Does this vCPU hold the lock with this key?"""
        return any(lock.key == key for lock in self._held)

    def may_go_on(self) -> bool:
        """Has the reason for which this vCPU waits gone?"""
        return self._may_go_on is not None and self._may_go_on()

    def wake_at(self, time_ns: int) -> None:
        """Post this vCPU's one event. It resumes there, in the order of the tie draw."""
        env = self._simulation.env
        # env.schedule() without the call and with an absolute time.
        entry = (time_ns, self._tie(time_ns), next(env._eid), self._wake)  # noqa: SLF001
        heappush(env._queue, entry)  # type: ignore[misc]  # noqa: SLF001

    def arrive(self, arrival: _Arrival) -> None:
        """An interrupt has reached this vCPU; it divides what may be divided."""
        self._pending.append(arrival)
        if self._rest is None or not self._can_take(arrival):
            return
        if self._rest is _Rest.ASLEEP:
            # The event that was posted becomes an empty one.
            sleeping, self._wake = self._wake, _armed(self._simulation.env)
            self._wake.callbacks, sleeping.callbacks = sleeping.callbacks, []
        elif self._rest is _Rest.WAITING:
            if self not in self._simulation.waiting:
                return  # woken already, at this very time: it looks for interrupts when it resumes
            self._simulation.waiting.remove(self)
        self._rest = None
        self.wake_at(self._simulation.env.now_ns)

    def _tie(self, time_ns: int) -> int:
        return _AFTER_SIMPY + ((time_ns * self._tie_factor + self._tie_offset) & _TIE_MASK)

    # -- the life of the process -----------------------------------------------------------

    def _interpret(self) -> Generator[Event, None, None]:  # noqa: PLR0915 - a call costs too much
        """Run the activities. Hot path: one pass of the loop an effect, locals throughout."""
        simulation = self._simulation
        oracle = simulation.oracle
        probe = simulation.probe
        queue = simulation.env._queue  # noqa: SLF001 - env.peek() without the call
        waiting = simulation.waiting
        every_event = simulation.every_event
        # Looking an Enum up in a dict would call Python code to hash it.
        guest = CpuMode.GUEST
        hypervisor = CpuMode.HYPERVISOR
        guest_costs, hypervisor_costs = self._costs[guest], self._costs[hypervisor]
        costs = guest_costs
        brief_locks = 0
        held = self._held
        send: Callable[[Any], Any] = self._activity.send
        callers: _Callers = []
        answer: Any = None
        effect: Any = None  # an effect that is to be taken up again
        local = 0
        while True:
            if effect is None:
                try:
                    if not (queue or waiting or self._pending or every_event):
                        # Alone: nothing is due, nobody waits, no interrupt is held back, and none
                        # of the effects in this loop can change that. So nobody can see a step,
                        # and work is counted in units, to be turned into time when it matters.
                        while True:
                            effect = send(answer)
                            kind = effect.__class__
                            if kind is Step:
                                answer = None
                            elif kind is Spend:
                                entry = costs.get(effect.cost) or self._new_cost(effect.cost)
                                entry[_UNITS] += effect.n
                                answer = None
                            elif kind is Trap:
                                before, self._mode = self._mode, hypervisor
                                costs = hypervisor_costs
                                entry = costs.get(effect.cost) or self._new_cost(effect.cost)
                                entry[_UNITS] += 1
                                if effect.at_once is not None and not oracle.may_preempt:
                                    whole = effect.at_once()
                                    if whole is not None:
                                        answer, spent = whole
                                        for effect in spent:
                                            cost = effect.cost
                                            entry = costs.get(cost) or self._new_cost(cost)
                                            entry[_UNITS] += effect.n
                                        self._mode = before
                                        costs = guest_costs if before is guest else costs
                                        continue
                                callers.append((send, before))
                                send = effect.activity.send
                                answer = None
                            elif kind is PreemptPoint:
                                answer = oracle.preempt()
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
                            elif kind is Bulk or kind is Stretch:
                                answer = effect.all_at_once()
                            else:
                                break
                        local += self._settle()
                    else:
                        effect = send(answer)
                except StopIteration as end:
                    effect = None
                    if callers:
                        (send, mode), answer = callers.pop(), end.value
                        if mode is None:
                            continue
                        if not (queue or waiting or self._pending or every_event):
                            self._mode = mode
                            costs = guest_costs if mode is guest else hypervisor_costs
                            continue
                        effect = _Return(mode, answer)
                    else:
                        effect = _Ended(end.value)
                    local += self._settle()
                except Exception as failure:  # noqa: BLE001 - it ends the run, at its time
                    effect = _Ended(None, failure)
                    local += self._settle()
                if waiting:
                    # What the last step changed may be what somebody waits for.
                    simulation.reconsider(local)
            kind = effect.__class__
            if kind is Spend:
                entry = costs.get(effect.cost) or self._new_cost(effect.cost)
                ns = entry[0](effect.n)
                entry[1] += ns
                local += ns
                effect = answer = None
                continue
            if kind is GeneratorType:
                callers.append((send, None))
                send = effect.send
                effect = answer = None
                continue
            if kind is Stretch:
                effect, answer = None, DECLINED  # others could see what lies between
                continue
            if kind is Note:
                if probe is not None:
                    self.local_ns = local
                    probe.note(self.number, local, effect.what)
                effect = answer = None
                continue

            # The effects from here on are places where another vCPU could see a difference, or
            # where it matters whether an interrupt has come.
            now = local
            if every_event or (queue and queue[0][0] <= local):
                inside = brief_locks and (kind is Step or kind is Bulk)
                if not inside and (every_event or queue[0][:2] < (local, self._tie(local))):
                    self.local_ns = local
                    self._wake.callbacks = []
                    self._rest = _Rest.ASLEEP
                    self.wake_at(local)
                    yield self._wake
                    self._rest = None
                    now = simulation.env.now_ns
            if self._pending and self._takes_pending():
                self.local_ns, remaining, local = now, local - now, now
                send, callers, costs = self._enter_handler(send, callers, effect, remaining)
                effect = answer = None
                continue

            answer = None
            if kind is Step:
                pass
            elif kind is Bulk:
                answer = effect.all_at_once()
            elif kind is Mode:
                self._mode = effect.mode
                costs = guest_costs if self._mode is guest else hypervisor_costs
                if self._pending and self._takes_pending():
                    self.local_ns = local
                    send, callers, costs = self._enter_handler(send, callers, None, 0)
            elif kind is Trap:
                callers.append((send, self._mode))
                send = effect.activity.send
                self._mode = hypervisor
                costs = hypervisor_costs
                entry = costs.get(effect.cost) or self._new_cost(effect.cost)
                ns = entry[0](1)
                entry[1] += ns
                local += ns
            elif kind is _Return:
                self._mode = effect.mode
                costs = guest_costs if self._mode is guest else hypervisor_costs
                if self._pending and self._takes_pending():
                    self.local_ns = local
                    send, callers, costs = self._enter_handler(send, callers, effect, 0)
                else:
                    answer = effect.value
            elif kind is Acquire or kind is WaitUntil or kind is AwaitAcks:
                self._may_go_on = self._obstacle(effect)
                if self._may_go_on is not None:
                    self.local_ns = local
                    self._wake.callbacks = []
                    self._rest = _Rest.WAITING
                    self._waited = True
                    waiting.append(self)
                    yield self._wake
                    self._rest = None
                    now = simulation.env.now_ns
                    self._lock_wait_ns += now - local
                    self.local_ns = local = now
                    if self._pending and self._takes_pending():
                        send, callers, costs = self._enter_handler(send, callers, effect, 0)
                        effect = None
                    continue
                if kind is Acquire:
                    answer = effect.lock.take()
                    if answer:
                        held.append(effect.lock)
                        brief_locks += effect.lock.brief
                    if self._waited and _HAND_OVER in simulation.prices:
                        ns = self._draw(_HAND_OVER)(1)
                        self._lock_wait_ns += ns
                        local += ns
                self._waited = False
            elif kind is Release:
                effect.lock.release()
                held.remove(effect.lock)
                brief_locks -= effect.lock.brief
            elif kind is PreemptPoint:
                answer = oracle.preempt()
            elif kind is Choose:
                answer = oracle.choose(effect.name, effect.options)
            elif kind is Draw:
                answer = oracle.draw(effect.stream, effect.distribution)
            elif kind is Irqs:
                self._irqs_enabled = effect.enabled
                if self._pending and self._takes_pending():
                    self.local_ns = local
                    send, callers, costs = self._enter_handler(send, callers, None, 0)
            elif kind is Send:
                self._send(effect, local)
            elif kind is _Ended:
                self.local_ns = local
                if effect.failure is not None:
                    simulation.failure, simulation.failed_at_ns = effect.failure, local
                    raise effect.failure
                if not self._interrupted:
                    self.result = effect.value
                    effect = _IDLE
                    continue
                back = self._interrupted.pop()
                back.sender.acknowledged(local)
                send, callers, effect = back.send, back.callers, back.effect
                self._mode, self._irqs_enabled = back.mode, back.irqs_enabled
                self._waited = back.waited
                costs = guest_costs if self._mode is guest else hypervisor_costs
                if self._pending and self._takes_pending():
                    send, callers, costs = self._enter_handler(
                        send, callers, effect, back.remaining_ns
                    )
                    effect = None
                else:
                    local += back.remaining_ns
                continue
            elif kind is _Idle:
                self._wake.callbacks = []
                self._rest = _Rest.IDLE
                yield self._wake
                self.local_ns = local = simulation.env.now_ns
                send, callers, costs = self._enter_handler(send, callers, _IDLE, 0)
            else:
                raise TypeError(f"not an effect: {effect!r}")
            effect = None

    # -- waits ---------------------------------------------------------------------------

    def _obstacle(self, effect: Effect) -> Callable[[], bool] | None:
        """None if the effect can go on now; else the test that tells when it can."""
        if isinstance(effect, Acquire):
            lock = effect.lock
            if not lock.busy():
                return None
            self.waits_for = lock.key
            return lambda: not lock.busy()
        if isinstance(effect, WaitUntil):
            self.waits_for = effect.what
            return None if effect.predicate() else effect.predicate
        self.waits_for = f"{self._unacknowledged} acknowledgements"
        return (lambda: self._unacknowledged == 0) if self._unacknowledged else None

    # -- interrupts ------------------------------------------------------------------------

    def acknowledged(self, now_ns: int) -> None:
        """One of the targets has finished the handler of this vCPU's interrupt."""
        self._unacknowledged -= 1
        if self._simulation.waiting:
            self._simulation.reconsider(now_ns)

    def _send(self, interrupt: Send, local_ns: int) -> None:
        simulation = self._simulation
        self._unacknowledged += len(interrupt.targets)
        for number in interrupt.targets:
            latency_ns = 0
            if interrupt.latency is not None:
                latency_ns = self._draw(interrupt.latency)(1)
            arrives_ns = local_ns + latency_ns
            event = _armed(simulation.env)
            event.callbacks = [partial(_reach, simulation.vcpus[number], _Arrival(interrupt, self))]
            # Before what the vCPUs do themselves at that time; among each other by the draw.
            priority = 1 + self._tie(arrives_ns) / (4 * _TIE_MASK)
            delay_ns = arrives_ns - simulation.env.now_ns
            simulation.env.schedule(event, priority, delay_ns)  # type: ignore[arg-type]

    def _can_take(self, arrival: _Arrival) -> bool:
        if arrival.interrupt.hypervisor:
            # A guest cannot hold it back; another of its kind can, until its handler has ended.
            return not (self._interrupted and self._interrupted[-1].by_hypervisor)
        return self._irqs_enabled and self._mode is CpuMode.GUEST

    def _takes_pending(self) -> bool:
        return any(self._can_take(arrival) for arrival in self._pending)

    def _enter_handler(
        self,
        send: Callable[[Any], Any],
        callers: _Callers,
        effect: Effect | None,
        remaining_ns: int,
    ) -> tuple[Callable[[Any], Any], _Callers, dict[str, list[Any]]]:
        """Leave what is running for the handler of the first interrupt that can be taken.

        A handler runs with the guest's interrupts off.
        """
        arrival = next(arrival for arrival in self._pending if self._can_take(arrival))
        self._pending.remove(arrival)
        self._interrupted.append(
            _Interrupted(
                send=send,
                callers=callers,
                effect=effect,
                remaining_ns=remaining_ns,
                mode=self._mode,
                irqs_enabled=self._irqs_enabled,
                waited=self._waited,
                by_hypervisor=arrival.interrupt.hypervisor,
                sender=arrival.sender,
            )
        )
        self._waited = self._irqs_enabled = False
        self._mode = CpuMode.HYPERVISOR if arrival.interrupt.hypervisor else CpuMode.GUEST
        return arrival.interrupt.handler().send, [], self._costs[self._mode]

    # -- costs -----------------------------------------------------------------------------

    def _draw(self, cost: str) -> Callable[[int], int]:
        """The function that draws n units of a cost; a stream for each vCPU, mode and cost."""
        key = f"{self._mode.value} {cost}"
        if key not in self._durations:
            price = self._simulation.prices[cost]
            names = (self.name, self._mode.value, cost)
            durations = self._simulation.streams.durations(price.distribution, *names)
            self._durations[key] = durations.total
        return self._durations[key]

    def _new_cost(self, cost: str) -> list[Any]:
        heading = self._simulation.prices[cost].account or self._mode.value
        entry = self._costs[self._mode][cost] = [self._draw(cost), 0, heading, 0]
        return entry

    def _settle(self) -> int:
        """Draw the units that were only counted so far; the time they take together.

        How units are asked for does not show in their time, so this is as if each had been
        drawn when it was spent.
        """
        total_ns = 0
        for costs in self._costs.values():
            for entry in costs.values():
                if entry[_UNITS]:
                    ns = entry[0](entry[_UNITS])
                    entry[_UNITS] = 0
                    entry[1] += ns
                    total_ns += ns
        return total_ns


def _armed(env: "Environment") -> Event:
    """An event that succeeds whenever it comes up; it is posted again and again."""
    event = Event(env)
    event._ok, event._value = True, None  # noqa: SLF001 - as a Timeout's
    return event


def _reach(target: VCpu, arrival: _Arrival, _: Event) -> None:
    target.arrive(arrival)
