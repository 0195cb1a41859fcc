"""Races of the catalogue: the search for a failure, and the records of it and of their odds."""

import hashlib
from collections import Counter
from itertools import islice
from typing import Any

import msgspec

from experiments.record.record import RUN_SCHEMA, call_counts, nested
from experiments.subjects.names import PREFIX
from experiments.subjects.race_orders import ExploredRace
from experiments.subjects.race_settings import Settings
from experiments.subjects.trial import Timed
from models.linux.crash import GuestCrash
from models.races.catalogue.index import RACES
from models.races.race import DETECTORS, Race
from models.races.verdict import OK, Verdict
from sim.explore.attempts import taped
from sim.explore.searches.few_switches import explore_few_switches
from sim.metrics import ACCOUNTS, Accounts

RUNS_SHARE = 20
"""Where not all orders could be tried: one run on the clock for so many tries."""


def run_race(race: Race, settings: Settings, *, seed: int) -> dict[str, Any]:
    """Look for a failure within the budget of tries; the run record, and what was tried."""
    if race.search == "seeds" or settings.shares_pcpus:
        # Of the orders of steps, pCPUs that are shared leave only some.
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
    explored = ExploredRace(race, settings)
    program = taped(explored.program)
    complete = 0
    for switches in range(race.switches + 1):
        orders = explore_few_switches(program, switches)
        left = settings.tries - tried
        for execution in islice(orders, left):
            tried += 1
            verdict = explored.verdict(execution)
            if verdict is not OK:
                failure = execution.failure
                return {
                    "stage": explored.stage,
                    "verdict": verdict,
                    "searched": "orders",
                    "tried": tried,
                    "switches": switches,
                    "schedule": list(execution.schedule),
                    "tape": str(program.tape),
                    "vcpu": execution.schedule[-1] if execution.schedule else 0,
                    **({"crash": failure} if isinstance(failure, GuestCrash) else {}),
                }
        if tried >= settings.tries and next(orders, None) is not None:
            break
        complete = switches
    return {
        "stage": explored.stage,
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
