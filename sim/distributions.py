"""The distributions that costs and random draws follow.

A draw is a whole number of units, of which a power of two make one of the quantity's own unit: sums
are exact then, in whatever order, and the same on every machine.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from sim.bits import Bits

Fill: TypeAlias = "Callable[[NDArray[np.int64]], object]"
"""Fills an array, whose length is a multiple of four, with the next draws."""

_BITS_OF_A_MEAN = 32
_BITS_OF_A_FLOAT = 53
_MOST_FRACTION_BITS = 62


class Distribution(Protocol):
    """A positive random quantity that can be drawn in blocks."""

    @property
    def mean(self) -> float:
        """The expected value, in the quantity's own unit."""

    @property
    def fraction_bits(self) -> int:
        """A draw is in units of 2**-fraction_bits."""

    def drawn_from(self, bits: "Bits") -> Fill:
        """A function that fills arrays with draws, in units, made of the next of these bits."""


@dataclass(frozen=True)
class Constant:
    """Always the same value; nothing is drawn."""

    value: float

    @property
    def mean(self) -> float:
        """The value itself."""
        return self.value

    @property
    def fraction_bits(self) -> int:
        """Enough to have the value exactly, if it is not below 2**-10."""
        return _fraction_bits(self.value, _BITS_OF_A_FLOAT)

    @property
    def units(self) -> int:
        """The value in units."""
        return round(math.ldexp(self.value, self.fraction_bits))

    def drawn_from(self, bits: "Bits") -> Fill:  # noqa: ARG002
        """A function that fills arrays with the value."""
        units = self.units
        return lambda block: block.fill(units)


@dataclass(frozen=True)
class Lognormal:
    """Lognormal with the given mean; ``sigma`` is the deviation of the logarithm.

    A draw is one of 65,536 equally probable values, within 4.32 deviations of the median
    (:func:`sim.quantiles.lognormal`).
    """

    mean: float
    sigma: float

    @property
    def fraction_bits(self) -> int:
        """So many that the mean is more than 2**31 units."""
        return _fraction_bits(self.mean, _BITS_OF_A_MEAN)

    def drawn_from(self, bits: "Bits") -> Fill:
        """A function that fills arrays with the next draws."""
        from sim.quantiles import lognormal

        return _picked(lognormal(self.mean, self.sigma, self.fraction_bits), bits)


@dataclass(frozen=True)
class Exponential:
    """Exponential with the given mean: the gap between arrivals of a Poisson process.

    A draw is one of 65,536 equally probable values, up to 11.8 times the mean.
    """

    mean: float

    @property
    def fraction_bits(self) -> int:
        """So many that the mean is more than 2**31 units."""
        return _fraction_bits(self.mean, _BITS_OF_A_MEAN)

    def drawn_from(self, bits: "Bits") -> Fill:
        """A function that fills arrays with the next draws."""
        from sim.quantiles import exponential

        return _picked(exponential(self.mean, self.fraction_bits), bits)


@dataclass(frozen=True)
class Uniform:
    """Uniform on [low, high)."""

    low: float
    high: float

    @property
    def mean(self) -> float:
        """The middle of the range."""
        return 0.5 * (self.low + self.high)

    @property
    def fraction_bits(self) -> int:
        """So many that the middle is more than 2**31 units."""
        return _fraction_bits(self.mean, _BITS_OF_A_MEAN)

    def drawn_from(self, bits: "Bits") -> Fill:
        """A function that fills arrays with the middles of drawn ones of 2**30 equal parts."""
        low = round(math.ldexp(self.low, self.fraction_bits))
        span = round(math.ldexp(self.high, self.fraction_bits)) - low
        return lambda block: bits.fill_evenly(block, low, span)


def _picked(table: "NDArray[np.int64]", bits: "Bits") -> Fill:
    """A function that fills arrays with entries of a table of 65,536."""

    def fill(block: "NDArray[np.int64]") -> None:
        # An index cannot be too large; with this mode numpy needs no copy in case one is.
        table.take(bits.sixteens(len(block)), out=block, mode="clip")

    return fill


def _fraction_bits(mean: float, bits: int) -> int:
    """So many that a mean is a number of this many bits, if that is possible."""
    return max(0, min(_MOST_FRACTION_BITS, bits - math.frexp(mean)[1]))
