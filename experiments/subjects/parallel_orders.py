"""Boots on several vCPUs as programs whose orders can be tried."""

from collections.abc import Hashable, Mapping, Sequence
from copy import deepcopy
from typing import Any

import msgspec

from experiments.errors import InputError
from experiments.scenario.policies import composed
from experiments.scenario.scenario import validated
from experiments.subjects.building import new_guest
from experiments.subjects.crews import activities_of
from models.linux.boot.parallel_boot import lost_regions
from models.linux.crash import GuestCrash
from models.xen.checks import naming
from sim.effects import Activity
from sim.explore.execution import Execution
from sim.explore.program import Finding, Program
from sim.explore.world.shared import SharedState
from sim.explore.world.snapshot import Snapshot
from sim.footprint import Access, Recorder

KIND = "parallel-boot"
_STATE = ("models.linux", "models.strategies", "models.xen.state")
_LONGEST = 1_000_000


class ExploredBoot:
    """A boot of several vCPUs, from a machine that is put back for every execution."""

    def __init__(self, written: Mapping[str, Any], strategy: str | None) -> None:
        """``written``: the scenario as a file has it, after overrides.

        Raises:
            InputError: it is no scenario of this kind, or cannot be built.
        """
        self._written = written
        scenario = self._scenario = validated(deepcopy(dict(written)))
        if scenario.workload.kind != KIND:
            raise InputError(
                f"{scenario.name}: only races and boots of several vCPUs can be explored: "
                f'workload.kind = "{KIND}", not "{scenario.workload.kind}"'
            )
        self.strategy = strategy or scenario.guest.strategy
        plan = composed(self.strategy, scenario.strategy)
        self._guest = guest = new_guest(scenario, plan, vcpus=scenario.guest.vcpus)
        activities_of(scenario, guest)  # whether this strategy can be run so
        guest = self._guest = new_guest(scenario, plan, vcpus=scenario.guest.vcpus)
        recorder = Recorder()
        guest.xen.record(recorder)
        shared = SharedState(recorder, _STATE)
        shared.share(guest)
        self._before = Snapshot(guest, shared.numbers, leave=(recorder, shared))
        self.program = Program(
            self._begin, self._judge, recorder=recorder, preempts=False, at_most=_LONGEST
        )

    @property
    def title(self) -> str:
        """What is explored, for people."""
        vcpus = self._scenario.guest.vcpus
        return f"{self._scenario.name}: {self.strategy} on {vcpus} vCPUs"

    @property
    def document(self) -> dict[str, Any]:
        """What a file says of it, so that it can be made again."""
        return {"kind": KIND, "scenario": dict(self._written), "strategy": self.strategy}

    def told(self, access: Access) -> str:
        """What a step of the last execution did to a word."""
        return naming.told(self._guest.xen, access)

    def operation(self, routines: Sequence[str]) -> str:
        """What the hypervisor does, by its routines, the outermost first."""
        return naming.operation(routines)

    def matters(self, word: Hashable) -> bool:
        """Is it an entry or a type, of which people want to hear?"""
        return naming.says_what_a_page_is(word)

    def window_open(self) -> bool | None:
        """It has no window of its own."""
        return None

    def _begin(self) -> Sequence[Activity]:
        self._before.restore()
        return activities_of(self._scenario, self._guest)

    def _judge(self, execution: Execution) -> Finding | None:
        failure = execution.failure
        if isinstance(failure, GuestCrash):
            return Finding(failure.kind, failure.message)
        if failure is not None:
            raise failure
        if execution.deadlock:
            return Finding("deadlock", "the vCPUs wait for each other")
        guest = self._guest
        if guest.refused:
            return Finding("latent", f"Xen refused {len(guest.refused)} entries of a batch")
        lost = lost_regions(guest)
        if lost:
            return Finding("latent", f"the finished map does not lead to {len(lost)} regions")
        return None


def explored_boot(document: Mapping[str, Any]) -> ExploredBoot:
    """The boot that a file speaks of.

    Raises:
        InputError: the scenario is none, or the strategy is not known.
    """
    try:
        written = msgspec.convert(document.get("scenario"), dict[str, Any])
        strategy = msgspec.convert(document.get("strategy"), str | None)
    except msgspec.ValidationError as error:
        raise InputError(f"program: {error}") from error
    return ExploredBoot(written, strategy)
