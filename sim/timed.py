"""The interpreter with a clock: every vCPU is a process on SimPy's events.

A vCPU runs *ahead of the clock*: it goes on without posting an event while nothing else is
due before its own local time, and posts one event when something is. Alone it needs a
handful of events for a whole boot; among others it posts one where they could see the
difference: before a step, an acquisition, a release. ``every_event`` posts at each of these
places whatever the others do; the order of steps, and so the record, is the same.

Two vCPUs whose steps fall on the same nanosecond are ordered by a draw that depends on the
seed, the vCPU and the time only, never by who asked first.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sim.cpus.credit1 import Credit1
from sim.cpus.scheduler import Loaded, Scheduler
from sim.cpus.task import Policy
from sim.distributions import Distribution
from sim.effects import Activity
from sim.environment import Environment
from sim.metrics import LockTimes
from sim.oracle import Oracle, SeededOracle
from sim.probes import Probe
from sim.streams import Streams
from sim.vcpu.interpreter import start
from sim.vcpu.state import VCpu
from sim.vcpu.waits import A_PCPU, kept_by, reason_has_gone

if TYPE_CHECKING:
    from sim.stepwise import Look

DEFAULT_POLICY = Credit1()


@dataclass(frozen=True)
class Price:
    """What a named cost takes: a distribution of nanoseconds, and where it is booked.

    ``account`` is a heading of :class:`sim.metrics.Accounts`; None books on the mode in
    which it is spent.
    """

    distribution: Distribution
    account: str | None = None


class Simulation:
    """vCPUs that run activities on one clock."""

    def __init__(  # noqa: PLR0913 - what a simulation is made of, by name
        self,
        prices: Mapping[str, Price],
        streams: Streams,
        *,
        oracle: Oracle | None = None,
        probe: Probe | None = None,
        every_event: bool = False,
        pcpus: int | None = None,
        scheduler: Policy = DEFAULT_POLICY,
        loaded: Loaded | None = None,
        lock_times: LockTimes | None = None,
    ) -> None:
        """``pcpus``: how many CPUs the vCPUs share; None or no fewer: each has one of its own.

        ``scheduler`` decides who runs where there are fewer; ``loaded(pcpu, vcpu)`` is told when a
        pCPU loads the state of a vCPU that it had not. ``lock_times`` keeps waits and holds.
        """
        self.env = Environment()
        self.vcpus: list[VCpu] = []
        self.prices = prices
        self.streams = streams
        self.oracle: Oracle = SeededOracle(streams) if oracle is None else oracle
        self.probe = probe
        self.every_event = every_event
        self.lock_times = lock_times
        self.look: Look | None = None
        """Called at the end of each step of each vCPU, at its time, as by
        :func:`sim.stepwise.after_every_step`: a note that it returns is made there."""
        self.scheduler: Scheduler | None = None
        """Where vCPUs share pCPUs; made when the run begins."""
        self._pcpus = pcpus
        self._policy = scheduler
        self._loaded = loaded
        self.waiting: list[VCpu] = []
        """vCPUs that wait for a lock, a condition or acknowledgements."""
        self.in_flight = 0
        """Interrupts that have been sent and have not reached their target."""
        self.failure: BaseException | None = None
        self.failed_at_ns = 0
        self.env.report_waits(self._who_waits)

    def start(self, activity: Activity) -> VCpu:
        """Put an activity on a vCPU of its own; it begins when :meth:`run` is called."""
        vcpu = start(self, len(self.vcpus), activity)
        self.vcpus.append(vcpu)
        return vcpu

    def run(self) -> None:
        """Run until every vCPU has ended.

        Raises:
            Deadlock: the vCPUs that are left wait for each other.
            Exception: whatever an activity raised, itself (SimPy would raise a copy).
        """
        if self._pcpus is not None and self._pcpus < len(self.vcpus) and self.scheduler is None:
            self.scheduler = Scheduler(self, self._pcpus, self._policy, self._loaded)
            self.scheduler.begin()
        try:
            self.env.run()
        except Exception:
            if self.failure is None:
                raise
        if self.failure is not None:
            raise self.failure

    @property
    def time_ns(self) -> int:
        """The latest local time of any vCPU; after a failure, its time.

        The others may have been about to work for longer than that.
        """
        if self.failure is not None:
            return self.failed_at_ns
        return max((vcpu.local_ns for vcpu in self.vcpus), default=0)

    def reconsider(self, now_ns: int) -> None:
        """Wake the waiting vCPUs whose reason has gone; they try again at this time."""
        for vcpu in [each for each in self.waiting if each.may_go_on and each.may_go_on()]:
            self.waiting.remove(vcpu)
            reason_has_gone(vcpu, now_ns)

    def _who_waits(self) -> list[str]:
        sentences = []
        for vcpu in self.waiting + [vcpu for vcpu in self.vcpus if vcpu not in self.waiting]:
            wait = kept_by(vcpu)
            if wait is not None:
                holders = [other.name for other in self.vcpus if other.holds(vcpu.waits_for)]
                held = f", held by {holders[0]}" if holders and wait != A_PCPU else ""
                sentences.append(f"{vcpu.name} waits for {wait}{held}")
        return sentences
