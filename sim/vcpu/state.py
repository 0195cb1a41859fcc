"""What a vCPU is: its activity, its local time, what it does now, and what it left for that.

Plain data, and the one event that its SimPy process waits for. What becomes of it is in the rooms
beside this one: ``interpreter`` runs its activities, ``interrupts`` puts others on top of them,
``waits`` tells when it can go on, ``sharing`` what it does where pCPUs are fewer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from simpy.events import EventPriority

from sim.effects import Activity, CpuMode, Effect, Send
from sim.environment import DRAW_BITS, VCPUS
from sim.metrics import Accounts
from sim.vcpu.costs import Costs

if TYPE_CHECKING:
    from simpy.events import Process

    from sim.locks import Lock
    from sim.vcpu.clockwork import Clockwork, PCpus

TIE_MASK = (1 << DRAW_BITS) - 1
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

    __slots__ = (  # more names than Python looks up fast without them
        "_scheduled",
        "asked_ns",
        "brief_locks",
        "callers",
        "clockwork",
        "costs",
        "ended",
        "held",
        "idle_ns",
        "interrupted",
        "irqs_enabled",
        "local_ns",
        "lock_wait_ns",
        "may_go_on",
        "mode",
        "name",
        "number",
        "pending",
        "process",
        "rest",
        "resting_account",
        "result",
        "send",
        "spin_ns",
        "starts_on_pcpu",
        "steal_ns",
        "switched",
        "ticket",
        "tie_factor",
        "tie_offset",
        "traps_ns",
        "unacknowledged",
        "waits_for",
        "wake",
    )

    def __init__(
        self,
        clockwork: "Clockwork[VCpu]",
        number: int,
        activity: Activity,
        *,
        name: str | None = None,
        scheduled: bool = True,
    ) -> None:
        """``scheduled``: it needs a pCPU, where there are fewer than vCPUs."""
        self.clockwork = clockwork
        self.number = number
        self.name = f"vcpu{number}" if name is None else name
        self.result: Any = None
        self.ended = False
        """Its activity has come to its end; it still takes interrupts."""

        # Its time, and where that went.
        self.local_ns = 0
        self.costs = Costs(clockwork.prices, clockwork.streams, self.name)
        self.lock_wait_ns = self.steal_ns = 0
        self.idle_ns = 0
        """Time with nothing to do."""
        self.spin_ns = 0
        """Time in which its guest computed until a condition held."""
        self.resting_account = ""
        """The heading of its present rest, or its last, which is booked when that has ended."""

        # What it does now. The interpreter has the first two in locals while it runs.
        self.send: Resume = activity.send
        self.callers: Callers = []
        self.mode = CpuMode.GUEST
        self.traps_ns = NO_TRAP
        """When it entered the hypervisor last, or will: up to then it is a guest for interrupts,
        although it is ahead of that in its activity."""
        self.irqs_enabled = True
        self.rest: Rest | None = None
        """Why it does not run; None: it does."""
        self.process: Process | None = None
        """Its SimPy process; None before it is started."""
        self.wake = clockwork.env.ready_event()
        """The event that its process waits for when it does not run."""
        tie = clockwork.streams.bits("tie", self.name)
        self.tie_factor = tie.number(60) * 2 + 1
        self.tie_offset = tie.number(DRAW_BITS)

        # Interrupts.
        self.pending: list[Arrival] = []
        self.interrupted: list[Interrupted] = []
        self.unacknowledged = 0
        """How many targets of its own interrupts have not finished their handlers."""

        # Locks and conditions.
        self.held: list[Lock] = []
        self.brief_locks = 0
        """How many of these are held for a moment only."""
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
        accounts = Accounts(
            guest=self.spin_ns,
            lock_wait=self.lock_wait_ns,
            steal=self.steal_ns,
            idle=self.idle_ns,
        )
        self.costs.book(accounts)
        return accounts

    def accounts_at(self, now_ns: int) -> Accounts:
        """Where its time went until now, which is no later than anybody's next turn.

        The headings add up to ``now_ns``: a rest counts as far as it has come, and work that is
        booked but not done yet, before its next turn or behind a handler, is taken off its mode's.
        That is exact but for work which a profile books as ``tlb``; the figures by cost keep it.
        """
        accounts = self.accounts
        left = [(back.remaining_ns, back.traps_after_ns, back.mode) for back in self.interrupted]
        ahead_ns = accounts.total - sum(ns for ns, _, _ in left) - now_ns
        if ahead_ns < 0:
            heading = self.resting_account
            setattr(accounts, heading, getattr(accounts, heading) - ahead_ns)
        else:
            left.append((ahead_ns, self.traps_ns - now_ns, self.mode))
        for ns, traps_after_ns, mode in left:
            in_guest_ns = ns if mode is CpuMode.GUEST else min(max(traps_after_ns, 0), ns)
            accounts.guest -= in_guest_ns
            accounts.hypervisor -= ns - in_guest_ns
        return accounts

    def woken(self) -> None:
        """It has a reason to run, and no pCPU."""
        self.rest = Rest.WOKEN
        self.resting_account = "steal"

    @property
    def scheduler(self) -> "PCpus[VCpu] | None":
        """Who gives it a pCPU; None: it has one of its own."""
        return self.clockwork.scheduler if self._scheduled else None

    @property
    def running(self) -> Activity:
        """The activity that runs."""
        activity: Activity = self.send.__self__  # type: ignore[attr-defined]
        return activity

    def holds(self, key: Any) -> bool:
        """Does this vCPU hold the lock with this key?"""
        return any(lock.key == key for lock in self.held)

    def tie(self, time_ns: int) -> int:
        """Its place among the vCPUs at this time: a draw, never who asked first."""
        return (time_ns * self.tie_factor + self.tie_offset) & TIE_MASK

    def wake_at(self, time_ns: int) -> None:
        """Post the event that its process waits for; it comes up in the order of the tie draw."""
        env = self.clockwork.env
        env.schedule(self.wake, EventPriority(VCPUS + self.tie(time_ns)), time_ns - env.now_ns)
