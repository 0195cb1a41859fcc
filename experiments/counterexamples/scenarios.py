"""Runs of scenarios on the clock, kept in a file and made again."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import msgspec

from experiments.errors import InputError
from experiments.scenario.policies import composed
from experiments.scenario.scenario import Scenario, validated
from experiments.subjects import boot as runner
from sim.explore.program import Finding
from sim.recording import Follower


@dataclass(frozen=True)
class ScenarioRun:
    """A scenario, a strategy, and what decides the draws."""

    written: Mapping[str, Any]
    """The scenario as a file has it, after overrides."""
    scenario: Scenario
    strategy: str
    seed: int
    every_event: bool = False

    @property
    def title(self) -> str:
        """What is run, for people."""
        return f"{self.scenario.name} with {self.strategy}, seed {self.seed}"

    @property
    def document(self) -> dict[str, Any]:
        """What a file says of it."""
        return {
            "kind": "scenario",
            "scenario": self.written,
            "strategy": self.strategy,
            "seed": self.seed,
            "every_event": self.every_event,
        }

    def record(self, follower: Follower) -> dict[str, Any]:
        """Run it with a follower: the run record."""
        return runner.run(
            self.scenario,
            self.strategy,
            seed=self.seed,
            every_event=self.every_event,
            follower=follower,
        )

    def run(self, follower: Follower) -> Finding | None:
        """Run it with a follower; what went wrong."""
        return finding_of(self.record(follower))


def finding_of(record: Mapping[str, Any]) -> Finding | None:
    """The failure of a run record, if it has one."""
    failure = record["failure"]
    return None if failure is None else Finding(failure["kind"], failure["explanation"])


def timed_scenario(document: Mapping[str, Any]) -> ScenarioRun:
    """The run that a file speaks of.

    Raises:
        InputError: the scenario is none, or the strategy is not known.
    """
    try:
        written = msgspec.convert(document.get("scenario"), dict[str, Any])
        seed = msgspec.convert(document.get("seed", 0), int)
        strategy = msgspec.convert(document.get("strategy"), str)
        every_event = msgspec.convert(document.get("every_event", False), bool)
    except msgspec.ValidationError as error:
        raise InputError(f"program: {error}") from error
    return scenario_run(written, strategy, seed=seed, every_event=every_event)


def scenario_run(
    written: Mapping[str, Any], strategy: str | None, *, seed: int, every_event: bool
) -> ScenarioRun:
    """A run of the scenario that this text describes; ``strategy`` in place of its own.

    Raises:
        InputError: the scenario is none, or the strategy is not known.
    """
    scenario = validated(deepcopy(dict(written)))  # its durations are replaced
    if scenario.sweep:
        raise InputError(f"{scenario.name}: describes a sweep, and this command runs one machine")
    chosen = scenario.guest.strategy if strategy is None else strategy
    composed(chosen, scenario.strategy)
    return ScenarioRun(written, scenario, chosen, seed, every_event)
