"""Random streams that are found by name.

A stream's seed comes from the run's seed and the stream's names, never from the order in
which streams are made, so adding one leaves all others as they were, and two strategies that
do the same work on the same vCPU see the same draws (common random numbers).
"""

from collections.abc import Generator
from hashlib import sha256
from typing import NoReturn, Protocol

import numpy as np

from sim.distributions import Constant, Distribution

_FIRST_BLOCK = 32
_LARGEST_BLOCK = 4096


class Streams:
    """All random streams of one run."""

    def __init__(self, seed: int, replication: int = 0) -> None:
        self.seed = seed
        self.replication = replication

    def generator(self, *names: str) -> np.random.Generator:
        """A fresh generator for the stream with these names."""
        digest = sha256("\0".join(names).encode()).digest()
        words = tuple(int.from_bytes(digest[i : i + 4], "little") for i in range(0, 16, 4))
        sequence = np.random.SeedSequence(entropy=self.seed, spawn_key=(self.replication, *words))
        return np.random.Generator(np.random.PCG64(sequence))

    def values(self, distribution: Distribution, *names: str) -> "ValueStream":
        """Draws of this distribution, one by one."""
        return ValueStream(distribution, self.generator(*names))

    def durations(self, distribution: Distribution, *names: str) -> "Durations":
        """Draws of this distribution as whole nanoseconds."""
        if isinstance(distribution, Constant):
            return ConstantDurations(distribution.value)
        return DrawnDurations(distribution, self.generator(*names))

    def number(self, *names: str) -> int:
        """One fixed 64-bit number that belongs to these names."""
        return int(self.generator(*names).integers(0, 2**63))


class ValueStream:
    """Single draws out of blocks; the length of a block never shows in the values."""

    def __init__(self, distribution: Distribution, rng: np.random.Generator) -> None:
        self._distribution = distribution
        self._rng = rng
        self._size = _FIRST_BLOCK
        self._block: list[float] = []
        self._next = 0

    def next(self) -> float:
        """The next draw."""
        if self._next == len(self._block):
            self._block = self._distribution.block(self._rng, self._size).tolist()
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
        a nanosecond are not lost.
        """


class ConstantDurations:
    """Units that all take the same time."""

    __slots__ = ("_handed_out_ns", "_unit_ns", "_units")

    def __init__(self, unit_ns: float) -> None:
        self._unit_ns = unit_ns
        self._units = 0
        self._handed_out_ns = 0

    def total(self, n: int) -> int:
        """The time of ``n`` units."""
        # One product, no running sum of floats: how the units are split never shows.
        self._units += n
        before = self._handed_out_ns
        self._handed_out_ns = now = int(self._unit_ns * self._units)
        return now - before


class DrawnDurations:
    """Units whose times are independent draws.

    A block holds the running sum of the draws in whole nanoseconds, so that any number of units
    costs two look-ups. The sum runs on across blocks in the same order of additions, whatever
    their length: the length never shows in the values.
    """

    __slots__ = ("total",)

    def __init__(self, distribution: Distribution, rng: np.random.Generator) -> None:
        handing_out = _hand_out(distribution, rng)
        next(handing_out)
        self.total = handing_out.send
        """The time of the next ``n`` units."""


def _hand_out(
    distribution: Distribution, rng: np.random.Generator
) -> Generator[int, int, NoReturn]:
    """Is sent numbers of units and yields their times: a call for each would cost twice as much."""
    sums = np.zeros(1, np.int64).data
    exact_ns, handed_out_ns = 0.0, 0
    size, here, last = _FIRST_BLOCK, 0, 0
    n = yield 0
    while True:
        here += n
        while here > last:
            here -= last
            exact = np.empty(size + 1)
            exact[0] = exact_ns
            exact[1:] = distribution.block(rng, size)
            np.cumsum(exact, out=exact)
            exact_ns = float(exact[-1])
            sums, last = exact.astype(np.int64).data, size
            size = min(4 * size, _LARGEST_BLOCK)
        before_ns, handed_out_ns = handed_out_ns, sums[here]
        n = yield handed_out_ns - before_ns
