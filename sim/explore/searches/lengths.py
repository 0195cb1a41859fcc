"""How long the executions of a program are: what searches by chance have to know beforehand."""

from collections import Counter
from dataclasses import dataclass

from sim.explore.execution import Execution


@dataclass(frozen=True)
class Lengths:
    """The most that was seen; an execution that ended early tells less, never something wrong."""

    steps: tuple[int, ...] = ()
    """The visible steps of each vCPU."""
    longest: int = 0
    """Those of all vCPUs in the longest execution."""

    @property
    def vcpus(self) -> int:
        """How many there are, also those without a visible step."""
        return len(self.steps)

    def after(self, execution: Execution) -> "Lengths":
        """With one more execution looked at."""
        made = Counter(step.vcpu for step in execution.steps)
        before = self.steps or (0,) * len(execution.results)
        return Lengths(
            tuple(max(steps, made[vcpu]) for vcpu, steps in enumerate(before)),
            max(self.longest, len(execution.steps)),
        )
