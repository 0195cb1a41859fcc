"""Random streams that are found by name.

A stream's seed comes from the run's seed and the stream's names, never from the order in
which streams are made, so adding one leaves all others as they were, and two strategies that
do the same work on the same vCPU see the same draws (common random numbers).
"""

from abc import ABC, abstractmethod
from hashlib import sha256

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


class Durations(ABC):
    """Nanoseconds of a named cost, drawn unit by unit and handed out in sums."""

    __slots__ = ()

    @abstractmethod
    def total(self, n: int) -> int:
        """The time that the next ``n`` units take together, in whole nanoseconds.

        What rounding leaves over is carried to the next call, so many units of a third of
        a nanosecond are not lost.
        """


class ConstantDurations(Durations):
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


class DrawnDurations(Durations):
    """Units whose times are independent draws.

    A block holds the running sum of the draws in whole nanoseconds, so that any number of units
    costs two look-ups. The sum runs on across blocks in the same order of additions, whatever
    their length: the length never shows in the values.
    """

    __slots__ = ("_distribution", "_exact_ns", "_last", "_next", "_rng", "_size", "_sums")

    def __init__(self, distribution: Distribution, rng: np.random.Generator) -> None:
        self._distribution = distribution
        self._rng = rng
        self._size = _FIRST_BLOCK
        self._exact_ns = 0.0
        self._sums = np.zeros(1, np.int64).data
        self._next = 0
        self._last = 0

    def total(self, n: int) -> int:
        """The time of the next ``n`` units."""
        start = self._next
        end = start + n
        if end <= self._last:
            self._next = end
            return self._sums[end] - self._sums[start]
        first_ns = self._sums[start]
        while end > self._last:
            end -= self._last
            self._refill()
        self._next = end
        return self._sums[end] - first_ns

    def _refill(self) -> None:
        exact = np.empty(self._size + 1)
        exact[0] = self._exact_ns
        exact[1:] = self._distribution.block(self._rng, self._size)
        np.cumsum(exact, out=exact)
        self._exact_ns = float(exact[-1])
        self._sums = exact.astype(np.int64).data
        self._next, self._last = 0, self._size
        self._size = min(4 * self._size, _LARGEST_BLOCK)
