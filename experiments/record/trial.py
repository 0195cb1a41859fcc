"""What one run of a race's workload came to, for its odds."""

from dataclasses import dataclass
from typing import NamedTuple


class Exposure(NamedTuple):
    """What a run says of the odds, whether it hit or not: for the time average."""

    expected_hits: float
    """Of attempts that begin in an open window."""
    other_hits: int
    """By an attempt that had begun before."""


@dataclass(frozen=True)
class Trial:
    """What one run of a race's workload came to. It may end with its first hit."""

    hit: bool
    opportunities: int
    """Chances to hit; for the time average, arrivals of the actor that may find the window open."""
    time_ns: int
    """Simulated time of the workload."""
    near_misses: int = 0
    """Opportunities that the race itself calls close ones."""
    window_ns: tuple[int, ...] = ()
    """How long each window stood open."""
    exposure: Exposure | None = None
    """Where an attempt takes time; None: it is over as it begins, and each opportunity is one."""

    @property
    def open_ns(self) -> int:
        """How much of the time the window was open; windows of one race do not overlap."""
        return sum(self.window_ns)
