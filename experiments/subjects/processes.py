"""A run of a workload of processes: the guest boots, and then what its processes do is counted."""

from collections import Counter
from typing import Any

from experiments.errors import InputError
from experiments.record.events import TimingLog
from experiments.record.observer import Observer, Snapshot
from experiments.record.record import (
    RUN_SCHEMA,
    call_counts,
    nested,
    outcome_of,
    stopped,
)
from experiments.scenario.policies import composed
from experiments.scenario.programs import plan_of
from experiments.scenario.scenario import Scenario, scenario_hash
from experiments.scenario.workload import tasks_of
from experiments.subjects.building import new_guest
from experiments.subjects.clock import Pricing, followed, simulation_of
from models.linux.boot.direct_map_phase import boot
from models.linux.crash import GuestCrash
from models.linux.run.kernel import OutOfMemory, RunningKernel
from models.linux.run.start import start
from models.linux.run.workloads.driver import activities
from models.linux.run.workloads.tasks import PAUSE
from models.linux.runtime_era import era_of
from models.strategies.recombine import parts_of
from models.xen.checks.invariants import Checker
from models.xen.versions.paging import Paging
from models.xen.versions.panic import HostCrash, NotModelled
from sim.distributions import Exponential
from sim.environment import Deadlock
from sim.instant import drain
from sim.metrics import ACCOUNTS, Accounts
from sim.recording import Follower
from sim.stepwise import after_every_step
from sim.streams import Streams
from sim.timed import Price

Counts = Counter[tuple[str, str]]

_L1_CLASSES = ((0, "0"), (1, "1"), (8, "2-8"), (32, "9-32"), (64, "33-64"), (128, "65-128"),
               (256, "129-256"), (384, "257-384"), (511, "385-511"), (512, "512"))  # fmt: skip
_OWN_GROUPS = ("calls", "hypercalls_continued", "validated_entries")
"""Groups of counters that the recordings do not have."""


def run_processes(  # noqa: PLR0913 - all that can be asked of a run, by name
    scenario: Scenario,
    strategy: str,
    *,
    seed: int,
    replication: int,
    every_event: bool,
    check: bool,
    log: TimingLog | None,
    pricing: Pricing,
    follower: Follower | None = None,
) -> dict[str, Any]:
    """Boot the guest without a clock, run the workload with one, and return the run record.

    Raises:
        InputError: the scenario cannot be built, or its workload needs more RAM than it has.
        InvariantViolation: ``check`` has found the machine inconsistent.
    """
    machine = scenario.machine
    composition = composed(strategy, scenario.strategy)
    kernel = _running(scenario, strategy)
    xen = kernel.xen
    xen.tells_calls = log is not None
    simulation = simulation_of(
        xen,
        _with_pauses(pricing, scenario.workload.pause),
        Streams(seed, replication),
        pcpus=scenario.pcpus,
        every_event=every_event,
    )

    def snapshot() -> Snapshot:
        accounts = Accounts()
        for vcpu in simulation.vcpus:
            accounts.add(vcpu.accounts)
        counters = xen.counters + kernel.counts
        return counters, Counter(plain_stores=kernel.plain_stores), accounts, simulation.time_ns

    observer = simulation.probe = Observer(snapshot, log)
    checker = Checker(xen) if check else None
    started = activities(kernel, plan_of(scenario.workload, scenario.guest))
    if follower is not None:
        started = followed(simulation, started, follower)
    for activity in started:
        simulation.start(activity if checker is None else after_every_step(activity, checker.look))
    failure: dict[str, Any] | None = None
    try:
        simulation.run()
    except OutOfMemory as error:
        raise InputError(f"guest.ram: {error}") from error
    except GuestCrash as crash:
        failure = stopped(
            crash.kind, f"the guest has stopped: {crash.message}.", simulation.time_ns
        )
        failure["console"] = [line.text for line in xen.console.lines]
        failure["guest_console"] = crash.console
    except Deadlock as deadlock:
        failure = stopped("deadlock", f"nobody can go on: {deadlock}.", simulation.time_ns)
    except HostCrash as crash:
        failure = stopped("bug", f"the hypervisor has stopped: {crash}.", simulation.time_ns)
        failure["console"] = [line.text for line in xen.console.lines]
    except NotModelled as left_out:
        raise InputError(f"{scenario.name}: not modelled: {left_out}") from left_out
    else:
        if kernel.refused:
            failure = _latent(kernel, simulation.time_ns)
    observer.close(simulation.time_ns)
    if checker is not None:
        checker.look()
    measured = observer.measured
    iterations = scenario.workload.iterations
    tasks = tasks_of(scenario.workload, scenario.guest.vcpus) or 1
    return {
        "schema": RUN_SCHEMA,
        "scenario": scenario.name,
        "scenario_hash": scenario_hash(scenario),
        "strategy": composition.name,
        "policies": parts_of(composition),
        "recombined": dict(scenario.strategy),
        "xen": machine.xen,
        "profile": machine.profile,
        "seed": seed,
        "replication": replication,
        "outcome": outcome_of(failure),
        "failure": failure,
        "time_ns": {
            "total": measured.total_ns,
            **{account: getattr(measured.accounts, account) for account in ACCOUNTS},
        },
        "counts": call_counts(measured.counters, measured.guest_counts),
        "pages": dict.fromkeys(
            ("l1", "l2", "l3", "tables", "reserved", "left_over", "left_read_only"), 0
        ),
        "hazard": dict.fromkeys(("windows", "unreachable", "open_ns_total", "open_ns_max"), 0),
        "time_by_cost_ns": dict(sorted(measured.accounts.by_cost.items())),
        "xen_counters": nested(measured.counters),
        "buffers": [],
        "allocations": {},
        "workload": scenario.workload.kind,
        "iterations": iterations,
        "tasks": tasks,
        "per_iteration": per_iteration(measured.counters, iterations * tasks),
    }


def _with_pauses(pricing: Pricing, mean_ns: float) -> Pricing:
    """The same prices, and how long a task pauses; the time is idle and booked nowhere."""
    if not mean_ns:
        return pricing
    return pricing._replace(table={**pricing.table, PAUSE: Price(Exponential(mean_ns))})


def _running(scenario: Scenario, strategy: str) -> RunningKernel:
    """The guest after its boot."""
    composition = composed(strategy, scenario.strategy)
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


def _latent(kernel: RunningKernel, time_ns: int) -> dict[str, Any]:
    failure = stopped("latent", f"the kernel was only warned: {kernel.refused[0]}.", time_ns)
    failure["console"] = [line.text for line in kernel.xen.console.lines]
    return failure
