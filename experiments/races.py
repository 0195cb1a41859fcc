"""Races of the catalogue: their settings, the search for a failure, and trials for their odds."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from typing import Annotated, Any, Literal

import msgspec

from experiments.errors import InputError, offer
from experiments.odds import Odds, Trial
from experiments.quantities import parse_duration
from experiments.runner import RUN_SCHEMA, call_counts, nested
from models.linux.crash import GuestCrash
from models.profiles.catalogue import ProfileError, load_profile
from models.profiles.prices import prices
from models.races.catalogue import RACES, find_race
from models.races.race import DETECTORS, GAP, Race, Stage
from models.races.stage import fresh
from models.races.verdict import OK, Verdict, judge
from models.races.watching import Windows
from models.xen.abi import profile_names as xen_names
from sim.distributions import Exponential
from sim.effects import Activity
from sim.environment import Deadlock
from sim.explore.few_switches import explore_few_switches
from sim.explore.program import Program
from sim.metrics import ACCOUNTS, Accounts
from sim.stepwise import after_every_step
from sim.streams import Streams
from sim.timed import Price, Simulation

PREFIX = "races/"
RUNS_SHARE = 20
"""Where not all orders could be tried: one run on the clock for so many tries."""
MOST_VCPUS = 64
ROUNDS = 10
"""How often the actors go round in one run, unless somebody asks for another number."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What ``--set`` can change of a race."""

    fix: Literal["on", "off"] = "on"
    vcpus: Annotated[int, msgspec.Meta(ge=1, le=MOST_VCPUS)] | None = None
    """None: as many as the race takes."""
    xen: str = "4.17"
    profile: str = "modern-2023"
    gap: str | None = None
    """The mean pause of the other actors between two attempts (exponential)."""
    rounds: Annotated[int, msgspec.Meta(ge=2, le=10_000)] | None = None
    """How often the actor that sets the pace goes round in one trial."""
    tries: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 600
    """Executions at most, until a failure is found."""

    @property
    def gap_ns(self) -> float:
        """The mean pause in ns."""
        assert self.gap is not None
        return parse_duration(self.gap)

    def filled_in(self, race: Race) -> "Settings":
        """With the race's own values for what nobody has set."""
        return msgspec.structs.replace(
            self,
            vcpus=race.vcpus if self.vcpus is None else self.vcpus,
            gap=race.gap if self.gap is None else self.gap,
            rounds=(race.rounds or ROUNDS) if self.rounds is None else self.rounds,
        )


def race_named(name: str) -> Race:
    """The race with this id, which may have the prefix ``races/``.

    Raises:
        InputError: there is none.
    """
    bare = name.removeprefix(PREFIX)
    race = find_race(bare)
    if race is None:
        raise InputError(f"{name}: no such race; {offer(bare.upper(), list(RACES))}")
    return race


def settings_of(race: Race, written: Iterable[str]) -> Settings:
    """The settings that ``--set key=value`` has made.

    Raises:
        InputError: a key or a value that a race does not have.
    """
    values: dict[str, Any] = {}
    for setting in written:
        key, equals, text = setting.partition("=")
        if not equals:
            raise InputError(f"--set {setting}: write it as key=value, for instance fix=off")
        if key not in Settings.__struct_fields__:
            known = Settings.__struct_fields__
            raise InputError(f"--set {setting}: a race has no such key; {offer(key, known)}")
        if key in ("vcpus", "rounds", "tries"):
            if not text.isdecimal():
                raise InputError(f"--set {setting}: {key} is a whole number")
            values[key] = int(text)
        else:
            values[key] = text
    try:
        settings = msgspec.convert(values, Settings).filled_in(race)
    except msgspec.ValidationError as error:
        raise InputError(f"{race.id}: {error}") from error
    if settings.vcpus is not None and settings.vcpus < race.vcpus:
        raise InputError(f"vcpus = {settings.vcpus}: {race.id} takes {race.vcpus} at least")
    if settings.xen not in xen_names():
        raise InputError(f"xen = {settings.xen!r} is unknown; {offer(settings.xen, xen_names())}")
    try:
        load_profile(settings.profile)
    except ProfileError as error:
        raise InputError(f"profile: {error}") from error
    try:
        gap_ns = settings.gap_ns
    except ValueError as error:
        raise InputError(f"gap = {settings.gap!r} {error}") from error
    if gap_ns < 1:
        raise InputError(f"gap = {settings.gap!r} is too short; 1ns at least")
    return settings


