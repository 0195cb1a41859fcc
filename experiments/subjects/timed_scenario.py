"""Runs of scenarios on the clock, kept in a file and made again."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from experiments.errors import InputError
from experiments.subjects.kinds import described
from experiments.subjects.of_scenario import OfScenario
from experiments.subjects.on_clock import Asked
from sim.explore.program import Finding
from sim.recording import Follower


@dataclass(frozen=True)
class TimedScenario:
    """A subject on the clock, and what decides the draws."""

    subject: OfScenario
    seed: int
    every_event: bool = False

    @property
    def title(self) -> str:
        """What is run, for people."""
        return f"{self.subject.title}, seed {self.seed}"

    @property
    def document(self) -> dict[str, Any]:
        """What a file says of it."""
        draws = {"seed": self.seed, "every_event": self.every_event}
        return self.subject.document | draws

    def run(self, follower: Follower) -> Finding | None:
        """Run it with a follower; what went wrong."""
        asked = Asked(seed=self.seed, every_event=self.every_event, follower=follower)
        return self.subject.finding(self.subject.on_clock(asked))


def timed_scenario(document: Mapping[str, Any]) -> TimedScenario:
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
    subject = described(written, strategy)
    if not isinstance(subject, OfScenario):
        raise InputError(f"program.scenario: {subject.name} is no scenario of a guest")
    return TimedScenario(subject, seed, every_event)
