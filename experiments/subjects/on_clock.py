"""A run on the clock, whatever runs: how it is followed, checked, logged and measured."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from experiments.errors import InputError
from experiments.record.observer import Observer, Snapshot
from experiments.subjects.clock import Pricing, followed, simulation_of
from models.linux.crash import GuestCrash
from models.xen.gate import Xen
from models.xen.versions.panic import HostCrash, NotModelled
from sim.effects import Activity
from sim.environment import Deadlock
from sim.metrics import LockTimes
from sim.streams import Streams

if TYPE_CHECKING:
    from experiments.record.events import TimingLog
    from models.xen.checks.invariants import Checker
    from sim.prices import Price
    from sim.recording import Follower


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is asked of a run on the clock."""

    seed: int = 0
    replication: int = 0
    every_event: bool = False
    """Each hypercall is an event of its own; the record is the same."""
    check: bool = False
    """All references of the machine are counted again after every step."""
    log: "TimingLog | None" = None
    """Receives a row for each hypercall."""
    follower: "Follower | None" = None
    """Records the run, or replays it."""
    prices: "Mapping[str, Price] | None" = None
    """In place of those of the latency profile."""

    @property
    def streams(self) -> Streams:
        """What the run's draws come from."""
        return Streams(self.seed, self.replication)


Counted = tuple[Counter[tuple[str, str]], Counter[str]]
"""The hypervisor's counters, and the guest's own."""


class Stopped(NamedTuple):
    """Why a run ended before its end."""

    crash: GuestCrash | Deadlock | HostCrash
    time_ns: int


class ClockRun:
    """Some vCPUs' activities on the clock."""

    def __init__(
        self,
        name: str,
        xen: Xen,
        pricing: Pricing,
        asked: Asked,
        counted: Callable[[], Counted],
        *,
        pcpus: int,
        lock_times: LockTimes | None = None,
    ) -> None:
        """``name``: the scenario's, for messages. ``counted()`` gives all counters up to now."""
        self._name = name
        self._xen = xen
        self._asked = asked
        self._counted = counted
        self._checker: Checker | None = None
        xen.tells_calls = asked.log is not None
        self.simulation = simulation_of(
            xen,
            pricing,
            asked.streams,
            pcpus=pcpus,
            every_event=asked.every_event,
            lock_times=lock_times,
        )
        self.observer = self.simulation.probe = Observer(self._snapshot, asked.log)

    def carry_out(self, activities: Sequence[Activity]) -> Stopped | None:
        """Run one activity a vCPU to the end; None: all of them came to theirs.

        Raises:
            InputError: something is not modelled.
            InvariantViolation: the machine is inconsistent, and that was to be checked.
        """
        if self._asked.follower is not None:
            activities = followed(self.simulation, activities, self._asked.follower)
        if self._asked.check:
            self._checker, activities = checked(self._xen, activities)
        for activity in activities:
            self.simulation.start(activity)
        try:
            self.simulation.run()
        except (GuestCrash, Deadlock, HostCrash) as crash:
            return Stopped(crash, self.simulation.time_ns)
        except NotModelled as left_out:
            raise InputError(f"{self._name}: not modelled: {left_out}") from left_out
        return None

    def close(self) -> None:
        """The run is over and has been judged: end what is measured, and check once more."""
        self.observer.close(self.simulation.time_ns)
        if self._checker is not None:
            self._checker.look()

    def _snapshot(self, now_ns: int) -> Snapshot:
        by_vcpu = [vcpu.accounts_at(now_ns) for vcpu in self.simulation.vcpus]
        return Snapshot(*self._counted(), by_vcpu, now_ns)


def checked(xen: Xen, activities: Sequence[Activity]) -> tuple["Checker", list[Activity]]:
    """A checker of the machine's consistency, and activities that it looks at step by step."""
    from models.xen.checks.invariants import Checker
    from sim.stepwise import after_every_step

    checker = Checker(xen)
    return checker, [after_every_step(activity, checker.look) for activity in activities]