# -- single executions ---------------------------------------------------------------------------


class Timed:
    """One execution on the clock, and what came of it."""

    def __init__(
        self, race: Race, settings: Settings, *, seed: int, replication: int, measure: bool
    ) -> None:
        self.stage = _stage(race, settings, settings.rounds or ROUNDS)
        self.windows: Windows | None = None
        stage = self.stage
        self.simulation = Simulation(_table(settings), Streams(seed, replication))
        activities = race.actors_on(stage)
        if measure and race.window is not None:
            is_open = race.window
            self.windows = Windows(lambda: is_open(stage))
            self.simulation.probe = self.windows
            look = self.windows.look
            activities = [after_every_step(activity, look) for activity in activities]
        for activity in activities:
            self.simulation.start(activity)
        failure: BaseException | None = None
        try:
            self.simulation.run()
        except (GuestCrash, Deadlock) as stopped:
            failure = stopped
        self.failure = failure
        self.time_ns = self.simulation.time_ns
        if self.windows is not None:
            self.windows.close(self.time_ns)
        self.verdict = judge(race, stage, failure)


def trial(race: Race, settings: Settings, seed: int, replication: int) -> Trial:
    """One run of the race's workload, for its odds."""
    run = Timed(race, settings, seed=seed, replication=replication, measure=True)
    hit = run.verdict.outcome != "ok"
    return Trial(
        hit=hit,
        opportunities=max(run.stage.opportunities, int(hit)),
        time_ns=max(run.time_ns, 1),
        near_misses=max(run.stage.near_misses, int(hit)),
        window_ns=() if run.windows is None else tuple(run.windows.lengths_ns),
    )


def _stage(race: Race, settings: Settings, rounds: int) -> Stage:
    vcpus = race.vcpus if settings.vcpus is None else settings.vcpus
    return fresh(race, fix=settings.fix == "on", vcpus=vcpus, xen=settings.xen, rounds=rounds)


def _table(settings: Settings) -> dict[str, Price]:
    return prices(load_profile(settings.profile)) | {GAP.cost: Price(Exponential(settings.gap_ns))}


# -- the search for a failure --------------------------------------------------------------------


