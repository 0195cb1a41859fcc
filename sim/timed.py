"""The interpreter with a clock: every vCPU is a SimPy process, beside anybody's own.

A vCPU runs *ahead of the clock*: it goes on without posting an event while nothing else is
due before its own local time, and posts one event when something is. Alone it needs a
handful of events for a whole boot; among others it posts one where they could see the
difference: before a step, an acquisition, a release. ``every_event`` posts at each of these
places whatever the others do; the order of steps, and so the record, is the same.

Two vCPUs whose steps fall on the same nanosecond are ordered by a draw that depends on the
seed, the vCPU and the time only, never by who asked first.
"""

from collections.abc import Mapping

from sim.cpus.credit1 import Credit1
from sim.cpus.scheduler import Loaded, Scheduler
from sim.cpus.task import Policy
from sim.effects import Activity
from sim.environment import Deadlock
from sim.metrics import LockTimes
from sim.oracle import Oracle
from sim.prices import Price
from sim.probes import Probe
from sim.streams import Streams
from sim.vcpu.clockwork import Clockwork
from sim.vcpu.ends import are_stuck, are_through
from sim.vcpu.interpreter import start
from sim.vcpu.state import VCpu
from sim.vcpu.waits import A_PCPU, kept_by, reconsider

__all__ = ["DEFAULT_POLICY", "Price", "Simulation"]

DEFAULT_POLICY = Credit1()


class Simulation(Clockwork[VCpu]):
    """vCPUs that run activities on one clock, ``env``, on which others may run, too."""

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
        super().__init__(
            prices,
            streams,
            oracle=oracle,
            probe=probe,
            every_event=every_event,
            lock_times=lock_times,
        )
        self._pcpus = pcpus
        self._policy = scheduler
        self._loaded = loaded
        self.env.report_waits(self.who_waits)
        self.env.when_others_acted(self._others_acted)

    def start(self, activity: Activity) -> VCpu:
        """Put an activity on a vCPU of its own; it begins when :meth:`run` is called."""
        vcpu = start(self, len(self.vcpus), activity)
        self.vcpus.append(vcpu)
        return vcpu

    def run(self) -> None:
        """Run until every vCPU has ended, and nothing is left for them to answer.

        Processes of others may go on for ever; what they would do later is not done.

        Raises:
            Deadlock: the vCPUs that are left wait for each other, or for what nobody will do.
            Exception: whatever an activity raised, itself (SimPy would raise a copy).
        """
        if self._pcpus is not None and self._pcpus < len(self.vcpus) and self.scheduler is None:
            pcpus = Scheduler(self, self._pcpus, self._policy, self._loaded)
            self.scheduler = pcpus
            pcpus.begin()
        try:
            self.env.run_out()
        except Deadlock:
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

    def who_waits(self) -> list[str]:
        """A sentence for each vCPU that waits: who, for what, and who holds it."""
        sentences = []
        for vcpu in self.waiting + [vcpu for vcpu in self.vcpus if vcpu not in self.waiting]:
            wait = kept_by(vcpu)
            if wait is not None:
                holders = [other.name for other in self.vcpus if other.holds(vcpu.waits_for)]
                held = f", held by {holders[0]}" if holders and wait != A_PCPU else ""
                sentences.append(f"{vcpu.name} waits for {wait}{held}")
        return sentences

    def _others_acted(self) -> None:
        """Others than the vCPUs have acted, or a vCPU has come to its end among them."""
        if self.waiting:
            reconsider(self, self.env.now_ns)
        if are_through(self):
            self.env.stop()
        elif are_stuck(self):
            raise Deadlock(self.who_waits())
