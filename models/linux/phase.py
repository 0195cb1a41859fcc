"""What is measured of a run: the notes at which it begins and ends."""

from typing import NamedTuple

from sim.effects import Boundary


class Phase(NamedTuple):
    """The part of the run that is measured begins or ends; phases may nest."""

    begins: bool


PHASE_BEGINS = Boundary(Phase(begins=True))
PHASE_ENDS = Boundary(Phase(begins=False))
