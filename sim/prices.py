"""What named work takes on the clock."""

from dataclasses import dataclass

from sim.distributions import Distribution


@dataclass(frozen=True)
class Price:
    """What a named cost takes: a distribution of nanoseconds, and where it is booked.

    ``account`` is a heading of :class:`sim.metrics.Accounts`; None books on the mode in
    which it is spent.
    """

    distribution: Distribution
    account: str | None = None
