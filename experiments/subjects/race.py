"""Races of the catalogue: the search for a failure, runs on the clock, and the records of both."""

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import msgspec

from experiments.errors import InputError
from experiments.record.counting import call_counts, nested
from experiments.record.record import Failure, RaceSearch, Record, Times
from experiments.record.trial import Trial
from experiments.subjects.names import PREFIX
from experiments.subjects.on_clock import Asked
from experiments.subjects.race_orders import ExploredRace
from experiments.subjects.race_settings import Settings
from experiments.subjects.subject import Subject
from experiments.subjects.trial import Timed, trial
from models.linux.crash import GuestCrash
from models.races.catalogue.index import RACES
from models.races.race import DETECTORS, Race, Stage
from models.races.verdict import OK, Verdict
from sim.explore.attempts import taped
from sim.explore.program import Finding
from sim.explore.searches.few_switches import explore_few_switches

RUNS_SHARE = 20
"""Where not all orders could be tried: one run on the clock for so many tries."""


class RaceSubject(Subject):
    """A race of the catalogue, with its settings."""

    modules: tuple[str, ...] = (__name__,)

    def __init__(self, race: Race, settings: Settings) -> None:
        self.race = race
        self.settings = settings

    @property
    def kind(self) -> str:
        """As in ``workload.kind``."""
        return "race"

    @property
    def name(self) -> str:
        """With its prefix, as records have it."""
        return f"{PREFIX}{self.race.id}"

    @property
    def document(self) -> dict[str, Any]:
        """Its id and its settings."""
        settings = msgspec.to_builtins(self.settings)
        return {"kind": self.kind, "race": self.race.id, "settings": settings}

    @property
    def told(self) -> dict[str, str]:
        """What the lines of a log say of it."""
        return {"race": self.race.id, "fix": self.settings.fix}

    def replayed(self, asked: Asked, record: Record) -> dict[str, Any]:
        """What a file says of a run on the clock, so that it can be made again."""
        return self.document | {
            "seed": asked.seed,
            "replication": record.replication,
            "every_event": asked.every_event,
        }

    def finding(self, record: Record) -> Finding | None:
        """What a run that is made again has to come to."""
        assert record.race is not None
        failure = record.failure
        return None if failure is None else Finding(f"{record.race.detector}", failure.explanation)

    def search(self, *, seed: int) -> Record:
        """Look for a failure within the budget of tries: among orders of steps, then on the clock.

        The record is of the run that fails, or of the last, and says what was tried.
        """
        race, settings = self.race, self.settings
        if race.search == "seeds" or settings.shares_pcpus:
            # Of the orders of steps, pCPUs that are shared leave only some.
            return self.on_clock(Asked(seed=seed))
        found = _by_orders(race, settings)
        if found.verdict is OK and found.said["all_orders_with_switches"] < race.switches:
            # The budget did not suffice for all of them: some runs on the clock beside it.
            runs = max(1, settings.tries // RUNS_SHARE)
            by_seeds = _by_seeds(race, settings, Asked(seed=seed), runs)
            if by_seeds.verdict is not OK:
                return self._record(by_seeds, seed)
            found = replace(found, said=found.said | {"runs_beside": runs})
        return self._record(found, seed)

    def on_clock(self, asked: Asked) -> Record:
        """Run it on the clock with other draws until it fails, within the budget of tries.

        The record is of the run that fails, or of the last; so is the log.

        Raises:
            InvariantViolation: the machine is inconsistent, and that was to be checked.
        """
        found = _by_seeds(self.race, self.settings, asked, self.settings.tries)
        return self._record(found, asked.seed)

    def orders(self) -> ExploredRace:
        """The race as a program whose orders can be tried.

        Raises:
            InputError: its vCPUs share pCPUs.
        """
        if self.settings.shares_pcpus:
            raise InputError(
                f"{self.name}: all orders are tried as if each vCPU had a pCPU of its own; leave "
                "pcpus and load"
            )
        return ExploredRace(self.race, self.settings)

    def check_trials(self) -> None:
        """Raise InputError unless it has a workload on the clock."""
        if not self.race.opportunity:
            raise InputError(
                f"{self.race.id} is of kind {self.race.kind} and has no workload on the clock; its "
                f"orders are looked through by: pinlab run {self.name}"
            )

    def trial(self, seed: int, replication: int) -> Trial:
        """One run of its workload, for its odds."""
        return trial(self.race, self.settings, seed, replication)

    def _record(self, found: "_Found", seed: int) -> Record:
        race, settings, verdict = self.race, self.settings, found.verdict
        kernel = found.stage.kernel
        counters = kernel.xen.counters + kernel.counts
        return Record(
            scenario=self.name,
            scenario_hash=_hash(race, settings),
            strategy="mapped-only-6.1",
            xen=settings.xen,
            profile=settings.profile,
            seed=seed,
            replication=found.said.get("replication", 0),
            outcome=verdict.outcome,
            failure=None if verdict is OK else _failure(found),
            time_ns=found.times,
            counts=call_counts(counters, Counter(plain_stores=kernel.plain_stores)),
            time_by_cost_ns=found.by_cost_ns,
            xen_counters=nested(counters),
            workload=self.kind,
            race=RaceSearch(
                id=race.id,
                title=race.title,
                kind=race.kind,
                fix=settings.fix,
                vcpus=len(kernel.cpus),
                hypervisor=dict(race.hypervisor),
                detector=verdict.detector,
                detects=None if verdict.detector is None else DETECTORS[verdict.detector],
                expected=race.with_fix if settings.fix == "on" else race.without_fix,
                measured={} if race.measures is None else dict(race.measures(found.stage)),
                **found.said,
            ),
        )


@dataclass(frozen=True)
class _Found:
    """What a search came to: the execution that fails, or the last."""

    stage: Stage
    verdict: Verdict
    crash: BaseException | None
    said: dict[str, Any]
    """What was tried, as the record has it."""
    vcpu: int = 0
    times: Times | None = None
    by_cost_ns: dict[str, int] | None = None


def _hash(race: Race, settings: Settings) -> str:
    """16 hex digits that tell races and their settings apart."""
    content = msgspec.json.encode([race.id, settings])
    return hashlib.sha256(content).hexdigest()[:16]


def _failure(found: _Found) -> Failure:
    verdict = found.verdict
    crash = found.crash if isinstance(found.crash, GuestCrash) else None
    pfn = None if crash is None else crash.pfn
    assert verdict.outcome != "ok"
    return Failure(
        kind=verdict.outcome if crash is None or verdict.outcome != "crash" else crash.kind,
        vcpu=found.vcpu,
        time_ns=None if found.times is None else found.times.total,
        pfn=None if pfn is None else hex(pfn),
        console=list(verdict.console),
        guest_console=list(verdict.guest_console),
        explanation=verdict.explanation,
    )


def _by_orders(race: Race, settings: Settings) -> _Found:
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
                return _Found(
                    explored.stage,
                    verdict,
                    execution.failure,
                    {
                        "searched": "orders",
                        "tried": tried,
                        "switches": switches,
                        "schedule": list(execution.schedule),
                        "tape": str(program.tape),
                    },
                    vcpu=execution.schedule[-1] if execution.schedule else 0,
                )
        if tried >= settings.tries and next(orders, None) is not None:
            break
        complete = switches
    said = {"searched": "orders", "tried": tried, "all_orders_with_switches": complete}
    return _Found(explored.stage, OK, None, said)


def _by_seeds(race: Race, settings: Settings, asked: Asked, tries: int) -> _Found:
    """Runs on the clock with different draws; the last of them is logged and followed."""
    unseen = replace(asked, log=None, follower=None)
    for replication in range(tries):
        run = Timed(race, settings, replace(unseen, replication=replication))
        if run.verdict is not OK or race.measures is not None or replication == tries - 1:
            break
    if asked.log is not None or asked.follower is not None:
        run = Timed(race, settings, replace(asked, replication=replication))
    by_cost = Counter[str]()
    for vcpu in run.simulation.vcpus[: len(run.stage.kernel.cpus)]:
        by_cost.update(vcpu.accounts.by_cost)
    return _Found(
        run.stage,
        run.verdict,
        run.failure,
        {"searched": "seeds", "tried": replication + 1, "replication": replication},
        times=run.times(),
        by_cost_ns=dict(sorted(by_cost.items())),
    )


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
