"""What a vCPU is: its activity, its local time, what it does now, and what it left for that.

Plain data, and the one event by which it resumes. What becomes of it is in the rooms beside
this one: ``interpreter`` runs its activities, ``interrupts`` puts others on top of them, ``waits``
tells when it can go on, ``sharing`` what it does where pCPUs are fewer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from heapq import heappush
from typing import TYPE_CHECKING, Any

from simpy.events import Event

from sim.effects import Activity, CpuMode, Effect, Send
from sim.metrics import Accounts
from sim.vcpu.costs import Costs

if TYPE_CHECKING:
    from sim.cpus.scheduler import Scheduler
    from sim.environment import Environment
    from sim.locks import Lock
    from sim.timed import Simulation

AFTER_SIMPY = 2  # SimPy's own priorities are 0 and 1; ours are 2 and above, drawn for ties.
TIE_MASK = (1 << 61) - 1
NOT_ASKED = -1
NO_TRAP = -1

Resume = Callable[[Any], Any]
"""A generator's ``send``."""

Callers = list[tuple[Resume, CpuMode | None]]
"""The activities below the one that runs: their send, and the mode to go back to, if any."""


class Rest(Enum):
    """Why a vCPU does not run."""

    ASLEEP = "until its own time"
    WAITING = "for a lock, a condition or acknowledgements"
    IDLE = "for interrupts"
    BLOCKED = "for a condition or interrupts"
    WOKEN = "for a pCPU, having had none since it blocked or since the start"
    OFF = "for a pCPU, having been preempted"


@dataclass(slots=True)
class Arrival:
    """An interrupt that has reached its vCPU and is not yet taken."""

    interrupt: Send
    sender: "VCpu | None"


@dataclass(slots=True)
class Interrupted:
    """What an interrupt's handler goes back to when it has ended."""

    send: Resume
    callers: Callers
    effect: Effect | None
    """The effect to be taken up again."""
    remaining_ns: int
    """What was left of the work that the interrupt divided."""
    traps_after_ns: int
    """How much of that is the guest's, before a trap; less than 0: none."""
    mode: CpuMode
    irqs_enabled: bool
    asked_ns: int
    ticket: int | None
    may_go_on: Callable[[], bool] | None
    """What it was waiting for, if it was waiting."""
    by_hypervisor: bool
    sender: "VCpu | None"
    """Who waits for the handler's end."""


class VCpu:
    """One virtual CPU. Made and started by :func:`sim.vcpu.interpreter.start`."""

    def __init__(
        self,
        simulation: "Simulation",
        number: int,
        activity: Activity,
        *,
        name: str | None = None,
        scheduled: bool = True,
    ) -> None:
        """``scheduled``: it needs a pCPU, where there are fewer than vCPUs."""
        self.simulation = simulation
        self.number = number
        self.name = f"vcpu{number}" if name is None else name
        self.activity = activity
        self.result: Any = None

        # Its time, and where that went.
        self.local_ns = 0
        self.costs = Costs(simulation.prices, simulation.streams, self.name)
        self.lock_wait_ns = 0
        self.steal_ns = 0
        self.idle_ns = 0
        """Time with nothing to do; not part of the accounts."""

        # What it does now.
        self.mode = CpuMode.GUEST
        self.traps_ns = NO_TRAP
        """When it entered the hypervisor last, or will: up to then it is a guest for interrupts,
        although it is ahead of that in its activity."""
        self.irqs_enabled = True
        self.rest: Rest | None = None
        """Why it does not run; None: it does."""
        self.wake = armed(simulation.env)
        """The event by which it resumes, posted again and again."""
        self.resume: list[Callable[[Any], Any]] = []
        """The event's callbacks: its process's one."""
        tie = simulation.streams.bits("tie", self.name)
        self.tie_factor = tie.number(60) * 2 + 1
        self.tie_offset = tie.number(61)

        # Interrupts.
        self.pending: list[Arrival] = []
        self.interrupted: list[Interrupted] = []
        self.unacknowledged = 0
        """How many targets of its own interrupts have not finished their handlers."""

        # Locks and conditions.
        self.held: list[Lock] = []
        self.waits_for: Any = None
        """What it waits for, or waited for last: a lock's key, or words for people."""
        self.may_go_on: Callable[[], bool] | None = None
        """Tells whether what it waits for has come; None: it waits for nothing."""
        self.asked_ns = NOT_ASKED
        """When the lock that is asked for now was found busy: getting it is a hand-over."""
        self.ticket: int | None = None
        """The place in the queue of a fair lock."""

        # Its pCPU.
        self.starts_on_pcpu = True
        self.switched = False
        """The pCPU it was given last had another's state."""
        self._scheduled = scheduled

    @property
    def accounts(self) -> Accounts:
        """Where this vCPU's time went up to now."""
        accounts = Accounts(lock_wait=self.lock_wait_ns, steal=self.steal_ns)
        self.costs.book(accounts)
        return accounts

    @property
    def scheduler(self) -> "Scheduler | None":
        """Who gives it a pCPU; None: it has one of its own."""
        return self.simulation.scheduler if self._scheduled else None

    def holds(self, key: Any) -> bool:
        """Does this vCPU hold the lock with this key?"""
        return any(lock.key == key for lock in self.held)

    def tie(self, time_ns: int) -> int:
        """Its place among what happens at this time: a draw, never who asked first."""
        return AFTER_SIMPY + ((time_ns * self.tie_factor + self.tie_offset) & TIE_MASK)

    def wake_at(self, time_ns: int) -> None:
        """Post this vCPU's one event. It resumes there, in the order of the tie draw."""
        env = self.simulation.env
        # env.schedule() without the call and with an absolute time.
        entry = (time_ns, self.tie(time_ns), next(env._eid), self.wake)  # noqa: SLF001
        heappush(env._queue, entry)  # type: ignore[misc]  # noqa: SLF001


def armed(env: "Environment") -> Event:
    """An event that succeeds whenever it comes up; it can be posted again and again."""
    event = Event(env)
    event._ok, event._value = True, None  # noqa: SLF001 - as a Timeout's
    return event
