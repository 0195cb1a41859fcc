"""Boots: a guest maps its memory under a strategy, on one vCPU or on several.

The data goes one way: the scenario makes a machine, a hypervisor and a guest; the guest boots
on a simulated vCPU while an observer looks on; what it saw becomes the record.
"""

from collections import Counter
from collections.abc import Callable, Sequence

from experiments.record.counting import call_counts, nested
from experiments.record.explanation import explain_crash, explain_refusals
from experiments.record.observer import Observer
from experiments.record.record import (
    BufferRange,
    Failure,
    Hazard,
    Pages,
    Parallel,
    Record,
    outcome_of,
    times_of,
)
from experiments.subjects.building import new_guest
from experiments.subjects.clock import pricing_of
from experiments.subjects.of_scenario import OfScenario, blameless
from experiments.subjects.on_clock import Asked, ClockRun, Counted, Stopped
from models.linux.boot.direct_map_phase import boot
from models.linux.boot.final_state import left_read_only
from models.linux.boot.guest import Guest
from models.linux.crash import GuestCrash
from models.machine.entries import PAGE_SHIFT
from sim.effects import Activity
from sim.metrics import LockTimes


class Boot(OfScenario):
    """A boot on one vCPU."""

    modules: tuple[str, ...] = (__name__,)
    at_end: Callable[[Guest], None] | None = None
    """Is given the guest of each run when that is over."""

    def on_clock(self, asked: Asked) -> Record:
        """Boot the guest: the run record.

        Raises:
            InputError: the scenario cannot be priced or built, or something is not modelled.
            InvariantViolation: the machine is inconsistent, and that was to be checked.
        """
        scenario = self.scenario
        pricing = pricing_of(scenario.machine, asked.prices)
        guest = new_guest(scenario, self.plan, vcpus=self.vcpus)
        activities = self.activities(guest)
        lock_times = self.lock_times()
        members = [guest] if guest.crew is None else guest.crew.members

        def counted() -> Counted:
            return guest.xen.counters.copy(), Counter(
                plain_stores=sum(member.plain_stores for member in members),
                mask_lookups=sum(member.mask_lookups for member in members),
            )

        run = ClockRun(
            scenario.name,
            guest.xen,
            pricing,
            asked,
            counted,
            pcpus=scenario.pcpus,
            lock_times=lock_times,
        )
        stopped = run.carry_out(activities)
        time_ns = run.simulation.time_ns
        failure = (
            self.aftermath(guest, time_ns)
            if stopped is None
            else _failure(guest, run.observer, stopped)
        )
        run.close()
        if self.at_end is not None:
            self.at_end(guest)
        measured = run.observer.measured
        return Record(
            **self.about(asked),
            outcome=outcome_of(failure),
            failure=failure,
            time_ns=times_of(measured.total_ns, measured.by_vcpu),
            counts=call_counts(measured.counters, measured.guest_counts),
            pages=_pages(guest),
            hazard=_hazard(guest, run.observer),
            time_by_cost_ns=measured.by_cost(),
            xen_counters=nested(measured.counters),
            buffers=[
                BufferRange(
                    start=hex(buffer.start << PAGE_SHIFT),
                    end=hex(buffer.used_end << PAGE_SHIFT),
                    top=hex(buffer.top << PAGE_SHIFT),
                )
                for buffer in guest.tables.buffers
            ],
            allocations={name: hex(pfn << PAGE_SHIFT) for name, pfn in guest.allocations.items()},
            parallel=self.shared_out(guest, lock_times),
        )

    # -- what a boot on several vCPUs does otherwise ---------------------------------------------

    @property
    def kind(self) -> str:
        """As in ``workload.kind``."""
        return "boot"

    @property
    def vcpus(self) -> int:
        """The vCPUs that boot."""
        return 1

    def activities(self, guest: Guest) -> Sequence[Activity]:
        """What each vCPU of a guest that has not begun does."""
        return [boot(guest)]

    def lock_times(self) -> LockTimes | None:
        """What keeps waits and holds of locks; None: nobody could wait."""
        return None

    def aftermath(self, guest: Guest, time_ns: int) -> Failure | None:
        """What is wrong with a boot that came to its end."""
        return _latent(guest, time_ns) if guest.refused else None

    def shared_out(self, guest: Guest, lock_times: LockTimes | None) -> Parallel | None:  # noqa: ARG002 - nothing was
        """How the work was shared out among the vCPUs."""
        return None


def _failure(guest: Guest, observer: Observer, stopped: Stopped) -> Failure:
    """What went wrong on the way."""
    crash, time_ns = stopped
    if isinstance(crash, GuestCrash):
        return _crash(guest, observer, crash, time_ns)
    return blameless(stopped, guest.xen)


def _pages(guest: Guest) -> Pages:
    fresh, buffers = guest.tables.fresh, guest.tables.buffers
    tables = sum(fresh)
    reserved = sum(buffer.top - buffer.start for buffer in buffers)
    return Pages(
        l1=fresh[1],
        l2=fresh[2],
        l3=fresh[3],
        tables=tables,
        # Without a buffer, pages are set aside one by one, each for a table.
        reserved=reserved if buffers else tables,
        left_over=sum(len(buffer.left_over) for buffer in buffers),
        left_read_only=left_read_only(guest),
    )


def _hazard(guest: Guest, observer: Observer) -> Hazard:
    return Hazard(
        windows=observer.windows,
        unreachable=guest.hazards.unreachable,
        open_ns_total=sum(observer.window_ns),
        open_ns_max=max(observer.window_ns, default=0),
    )


def _crash(guest: Guest, observer: Observer, crash: GuestCrash, time_ns: int) -> Failure:
    """What Xen and the guest printed, and what it means."""
    vcpu = guest.xen.vcpus[crash.vcpu]
    lines = [
        line for line in guest.xen.console.lines[vcpu.first_line :] if line.vcpu == vcpu.number
    ]
    mfn = None if crash.pfn is None else guest.p2m.mfn(crash.pfn)
    return Failure(
        kind=crash.kind,
        vcpu=vcpu.number,
        time_ns=time_ns,
        mfn=None if mfn is None else hex(mfn),
        pfn=None if crash.pfn is None else hex(crash.pfn),
        console=[line.text for line in lines],
        guest_console=crash.console,
        explanation=explain_crash(guest, observer, crash),
    )


def _latent(guest: Guest, time_ns: int) -> Failure:
    """Of a guest that is up, with entries that were not written."""
    pfn = guest.refused[0].page
    return Failure(
        kind="latent",
        vcpu=guest.vcpu.number,
        time_ns=time_ns,
        mfn=None if pfn is None else hex(guest.mfn(pfn)),
        pfn=None if pfn is None else hex(pfn),
        console=[line.text for line in guest.xen.console.lines],
        explanation=explain_refusals(guest),
    )