def run_race(race: Race, settings: Settings, *, seed: int) -> dict[str, Any]:
    """Look for a failure within the budget of tries; the run record, and what was tried."""
    if race.search == "seeds":
        record = _by_seeds(race, settings, seed, settings.tries)
    else:
        record = _by_orders(race, settings)
        if record["verdict"] is OK and record["all_orders_with_switches"] < race.switches:
            # The budget did not suffice for all of them: some runs on the clock beside it.
            runs = max(1, settings.tries // RUNS_SHARE)
            by_seeds = _by_seeds(race, settings, seed, runs)
            if by_seeds["verdict"] is OK:
                record["runs_beside"] = runs
            else:
                record = by_seeds
    stage, verdict = record.pop("stage"), record.pop("verdict")
    vcpus = len(stage.kernel.cpus)
    outcome_time_ns = record.pop("time_ns", 0)
    accounts: Accounts = record.pop("accounts", Accounts())
    counters = stage.kernel.xen.counters + stage.kernel.counts
    failure = None if verdict is OK else _failure(verdict, record, outcome_time_ns)
    return {
        "schema": RUN_SCHEMA,
        "scenario": f"{PREFIX}{race.id}",
        "scenario_hash": _hash(race, settings),
        "strategy": "mapped-only-6.1",
        "xen": settings.xen,
        "profile": settings.profile,
        "seed": seed,
        "replication": record.get("replication", 0),
        "outcome": verdict.outcome,
        "failure": failure,
        "time_ns": {
            "total": outcome_time_ns,
            **{account: getattr(accounts, account) for account in ACCOUNTS},
        },
        "counts": call_counts(
            counters, Counter(plain_stores=stage.kernel.plain_stores, mask_lookups=0)
        ),
        "pages": dict.fromkeys(
            ("l1", "l2", "l3", "tables", "reserved", "left_over", "left_read_only"), 0
        ),
        "hazard": dict.fromkeys(("windows", "unreachable", "open_ns_total", "open_ns_max"), 0),
        "xen_counters": nested(counters),
        "race": {
            "id": race.id,
            "title": race.title,
            "kind": race.kind,
            "fix": settings.fix,
            "vcpus": vcpus,
            "hypervisor": dict(race.hypervisor),
            "detector": verdict.detector,
            "detects": None if verdict.detector is None else DETECTORS[verdict.detector],
            "expected": race.with_fix if settings.fix == "on" else race.without_fix,
            "measured": {} if race.measures is None else race.measures(stage),
            **record,
        },
    }


def _hash(race: Race, settings: Settings) -> str:
    """16 hex digits that tell races and their settings apart."""
    content = msgspec.json.encode([race.id, settings])
    return hashlib.sha256(content).hexdigest()[:16]


def _failure(verdict: Verdict, record: dict[str, Any], time_ns: int) -> dict[str, Any]:
    crash = record.pop("crash", None)
    kind = verdict.outcome if crash is None or verdict.outcome != "crash" else crash.kind
    pfn = None if crash is None else crash.pfn
    return {
        "kind": kind,
        "vcpu": record.get("vcpu", 0),
        "time_ns": time_ns,
        "mfn": None,
        "pfn": None if pfn is None else hex(pfn),
        "console": list(verdict.console),
        "guest_console": list(verdict.guest_console),
        "explanation": verdict.explanation,
    }


def _by_orders(race: Race, settings: Settings) -> dict[str, Any]:
    """Orders of steps with one switch, then with two, as far as the budget goes."""
    tried = 0
    stages: list[Stage] = []

    def build() -> list[Activity]:
        stages[:] = [_stage(race, settings, 1)]
        return list(race.actors_on(stages[0]))

    complete = 0
    for switches in range(race.switches + 1):
        orders = explore_few_switches(Program(build, preempts=False), switches)
        left = settings.tries - tried
        for execution in islice(orders, left):
            tried += 1
            failure: BaseException | None = execution.failure
            if execution.deadlock:
                failure = Deadlock(["the vCPUs wait for each other"])
            verdict = judge(race, stages[0], failure)
            if verdict is not OK:
                return {
                    "stage": stages[0],
                    "verdict": verdict,
                    "searched": "orders",
                    "tried": tried,
                    "switches": switches,
                    "schedule": list(execution.schedule),
                    "vcpu": execution.schedule[-1] if execution.schedule else 0,
                    **({"crash": failure} if isinstance(failure, GuestCrash) else {}),
                }
        if tried >= settings.tries and next(orders, None) is not None:
            break
        complete = switches
    return {
        "stage": stages[0],
        "verdict": OK,
        "searched": "orders",
        "tried": tried,
        "all_orders_with_switches": complete,
    }


def _by_seeds(race: Race, settings: Settings, seed: int, tries: int) -> dict[str, Any]:
    """Runs on the clock with different draws."""
    for replication in range(tries):
        run = Timed(race, settings, seed=seed, replication=replication, measure=False)
        if run.verdict is not OK or race.measures is not None or replication == tries - 1:
            break
    accounts = Accounts()
    for vcpu in run.simulation.vcpus:
        accounts.add(vcpu.accounts)
    return {
        "stage": run.stage,
        "verdict": run.verdict,
        "searched": "seeds",
        "tried": replication + 1,
        "replication": replication,
        "time_ns": run.time_ns,
        "accounts": accounts,
        **({"crash": run.failure} if isinstance(run.failure, GuestCrash) else {}),
    }


def odds_record(race: Race, settings: Settings, known: Odds) -> dict[str, Any]:
    """The answer of ``odds`` as one document."""
    return {
        "schema": "pinlab.odds/1",
        "race": race.id,
        "title": race.title,
        "opportunity": race.opportunity,
        "settings": {
            "fix": settings.fix,
            "vcpus": race.vcpus if settings.vcpus is None else settings.vcpus,
            "xen": settings.xen,
            "profile": settings.profile,
            "gap_ns": settings.gap_ns,
            "rounds": settings.rounds,
        },
        **known.record(),
    }


def race_items() -> list[dict[str, Any]]:
    """The catalogue as plain data."""
    return [
        {
            "name": race.id,
            "kind": race.kind,
            "summary": race.title,
            "actors": list(race.actors),
            "vcpus": race.vcpus,
            "fix": {
                "what": race.fix.what,
                "commits": list(race.fix.commits),
                "switch": race.fix.switch,
                "side": race.fix.side,
            },
            "hypervisor": dict(race.hypervisor),
            "detectors": {detector: DETECTORS[detector] for detector in race.detectors},
            "without_fix": race.without_fix,
            "with_fix": race.with_fix,
            "story": race.story,
            "limits": race.limits,
        }
        for race in RACES.values()
    ]
