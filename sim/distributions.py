"""The distributions that costs and random draws follow."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Distribution(Protocol):
    """A positive random quantity that can be drawn in blocks."""

    @property
    def mean(self) -> float:
        """The expected value, in the quantity's own unit."""

    def block(self, rng: "np.random.Generator", size: int) -> "NDArray[np.float64]":
        """The next ``size`` draws, float64."""


@dataclass(frozen=True)
class Constant:
    """Always the same value; nothing is drawn."""

    value: float

    @property
    def mean(self) -> float:
        """The value itself."""
        return self.value

    def block(self, rng: "np.random.Generator", size: int) -> "NDArray[np.float64]":  # noqa: ARG002
        """``size`` copies of the value."""
        import numpy as np

        return np.full(size, self.value, np.float64)


@dataclass(frozen=True)
class Lognormal:
    """Lognormal with the given mean; ``sigma`` is the deviation of the logarithm."""

    mean: float
    sigma: float

    def block(self, rng: "np.random.Generator", size: int) -> "NDArray[np.float64]":
        """The next ``size`` draws."""
        import numpy as np

        # Single precision: a draw stands for a cost known to a factor of two, and a validation
        # of one table takes 512 of them.
        normal = rng.standard_normal(size, dtype=np.float32)
        normal *= self.sigma
        normal += math.log(self.mean) - 0.5 * self.sigma * self.sigma
        np.exp(normal, out=normal)
        return normal.astype(np.float64)


@dataclass(frozen=True)
class Exponential:
    """Exponential with the given mean: the gap between arrivals of a Poisson process."""

    mean: float

    def block(self, rng: "np.random.Generator", size: int) -> "NDArray[np.float64]":
        """The next ``size`` draws."""
        return rng.standard_exponential(size) * self.mean


@dataclass(frozen=True)
class Uniform:
    """Uniform on [low, high)."""

    low: float
    high: float

    @property
    def mean(self) -> float:
        """The middle of the range."""
        return 0.5 * (self.low + self.high)

    def block(self, rng: "np.random.Generator", size: int) -> "NDArray[np.float64]":
        """The next ``size`` draws."""
        return rng.uniform(self.low, self.high, size)
