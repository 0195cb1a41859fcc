"""What the vCPUs of a simulation share: clock, prices, chance, and each other."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from sim.environment import Environment
from sim.metrics import LockTimes
from sim.oracle import Oracle, SeededOracle
from sim.prices import Price
from sim.probes import Probe
from sim.streams import Streams

if TYPE_CHECKING:
    from sim.stepwise import Look

V = TypeVar("V")
"""A vCPU. What it is, :mod:`sim.vcpu.state` says, which knows the clockwork."""


class PCpus(Protocol[V]):
    """The pCPUs that vCPUs share, as a vCPU meets them; all times in whole nanoseconds."""

    def keeps(self, vcpu: V, now_ns: int) -> bool:
        """A vCPU has been interrupted and asks whether it may go on; else it is put aside."""

    def block(self, vcpu: V, now_ns: int) -> None:
        """A vCPU has nothing to do and leaves its pCPU."""

    def wake(self, vcpu: V, now_ns: int) -> None:
        """A vCPU that had nothing to do has a reason to run."""

    def on(self, pcpu: int) -> V:
        """The vCPU that runs on a pCPU, if only the idle one."""

    @property
    def idle(self) -> list[V]:
        """The CPUs that run where nobody else does, to take the hypervisor's interrupts."""


class Clockwork(Generic[V]):
    """What vCPUs share."""

    def __init__(
        self,
        prices: Mapping[str, Price],
        streams: Streams,
        *,
        oracle: Oracle | None = None,
        probe: Probe | None = None,
        every_event: bool = False,
        lock_times: LockTimes | None = None,
    ) -> None:
        """As :class:`sim.timed.Simulation`."""
        self.env = Environment()
        """The clock; anybody's SimPy processes may run on it, too."""
        self.vcpus: list[V] = []
        self.prices = prices
        self.streams = streams
        self.oracle: Oracle = SeededOracle(streams) if oracle is None else oracle
        self.probe = probe
        self.every_event = every_event
        self.lock_times = lock_times
        self.look: Look | None = None
        """Called at the end of each step of each vCPU, at its time, as by
        :func:`sim.stepwise.after_every_step`: a note that it returns is made there."""
        self.scheduler: PCpus[V] | None = None
        """Where vCPUs share pCPUs; made when the run begins."""
        self.waiting: list[V] = []
        """vCPUs that wait for a lock, a condition, an event or acknowledgements."""
        self.in_flight = 0
        """Interrupts that have been sent and have not reached their target."""
        self.failure: BaseException | None = None
        self.failed_at_ns = 0

    def fail(self, failure: BaseException, at_ns: int) -> None:
        """End the run before anything else happens, because of this."""
        self.failure, self.failed_at_ns = failure, at_ns
        self.env.stop()
