"""What is explored: activities in a fresh world, and how to tell what came of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from sim.effects import Activity
from sim.explore.cpu import Cpu, Seen
from sim.explore.execution import NOBODY, Execution, Known, Onlooker, Scheduler, execute
from sim.footprint import Recorder


class Finding(NamedTuple):
    """What an execution ended with that ought not to be."""

    kind: str
    """A short name; findings of one kind are taken for the same."""
    message: str


def _judge(execution: Execution) -> Finding | None:
    """An exception or a deadlock is a finding, and nothing else."""
    if execution.failure is not None:
        return Finding(type(execution.failure).__name__, str(execution.failure))
    if execution.deadlock:
        return Finding("deadlock", "nobody can go on")
    return None


@dataclass(frozen=True)
class Program:
    """A program whose orders can be tried one after the other."""

    begin: Callable[[], Sequence[Activity]]
    """Makes the world as it was and the activities, one a vCPU."""
    judge: Callable[[Execution], Finding | None] = _judge
    """Called at the end of an execution, while the world is as it left it."""
    onlooker: Onlooker = NOBODY
    recorder: Recorder | None = None
    """The one that the world's state reports to; None: footprints are not known."""
    preempts: bool = True
    """The hypervisor's checks for preemption are answered both ways."""
    at_most: int | None = None
    """So many steps an execution, or else the program is taken for one without an end."""

    def run(
        self,
        scheduler: Scheduler,
        *,
        goes_on: bool = False,
        seen: Callable[[Seen], None] | None = None,
        before: Callable[[Cpu], None] | None = None,
        known: Sequence[Known] = (),
    ) -> Execution:
        """One execution, as the scheduler decides it; see :func:`sim.explore.execution.execute`.

        ``seen`` and ``before`` look on beside the program's own onlooker.
        """
        onlooker = self.onlooker
        if seen is not None or before is not None:
            onlooker = replace(onlooker, seen=seen, before=before)
        return execute(
            self.begin(),
            scheduler,
            onlooker,
            self.recorder,
            preempts=self.preempts,
            goes_on=goes_on,
            at_most=self.at_most,
            known=known,
        )
