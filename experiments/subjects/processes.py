"""A run of a workload of processes: the guest boots, and then what its processes do is counted."""

from collections import Counter

from experiments.errors import InputError
from experiments.record.counting import call_counts, nested
from experiments.record.record import Failure, Record, outcome_of, times_of
from experiments.scenario.programs import plan_of
from experiments.scenario.scenario import Scenario
from experiments.scenario.workload import tasks_of
from experiments.subjects.building import new_guest
from experiments.subjects.clock import Pricing, pricing_of
from experiments.subjects.of_scenario import OfScenario, blameless
from experiments.subjects.on_clock import Asked, ClockRun, Counted, Stopped
from models.linux.boot.direct_map_phase import boot
from models.linux.boot.strategy import Strategy
from models.linux.crash import GuestCrash
from models.linux.run.kernel import OutOfMemory, RunningKernel
from models.linux.run.start import start
from models.linux.run.workloads.driver import activities
from models.linux.run.workloads.tasks import PAUSE
from models.linux.runtime_era import era_of
from models.xen.versions.paging import Paging
from sim.distributions import Exponential
from sim.instant import drain
from sim.timed import Price

Counts = Counter[tuple[str, str]]

_L1_CLASSES = ((0, "0"), (1, "1"), (8, "2-8"), (32, "9-32"), (64, "33-64"), (128, "65-128"),
               (256, "129-256"), (384, "257-384"), (511, "385-511"), (512, "512"))  # fmt: skip
_OWN_GROUPS = ("calls", "hypercalls_continued", "validated_entries")
"""Groups of counters that the recordings do not have."""


class Processes(OfScenario):
    """What processes, or the kernel itself, do over and over on a guest that has booted."""

    modules: tuple[str, ...] = (__name__,)

    @property
    def kind(self) -> str:
        """The workload's."""
        return self.scenario.workload.kind

    def on_clock(self, asked: Asked) -> Record:
        """Boot the guest without a clock, run the workload with one: the run record.

        Raises:
            InputError: the scenario cannot be priced or built, or its workload needs more RAM than
                it has, or something is not modelled.
            InvariantViolation: the machine is inconsistent, and that was to be checked.
        """
        scenario, workload = self.scenario, self.scenario.workload
        pricing = _with_pauses(pricing_of(scenario.machine, asked.prices), workload.pause)
        kernel = _running(scenario, self.plan, self.strategy)

        def counted() -> Counted:
            counters = kernel.xen.counters + kernel.counts
            return counters, Counter(plain_stores=kernel.plain_stores)

        run = ClockRun(scenario.name, kernel.xen, pricing, asked, counted, pcpus=scenario.pcpus)
        try:
            stopped = run.carry_out(activities(kernel, plan_of(workload, scenario.guest)))
        except OutOfMemory as error:
            raise InputError(f"guest.ram: {error}") from error
        failure = _failure(kernel, stopped, run.simulation.time_ns)
        run.close()
        measured = run.observer.measured
        tasks = tasks_of(workload, scenario.guest.vcpus) or 1
        return Record(
            **self.about(asked),
            outcome=outcome_of(failure),
            failure=failure,
            time_ns=times_of(measured.total_ns, measured.by_vcpu),
            counts=call_counts(measured.counters, measured.guest_counts),
            time_by_cost_ns=measured.by_cost(),
            xen_counters=nested(measured.counters),
            iterations=workload.iterations,
            tasks=tasks,
            per_iteration=per_iteration(measured.counters, workload.iterations * tasks),
        )


def _with_pauses(pricing: Pricing, mean_ns: float) -> Pricing:
    """The same prices, and how long a task pauses; the time is idle and booked nowhere."""
    if not mean_ns:
        return pricing
    return pricing._replace(table={**pricing.table, PAUSE: Price(Exponential(mean_ns))})


def _running(scenario: Scenario, composition: Strategy, strategy: str) -> RunningKernel:
    """The guest after its boot; ``strategy``: what the user calls it."""
    if composition.paging is not Paging.DIRECT:
        raise InputError(
            f"workload.kind = {scenario.workload.kind!r} takes direct paging, which strategy "
            f"{strategy!r} does without"
        )
    guest = new_guest(scenario, composition, vcpus=scenario.guest.vcpus)
    try:
        drain(boot(guest))
    except GuestCrash as crash:
        raise InputError(
            f"guest.strategy = {strategy}: this guest does not survive its boot ({crash.message})"
        ) from crash
    kernel: RunningKernel = drain(start(guest, era_of(composition.kernel.release)))
    return kernel


def per_iteration(counters: Counts, iterations: int) -> dict[str, dict[str, float]]:
    """The counters under the names of the recordings, each over the number of iterations.

    A recording counts hypercalls where they enter the hypervisor, so one that is continued counts
    again.
    """
    renamed: Counts = Counter()
    for (group, key), count in counters.items():
        if group == "hypercalls_continued":
            renamed["hypercalls_direct", key] += count
        elif group == "L1_validations_by_present_entries":
            renamed[group, _l1_class(int(key))] += count
        elif group not in _OWN_GROUPS:
            renamed[group, key] += count
    inside = counters["hypercalls_inside_multicall", "update_va_mapping"]
    renamed["misc", "update_va_mapping_calls_inside_multicall"] = inside
    shares: dict[str, dict[str, float]] = {}
    for (group, key), count in sorted(renamed.items()):
        if count:
            shares.setdefault(group, {})[key] = round(count / iterations, 6)
    return shares


def _l1_class(present: int) -> str:
    return next(name for top, name in _L1_CLASSES if present <= top)


def _failure(kernel: RunningKernel, stopped: Stopped | None, time_ns: int) -> Failure | None:
    """What went wrong on the way, or was only warned of."""
    console = [line.text for line in kernel.xen.console.lines]
    if stopped is None:
        if not kernel.refused:
            return None
        warned = f"the kernel was only warned: {kernel.refused[0]}."
        return Failure(kind="latent", time_ns=time_ns, console=console, explanation=warned)
    crash = stopped.crash
    if isinstance(crash, GuestCrash):
        return Failure(
            kind=crash.kind,
            time_ns=time_ns,
            console=console,
            guest_console=crash.console,
            explanation=f"the guest has stopped: {crash.message}.",
        )
    return blameless(stopped, kernel.xen)
