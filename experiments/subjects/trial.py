"""Runs of a race on the clock, and trials for its odds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from experiments.record.observer import Observer, Snapshot
from experiments.record.record import Times, times_of
from experiments.record.trial import Exposure, Trial
from experiments.subjects.clock import Pricing, followed, simulation_of
from experiments.subjects.on_clock import Asked, checked
from experiments.subjects.race_settings import ROUNDS, Settings
from models.linux.crash import GuestCrash
from models.profiles.prices import prices
from models.races.arrivals import Arrivals, arrivals_of
from models.races.catalogue.index import RACES
from models.races.load import OTHER_DOMAIN, STRETCH_NS, computing
from models.races.race import GAP, Race, Stage
from models.races.seen import Seen
from models.races.stages.stage import fresh
from models.races.verdict import judge
from models.races.watching import Attempts, Windows
from sim.distributions import Constant, Distribution, Exponential
from sim.effects import Activity
from sim.environment import Deadlock
from sim.metrics import Accounts
from sim.streams import Streams
from sim.timed import Price
from sim.vcpu.sharing import could_go_on, idle_activity

_DRAWS, _MEANS = 4096, 64
_PATIENCE_NS, _PATIENCE_GAPS = 1_000_000_000, 1_000

Values = NDArray[np.float64]


class Timed:
    """One execution on the clock, and what came of it."""

    def __init__(
        self,
        race: Race,
        settings: Settings,
        asked: Asked,
        *,
        measure: bool = False,
        slower: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """Run it.

        ``measure``: keep the windows, for the odds; the hypercalls cannot be logged then.
        ``slower``: costs that are so many times as long, whatever the profile allows.

        Raises:
            InvariantViolation: the machine is inconsistent, and that was to be checked.
        """
        self.stage = stage = stage_of(race, settings, settings.rounds or ROUNDS)
        xen = stage.kernel.xen
        xen.tells_calls = asked.log is not None
        self._table = price_table(settings)
        for cost, times in slower.items():
            mean = self._table[cost].distribution.mean
            self._table[cost] = replace(self._table[cost], distribution=Constant(mean * times))
        assert settings.pcpus is not None
        self.simulation = simulation_of(
            xen,
            Pricing(settings.priced, self._table, settings.scheduler),
            asked.streams,
            pcpus=settings.pcpus,
            every_event=asked.every_event,
            others=settings.load,
        )
        self.arrivals: Arrivals | None = None
        activities = race.actors_on(stage)
        self._patience_ns = max(_PATIENCE_NS, _PATIENCE_GAPS * settings.gap_ns)
        self._opportunities, self._latest_ns = 0, 0
        self.windows = self._probe(race, settings) if measure else None
        activities = self._watched(activities)
        if asked.log is not None:
            assert not measure
            self.simulation.probe = Observer(_nothing_measured, asked.log)
        if asked.follower is not None:
            activities = followed(self.simulation, activities, asked.follower)
        checker = None
        if asked.check:
            checker, activities = checked(xen, activities)
        self.actors = [self.simulation.start(activity) for activity in activities]
        if settings.shares_pcpus:
            self._start_others(settings)
        failure: BaseException | None = None
        try:
            self.simulation.run()
        except (GuestCrash, Deadlock) as stopped:
            failure = stopped
        self.failure = failure
        self.time_ns = self.simulation.time_ns
        if self.simulation.failure is None:
            # Others look from time to time whether they are still wanted.
            self.time_ns = max(vcpu.local_ns for vcpu in self.actors)
        if self.windows is not None:
            self.windows.close(self.time_ns)
        self.verdict = judge(race, stage, failure)
        if checker is not None:
            checker.look()

    def times(self) -> Times:
        """Where the time of the guest's vCPUs went; those without a part are idle."""
        cpus = len(self.stage.kernel.cpus)
        by_vcpu = [vcpu.accounts_at(self.time_ns) for vcpu in self.simulation.vcpus[:cpus]]
        idle = [Accounts(idle=self.time_ns)] * (cpus - len(by_vcpu))
        return times_of(self.time_ns, [*by_vcpu, *idle])

    def _probe(self, race: Race, settings: Settings) -> Windows | None:
        """What keeps the race's windows, and where it is known how, the attempts to meet them."""
        if race.window is None:
            return None
        stage = self.stage
        opened, unchanged = _looks(race, stage)
        self.arrivals, _ = arrivals_of(race, fix=stage.fix, shared=settings.shares_pcpus)
        if self.arrivals is None:
            return Windows(opened, unchanged)
        meets = partial(self.arrivals.meets, stage)
        return Attempts(opened, unchanged, meets=meets, held_up=self._held_up)

    def _watched(self, activities: Sequence[Activity]) -> Sequence[Activity]:
        windows = self.simulation.probe = self.windows
        if windows is None:
            return activities
        if isinstance(windows, Attempts) and self.arrivals is not None:
            first = self.arrivals.first
            begun = [windows.attempting(activity) for activity in activities[first:]]
            activities = [*activities[:first], *begun]
        self.simulation.look = windows.look
        return activities

    def _start_others(self, settings: Settings) -> None:
        """The guest's vCPUs without a part, which are idle, and those of other domains."""
        for _ in range(len(self.stage.kernel.cpus) - len(self.actors)):
            self.simulation.start(idle_activity())
        for _ in range(settings.load):
            self.simulation.start(computing(self._over))

    def _over(self) -> bool:
        """Can no actor do anything but wait for another, or has none come to anything for long?

        Slices that follow each other in step can keep a lock from a vCPU for ever: its holder is
        off whenever the vCPU is on. Then the other domains have to give way, as they do when they
        idle.
        """
        if not self.simulation.in_flight and not any(map(could_go_on, self.actors)):
            return True
        now_ns = self.simulation.env.now_ns
        if self.stage.opportunities != self._opportunities:
            self._opportunities, self._latest_ns = self.stage.opportunities, now_ns
        return now_ns - self._latest_ns > self._patience_ns

    # -- for the time average ------------------------------------------------------------------

    def _held_up(self, number: int) -> int:
        """How long interrupts have held an actor up so far."""
        assert self.arrivals is not None
        return self.actors[number].accounts.by_cost.get(self.arrivals.held_up_by, 0)

    def exposure(self, gap_ns: float) -> Exposure | None:
        """The hits to be expected of attempts that begin in an open window; None: not known."""
        arrivals = self.arrivals
        windows = self.windows
        if arrivals is None or not isinstance(windows, Attempts):
            return None
        once = self._table[arrivals.takes].distribution
        takes = {work: _values_of(once, work) for work in {met.work for met in windows.met}}
        expected_ns = 0.0
        for met in windows.met:
            takes_ns = takes[met.work]
            # Who begins at most so late is done before the window closes.
            in_time_ns = np.clip(met.left_ns - takes_ns, 0, met.rested_ns)
            expected_ns += float(in_time_ns.mean())
        return Exposure(expected_ns / gap_ns, int(bool(windows.began_before)))


