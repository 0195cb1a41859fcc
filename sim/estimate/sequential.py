"""Sampling until the answer is as precise as asked for, and no longer.

The sample is looked at after fixed numbers of runs, each a quarter more than the one before.
Whether to go on depends on the counts alone, so sampling can be broken off and taken up again,
or be done by many workers, and ends at the same look with the same answer. Looking again and again
favours samples that seem more precise than they are; with so few looks the intervals hold
the truth nearly as often as they say (a test counts it).
"""

from dataclasses import dataclass

from sim.estimate.intervals import Estimate

FIRST_LOOK = 64
"""Runs before anything is concluded."""


@dataclass(frozen=True)
class Precision:
    """How far the ends of an interval may lie from the estimate.

    ``relative`` is a part of the estimate, ``absolute`` is in its own unit; one of the two. An
    estimate of zero has no relative precision: nothing was seen yet.
    """

    relative: float | None = None
    absolute: float | None = None

    def __post_init__(self) -> None:
        asked = [value for value in (self.relative, self.absolute) if value is not None]
        if len(asked) != 1 or not asked[0] > 0:
            raise ValueError("a precision is one positive number, relative or absolute")

    def reached(self, estimate: Estimate) -> bool:
        """Is neither end of the interval further away?"""
        far = max(estimate.high - estimate.mean, estimate.mean - estimate.low)
        if self.absolute is not None:
            return far <= self.absolute
        assert self.relative is not None
        return far <= self.relative * estimate.mean


def next_look(runs: int, most: int) -> int:
    """After how many runs the sample is looked at next, when it has so many; ``most`` is the last.

    Raises:
        ValueError: ``runs`` is ``most`` or more already.
    """
    if runs >= most:
        raise ValueError(f"{runs} runs are made, and {most} is the most")
    look = FIRST_LOOK
    while look <= runs:
        look += look // 4
    return min(look, most)
