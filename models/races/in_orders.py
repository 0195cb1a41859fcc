"""A race as a program whose orders can be tried, with the footprints of what its actors share."""

from collections.abc import Sequence

from models.linux.multicall_buffer import MC_BATCH
from models.races.race import Race, Stage
from models.races.stages.stage import fresh
from models.races.verdict import Verdict, judge
from sim.effects import Activity
from sim.environment import Deadlock
from sim.explore.execution import Execution, Onlooker
from sim.explore.program import Finding, Program
from sim.explore.world.shared import SharedState
from sim.explore.world.snapshot import Snapshot
from sim.footprint import Recorder

LONGEST = 100_000
"""Steps of an execution, or else the race is taken for one that does not end."""
_STATE = ("models.linux", "models.races", "models.xen.state")


class RaceProgram:
    """The race on one stage, which is put back for every execution."""

    def __init__(
        self, race: Race, *, fix: bool, vcpus: int, xen: str, batch: int = MC_BATCH
    ) -> None:
        """Set the stage; ``batch``: entries of a CPU's multicall buffer.

        Raises:
            ValueError: the race takes more vCPUs.
        """
        self.race = race
        self.stage: Stage = fresh(race, fix=fix, vcpus=vcpus, xen=xen, batch=batch)
        recorder = Recorder()
        self.stage.kernel.xen.record(recorder)
        shared = SharedState(recorder, _STATE)
        shared.share(self.stage)
        self._at_failure: Verdict | None = None
        self._before = Snapshot(self.stage, shared.numbers, leave=(recorder, shared))
        self.program = Program(
            self._begin,
            self._judge,
            Onlooker(failed=self._fails),
            recorder=recorder,
            preempts=False,
            at_most=LONGEST,
        )

    def verdict(self, execution: Execution) -> Verdict:
        """What came of the execution that has just been made."""
        if self._at_failure is not None:
            return self._at_failure
        stuck = Deadlock(["the vCPUs wait for each other"]) if execution.deadlock else None
        return judge(self.race, self.stage, stuck)

    def _fails(self, failure: Exception) -> None:
        """What comes of a failure is told while the machine is as it was then."""
        self._at_failure = judge(self.race, self.stage, failure)

    def _begin(self) -> Sequence[Activity]:
        self._before.restore()
        self._at_failure = None
        return self.race.actors_on(self.stage)

    def _judge(self, execution: Execution) -> Finding | None:
        verdict = self.verdict(execution)
        if verdict.detector is None:
            return None
        return Finding(verdict.detector, verdict.explanation)