def _nothing_measured(_: int) -> Snapshot:
    raise AssertionError("a race has no phase that is measured")


def _looks(race: Race, stage: Stage) -> tuple[Callable[[], bool], Callable[[], bool]]:
    """Whether the race's window is open, and whether all that this has read is as it was."""
    look, window = race.window_seen, race.window
    assert window is not None
    if look is None:
        return partial(window, stage), bool
    seen = Seen(stage.kernel.frames)

    def is_open() -> bool:
        seen.forget()
        return look(stage, seen)

    return is_open, seen.stands


def trial(race: Race, settings: Settings, seed: int, replication: int) -> Trial:
    """One run of the race's workload, for its odds."""
    run = Timed(race, settings, Asked(seed=seed, replication=replication), measure=True)
    hit = run.verdict.outcome != "ok"
    return Trial(
        hit=hit,
        opportunities=max(run.stage.opportunities, int(hit)),
        time_ns=max(run.time_ns, 1),
        near_misses=max(run.stage.near_misses, int(hit)),
        window_ns=() if run.windows is None else tuple(run.windows.lengths_ns),
        exposure=run.exposure(settings.gap_ns),
    )


def trial_by_name(race: str, settings: Settings, seed: int, replication: int) -> Trial:
    """The same of a race's id, for processes that cannot be sent the race itself."""
    return trial(RACES[race], settings, seed, replication)


def stage_of(race: Race, settings: Settings, rounds: int) -> Stage:
    """A stage as these settings want it."""
    vcpus = race.vcpus if settings.vcpus is None else settings.vcpus
    return fresh(
        race,
        fix=settings.fix == "on",
        vcpus=vcpus,
        xen=settings.xen,
        rounds=rounds,
        pcpus=settings.pcpus,
        batch=settings.batch,
    )


def price_table(settings: Settings) -> dict[str, Price]:
    """The profile's prices, and those of what only a race has."""
    return prices(settings.priced) | {
        GAP.cost: Price(Exponential(settings.gap_ns)),
        OTHER_DOMAIN.cost: Price(Constant(STRETCH_NS)),
    }


def _values_of(once: Distribution, times: int) -> Values:
    """A few values that stand for so many draws together: means of parts of many sorted ones."""
    bits = Streams(0).bits("values that stand for many draws")
    draws = np.empty((times, _DRAWS), np.int64)
    fill = once.drawn_from(bits)
    for single in draws:
        fill(single)
    means: Values = np.sort(draws.sum(axis=0)).reshape(_MEANS, -1).mean(axis=1)
    return np.ldexp(means, -once.fraction_bits)
