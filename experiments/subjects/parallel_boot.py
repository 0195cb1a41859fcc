"""Boots on several vCPUs: from a scenario to the activities of its vCPUs, and what came of them."""

from collections.abc import Hashable, Sequence

from experiments.errors import InputError
from experiments.record.record import Failure, LockFigures, Parallel
from experiments.scenario.scenario import Scenario
from experiments.subjects.boot import Boot
from experiments.subjects.crews import activities_of
from experiments.subjects.orders import Explored
from models.linux.boot.guest import Guest
from models.linux.boot.parallel_boot import lost_regions
from models.machine.entries import ENTRIES
from sim.effects import Activity
from sim.metrics import LockTimes

_LOCKS = {"page_lock of mfn": "page locks", "entry": "entries above L1"}
"""Locks that are told together: how their names begin, and what they are called."""


class ParallelBoot(Boot):
    """A boot on several vCPUs, which share the map out among them."""

    modules: tuple[str, ...] = (__name__, "experiments.subjects.parallel_orders")

    @property
    def kind(self) -> str:
        """As in ``workload.kind``."""
        return "parallel-boot"

    @property
    def vcpus(self) -> int:
        """All of the guest's."""
        return self.scenario.guest.vcpus

    def activities(self, guest: Guest) -> Sequence[Activity]:
        """What each vCPU of a guest that has not begun does.

        Raises:
            InputError: the guest's paging is modelled for one vCPU only.
        """
        return activities_of(self.scenario, guest)

    def lock_times(self) -> LockTimes | None:
        """By the kind of lock."""
        return LockTimes(kind_of_lock) if self.vcpus > 1 else None

    def aftermath(self, guest: Guest, time_ns: int) -> Failure | None:
        """What is wrong with a boot that came to its end.

        Raises:
            InputError: the strategy's walk has no ranges that could be shared out.
        """
        found = super().aftermath(guest, time_ns)
        return found or lost_failure(self.scenario, guest, time_ns)

    def shared_out(self, guest: Guest, lock_times: LockTimes | None) -> Parallel | None:
        """How the work was shared out, and waits by lock."""
        assert guest.crew is not None
        by_name = {} if lock_times is None else lock_times.by_name
        locks = {
            str(name): LockFigures(
                taken=figures.taken,
                waited=figures.waited,
                wait_ns=figures.wait_total_ns,
                hold_ns=figures.hold_total_ns,
            )
            for name, figures in by_name.items()
        }
        crew = guest.crew
        return Parallel(
            vcpus=len(crew.members), pieces=crew.pieces, locks=dict(sorted(locks.items()))
        )

    def orders(self) -> Explored:
        """The boot as a program whose orders can be tried.

        Raises:
            InputError: it cannot be built, or its strategy cannot be run so.
        """
        from experiments.subjects.parallel_orders import ExploredBoot

        return ExploredBoot(self.written, self.strategy)


def lost_failure(scenario: Scenario, guest: Guest, time_ns: int) -> Failure | None:
    """What the finished map does not lead to; None: it is whole.

    Raises:
        InputError: the strategy's walk has no ranges that could be shared out.
    """
    assert guest.crew is not None
    if not guest.crew.asked:
        raise InputError(
            f'workload.kind = "parallel-boot": strategy {guest.strategy.name!r} builds its map in '
            "one piece on one vCPU; there are no ranges that several could map "
            f"({scenario.name})"
        )
    lost = lost_regions(guest)
    if not lost:
        return None
    pages = len(lost) * ENTRIES
    return Failure(
        kind="latent",
        time_ns=time_ns,
        pfn=hex(lost[0] * ENTRIES),
        console=[line.text for line in guest.xen.console.lines],
        explanation=(
            f"the boot went on, but the finished map does not lead to {pages} pages, of which pfn "
            f"{lost[0] * ENTRIES:x} is the first: another entry was written over the one that led "
            "there. The first touch of one is a fault."
        ),
    )


def kind_of_lock(key: Hashable) -> str:
    """The name under which a lock's waits are told: all page locks have one."""
    name = str(key)
    return next((told for begin, told in _LOCKS.items() if name.startswith(begin)), name)
