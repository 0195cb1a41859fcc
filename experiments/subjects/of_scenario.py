"""What the subjects have in common that a scenario describes: a guest under a strategy."""

from collections.abc import Mapping
from typing import Any

from experiments.record.outcome import Outcome
from experiments.record.record import Failure, Record
from experiments.scenario.policies import composed
from experiments.scenario.scenario import Scenario, scenario_hash
from experiments.subjects.on_clock import Asked, Stopped
from experiments.subjects.subject import Subject
from models.linux.boot.strategy import Strategy
from models.strategies.recombine import parts_of
from models.xen.gate import Xen
from models.xen.versions.panic import HostCrash


class OfScenario(Subject):
    """A guest that boots under a strategy, whatever it does then."""

    def __init__(
        self,
        scenario: Scenario,
        strategy: str | Strategy | None = None,
        *,
        written: Mapping[str, Any] | None = None,
    ) -> None:
        """``strategy``: in place of the scenario's own; ``written``: what that was made from.

        Raises:
            InputError: there is no such strategy, or its parts make no sense.
        """
        self.scenario = scenario
        given = scenario.guest.strategy if strategy is None else strategy
        self.strategy = given if isinstance(given, str) else given.name
        self.plan = composed(given, scenario.strategy)
        self.written = {} if written is None else written

    @property
    def name(self) -> str:
        """The scenario's."""
        return self.scenario.name

    @property
    def title(self) -> str:
        """What is run, for people."""
        return f"{self.name} with {self.strategy}"

    @property
    def document(self) -> dict[str, Any]:
        """The scenario as it was written, after overrides, and the strategy."""
        return {"kind": "scenario", "scenario": dict(self.written), "strategy": self.strategy}

    @property
    def told(self) -> dict[str, str]:
        """What the lines of a log say of it."""
        return {"scenario": self.name, "strategy": self.strategy}

    @property
    def expected(self) -> Outcome | None:
        """What the scenario says; None: nothing."""
        return self.scenario.expect.outcome if self.scenario.expect else None

    def replayed(self, asked: Asked, record: Record) -> dict[str, Any]:  # noqa: ARG002 - races need it
        """What a file says of a run on the clock, so that it can be made again."""
        return self.document | {"seed": asked.seed, "every_event": asked.every_event}

    def about(self, asked: Asked) -> dict[str, Any]:
        """What a record says of what was run."""
        scenario = self.scenario
        return {
            "scenario": scenario.name,
            "scenario_hash": scenario_hash(scenario),
            "strategy": self.plan.name,
            "policies": parts_of(self.plan),
            "recombined": dict(scenario.strategy),
            "xen": scenario.machine.xen,
            "profile": scenario.machine.profile,
            "seed": asked.seed,
            "replication": asked.replication,
            "workload": self.kind,
        }


def blameless(stopped: Stopped, xen: Xen) -> Failure:
    """The failure of a run that ended without a page to blame."""
    crash, time_ns = stopped
    if isinstance(crash, HostCrash):
        return Failure(
            kind="bug",
            time_ns=time_ns,
            console=[line.text for line in xen.console.lines],
            explanation=f"the hypervisor has stopped: {crash}.",
        )
    return Failure(kind="deadlock", time_ns=time_ns, explanation=f"nobody can go on: {crash}.")
