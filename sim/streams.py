"""Random streams that are found by name.

A stream's seed comes from the run's seed and the stream's names, never from the order in
which streams are made, so adding one leaves all others as they were, and two strategies that
do the same work on the same vCPU see the same draws (common random numbers).
"""

from collections.abc import Generator
from hashlib import sha256
from typing import NoReturn, Protocol

import numpy as np

from sim.bits import Bits
from sim.distributions import Constant, Distribution

VERSION = 2
"""Of what a seed means: which times and answers the streams give. 1 were numpy's own methods."""

# Multiples of four, as filling wants them.
_FIRST_BLOCK = 32
_LARGEST_BLOCK = 4096


class Streams:
    """All random streams of one run."""

    def __init__(self, seed: int, replication: int = 0) -> None:
        self.seed = seed
        self.replication = replication

    def bits(self, *names: str) -> Bits:
        """The stream with these names, from its beginning."""
        digest = sha256("\0".join(names).encode()).digest()
        words = tuple(int.from_bytes(digest[i : i + 4], "little") for i in range(0, 16, 4))
        return Bits(self.seed, (self.replication, *words))

    def values(self, distribution: Distribution, *names: str) -> "ValueStream":
        """Draws of this distribution, one by one."""
        return ValueStream(distribution, self.bits(*names))

    def durations(self, distribution: Distribution, *names: str) -> "Durations":
        """Draws of this distribution as whole nanoseconds."""
        if isinstance(distribution, Constant):
            return ConstantDurations(distribution, self.bits(*names))
        return DrawnDurations(distribution, self.bits(*names))

    def number(self, *names: str) -> int:
        """One fixed 63-bit number that belongs to these names."""
        return self.bits(*names).number(63)


class ValueStream:
    """Single draws out of blocks; the length of a block never shows in the values."""

    def __init__(self, distribution: Distribution, bits: Bits) -> None:
        self._fill = distribution.drawn_from(bits)
        self._fraction_bits = distribution.fraction_bits
        self._size = _FIRST_BLOCK
        self._block: list[float] = []
        self._next = 0

    def next(self) -> float:
        """The next draw."""
        if self._next == len(self._block):
            units = np.empty(self._size, np.int64)
            self._fill(units)
            self._block = np.ldexp(units, -self._fraction_bits).tolist()
            self._size = min(4 * self._size, _LARGEST_BLOCK)
            self._next = 0
        value = self._block[self._next]
        self._next += 1
        return value


class Durations(Protocol):
    """Nanoseconds of a named cost, drawn unit by unit and handed out in sums."""

    def total(self, n: int) -> int:
        """The time that the next ``n`` units take together, in whole nanoseconds.

        What rounding leaves over is carried to the next call, so many units of a third of
        a nanosecond are not lost. What is carried into the first call is drawn, anything below a
        nanosecond: any interval of whatever units is then as long as it should be on average over
        replications, and where in a run whole nanoseconds fall is another in each.
        """


class ConstantDurations:
    """Units that all take the same time."""

    __slots__ = ("_carried", "_fraction", "_fraction_bits", "_unit")

    def __init__(self, constant: Constant, bits: Bits) -> None:
        self._unit = constant.units
        self._fraction_bits = constant.fraction_bits
        self._fraction = (1 << self._fraction_bits) - 1
        self._carried = bits.number(self._fraction_bits)

    def total(self, n: int) -> int:
        """The time of ``n`` units."""
        exact = self._carried + self._unit * n
        self._carried = exact & self._fraction
        return exact >> self._fraction_bits


class DrawnDurations:
    """Units whose times are independent draws.

    A block holds the running sum of the draws in whole nanoseconds, so that any number of units
    costs two look-ups. The sum itself is of integers and exact, across blocks of whatever length:
    neither that nor how units are asked for shows in the times.
    """

    __slots__ = ("total",)

    def __init__(self, distribution: Distribution, bits: Bits) -> None:
        handing_out = _hand_out(distribution, bits)
        next(handing_out)
        self.total = handing_out.send
        """The time of the next ``n`` units."""


def _hand_out(distribution: Distribution, bits: Bits) -> Generator[int, int, NoReturn]:
    """Is sent numbers of units and yields their times: a call for each would cost twice as much.

    ``exact``, ``whole_ns`` and ``handed_out_ns`` count from the whole nanosecond before the block's
    beginning; what of the last has not been handed out yet by then is below 0.
    """
    fill, fraction_bits = distribution.drawn_from(bits), distribution.fraction_bits
    fraction = (1 << fraction_bits) - 1
    whole_ns = np.zeros(1, np.int64).data
    carried, handed_out_ns = bits.number(fraction_bits), 0
    size, here, last = _FIRST_BLOCK, 0, 0
    n = yield 0
    while True:
        here += n
        while here > last:
            here -= last
            handed_out_ns -= whole_ns[last]
            if here >= _LARGEST_BLOCK:
                # Units of which nobody sees the single ones.
                draws = np.empty(_LARGEST_BLOCK, np.int64)
                while here >= _LARGEST_BLOCK:
                    fill(draws)
                    carried += int(draws.sum())
                    here -= _LARGEST_BLOCK
            handed_out_ns -= carried >> fraction_bits
            exact = np.empty(size + 1, np.int64)
            exact[0] = carried & fraction
            fill(exact[1:])
            np.add.accumulate(exact, out=exact)
            carried = int(exact[-1]) & fraction
            whole_ns, last = (exact >> fraction_bits).data, size
            size = min(4 * size, _LARGEST_BLOCK)
        before_ns, handed_out_ns = handed_out_ns, whole_ns[here]
        n = yield handed_out_ns - before_ns
