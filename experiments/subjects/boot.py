"""One run: from a scenario to a run record.

The data goes one way: the scenario makes a machine, a hypervisor and a guest; the guest boots
on a simulated vCPU while an observer looks on; what it saw becomes the record.

What few runs use (processes, several vCPUs, the checker) is imported where it is used: a plain boot
does not wait for it.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from experiments.errors import InputError
from experiments.record.explanation import explain_crash, explain_refusals
from experiments.record.observer import Observer, Snapshot
from experiments.record.record import RUN_SCHEMA, call_counts, nested, outcome_of, stopped
from experiments.scenario.policies import composed
from experiments.scenario.scenario import Scenario, scenario_hash
from experiments.subjects.building import new_guest
from experiments.subjects.clock import Pricing, followed, simulation_of
from models.linux.boot.direct_map_phase import boot
from models.linux.boot.final_state import left_read_only
from models.linux.boot.guest import Guest
from models.linux.crash import GuestCrash
from models.machine.entries import PAGE_SHIFT
from models.profiles.catalogue import ProfileError, load_profile, with_overrides
from models.profiles.prices import prices
from models.strategies.recombine import parts_of
from models.xen.versions.panic import HostCrash, NotModelled
from sim.environment import Deadlock
from sim.metrics import ACCOUNTS, Accounts, LockTimes
from sim.streams import Streams
from sim.timed import Price, Simulation

if TYPE_CHECKING:
    from experiments.record.events import TimingLog
    from sim.recording import Follower


def run(  # noqa: PLR0913 - all that can be asked of a run, by name
    scenario: Scenario,
    strategy: str,
    *,
    seed: int = 0,
    replication: int = 0,
    every_event: bool = False,
    check: bool = False,
    log: "TimingLog | None" = None,
    at_end: Callable[[Guest], None] | None = None,
    table: Mapping[str, Price] | None = None,
    follower: "Follower | None" = None,
) -> dict[str, Any]:
    """Boot the scenario's guest under a strategy and return the run record.

    If the scenario's workload is one of processes, that is what is measured after the boot.

    ``check`` recounts all references of the machine after every step. ``at_end`` is called with
    the guest when the run is over. ``log`` receives a row for each hypercall. ``table``: prices
    in place of those of the scenario's profile. ``follower`` records the run or replays it.

    Raises:
        InputError: the scenario asks for what cannot be priced or built, or is not modelled.
        InvariantViolation: ``check`` has found the machine inconsistent.
    """
    machine = scenario.machine
    try:
        profile = with_overrides(load_profile(machine.profile), machine.latency)
        pricing = Pricing(profile, prices(profile) if table is None else table)
    except ProfileError as error:
        raise InputError(f"machine: {error}") from error
    parallel = scenario.workload.kind == "parallel-boot"
    if scenario.workload.kind != "boot" and not parallel:
        from experiments.subjects.processes import run_processes

        return run_processes(
            scenario,
            strategy,
            seed=seed,
            replication=replication,
            every_event=every_event,
            check=check,
            log=log,
            pricing=pricing,
            follower=follower,
        )
    plan = composed(strategy, scenario.strategy)
    guest = new_guest(scenario, plan, vcpus=scenario.guest.vcpus if parallel else 1)
    if parallel:
        from experiments.subjects import parallel_boot as crews

        kernels = crews.activities_of(scenario, guest)
    else:
        kernels = [boot(guest)]
    members = [guest] if guest.crew is None else guest.crew.members
    guest.xen.tells_calls = log is not None
    lock_times = LockTimes(crews.kind_of_lock) if len(members) > 1 else None
    simulation = simulation_of(
        guest.xen,
        pricing,
        Streams(seed, replication),
        pcpus=scenario.pcpus,
        every_event=every_event,
        lock_times=lock_times,
    )

    def snapshot() -> Snapshot:
        accounts = Accounts()
        for vcpu in simulation.vcpus:
            accounts.add(vcpu.accounts)
        guest_counts = Counter(
            plain_stores=sum(member.plain_stores for member in members),
            mask_lookups=sum(member.mask_lookups for member in members),
        )
        return guest.xen.counters.copy(), guest_counts, accounts, simulation.time_ns

    observer = simulation.probe = Observer(snapshot, log)
    if follower is not None:
        kernels = followed(simulation, kernels, follower)
    checker = None
    if check:
        from models.xen.checks.invariants import Checker
        from sim.stepwise import after_every_step

        checker = Checker(guest.xen)
        kernels = [after_every_step(kernel, checker.look) for kernel in kernels]
    for kernel in kernels:
        simulation.start(kernel)
    failure = _failure(scenario, simulation, guest, observer)
    if failure is None and guest.crew is not None:
        failure = crews.parallel_failure(scenario, guest, simulation.time_ns)
    observer.close(simulation.time_ns)
    if checker is not None:
        checker.look()
    if at_end is not None:
        at_end(guest)
    return {
        "schema": RUN_SCHEMA,
        "scenario": scenario.name,
        "scenario_hash": scenario_hash(scenario),
        "strategy": plan.name,
        "policies": parts_of(plan),
        "recombined": dict(scenario.strategy),
        "xen": machine.xen,
        "profile": machine.profile,
        "seed": seed,
        "replication": replication,
        "outcome": outcome_of(failure),
        "failure": failure,
        **_figures(guest, observer),
        "buffers": [
            {
                "start": hex(buffer.start << PAGE_SHIFT),
                "end": hex(buffer.used_end << PAGE_SHIFT),
                "top": hex(buffer.top << PAGE_SHIFT),
            }
            for buffer in guest.tables.buffers
        ],
        "allocations": {name: hex(pfn << PAGE_SHIFT) for name, pfn in guest.allocations.items()},
        **({} if guest.crew is None else crews.parallel_figures(guest.crew, lock_times)),
    }


def _failure(
    scenario: Scenario, simulation: Simulation, guest: Guest, observer: Observer
) -> dict[str, Any] | None:
    """Run to the end; what went wrong on the way, as the record's failure part.

    Raises:
        InputError: the scenario asks for what is not modelled.
    """
    try:
        simulation.run()
    except GuestCrash as crash:
        return _crash(guest, observer, crash, simulation.time_ns)
    except Deadlock as deadlock:
        return stopped("deadlock", f"nobody can go on: {deadlock}.", simulation.time_ns)
    except HostCrash as crash:
        failure = stopped("bug", f"the hypervisor has stopped: {crash}.", simulation.time_ns)
        failure["console"] = [line.text for line in guest.xen.console.lines]
        return failure
    except NotModelled as left_out:
        raise InputError(f"{scenario.name}: not modelled: {left_out}") from left_out
    return _latent(guest, simulation.time_ns) if guest.refused else None


def _figures(guest: Guest, observer: Observer) -> dict[str, Any]:
    """The measured part of the record."""
    measured = observer.measured
    accounts = measured.accounts
    return {
        "time_ns": {
            "total": measured.total_ns,
            **{account: getattr(accounts, account) for account in ACCOUNTS},
        },
        "counts": call_counts(measured.counters, measured.guest_counts),
        "pages": _pages(guest),
        "hazard": {
            "windows": observer.windows,
            "unreachable": guest.hazards.unreachable,
            "open_ns_total": sum(observer.window_ns),
            "open_ns_max": max(observer.window_ns, default=0),
        },
        "time_by_cost_ns": dict(sorted(accounts.by_cost.items())),
        "xen_counters": nested(measured.counters),
    }


def _pages(guest: Guest) -> dict[str, int]:
    fresh, buffers = guest.tables.fresh, guest.tables.buffers
    tables = sum(fresh)
    reserved = sum(buffer.top - buffer.start for buffer in buffers)
    return {
        "l1": fresh[1],
        "l2": fresh[2],
        "l3": fresh[3],
        "tables": tables,
        # Without a buffer, pages are set aside one by one, each for a table.
        "reserved": reserved if buffers else tables,
        "left_over": sum(len(buffer.left_over) for buffer in buffers),
        "left_read_only": left_read_only(guest),
    }


def _crash(guest: Guest, observer: Observer, crash: GuestCrash, time_ns: int) -> dict[str, Any]:
    """The failure part of the record: what Xen and the guest printed, and what it means."""
    vcpu = guest.xen.vcpus[crash.vcpu]
    lines = [
        line for line in guest.xen.console.lines[vcpu.first_line :] if line.vcpu == vcpu.number
    ]
    mfn = None if crash.pfn is None else guest.p2m.mfn(crash.pfn)
    return {
        "kind": crash.kind,
        "vcpu": vcpu.number,
        "time_ns": time_ns,
        "mfn": None if mfn is None else hex(mfn),
        "pfn": None if crash.pfn is None else hex(crash.pfn),
        "console": [line.text for line in lines],
        "guest_console": crash.console,
        "explanation": explain_crash(guest, observer, crash),
    }


def _latent(guest: Guest, time_ns: int) -> dict[str, Any]:
    """The failure of a guest that is up, with entries that were not written."""
    pfn = guest.refused[0].page
    return {
        "kind": "latent",
        "vcpu": guest.vcpu.number,
        "time_ns": time_ns,
        "mfn": None if pfn is None else hex(guest.mfn(pfn)),
        "pfn": None if pfn is None else hex(pfn),
        "console": [line.text for line in guest.xen.console.lines],
        "explanation": explain_refusals(guest),
    }
