"""Random bits of a named stream: the one source of chance, and the same bits everywhere.

numpy promises the output of ``SeedSequence`` and of PCG64 for all of its versions, and both are
integer arithmetic. What its ``Generator`` makes of the bits may change with the version (NEP 19),
and its transcendental functions with the CPU; nothing of these is used.
"""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WORD = 64
_WORDS = np.dtype("<u8")
_SIXTEENS = np.dtype("<u2")


class Bits:
    """A stream of random 64-bit words; whatever is asked for is made of the next of them."""

    __slots__ = ("_raw",)

    def __init__(self, seed: int, spawn_key: tuple[int, ...]) -> None:
        """``spawn_key``: 32-bit words that tell the stream from others of this seed."""
        sequence = np.random.SeedSequence(entropy=seed, spawn_key=spawn_key)
        self._raw = np.random.PCG64(sequence).random_raw

    def words(self, size: int) -> "NDArray[np.uint64]":
        """The next ``size`` words."""
        words: NDArray[np.uint64] = self._raw(size)
        return words

    def sixteens(self, size: int) -> "NDArray[np.uint16]":
        """``size`` numbers of 16 bits, four out of each word, its lowest bits first.

        ``size`` is a multiple of four: then no bit is thrown away, and numbers do not depend on
        how many are asked for at once.
        """
        return self.words(size // 4).astype(_WORDS, copy=False).view(_SIXTEENS)

    def fill_evenly(self, block: "NDArray[np.int64]", low: int, span: int) -> None:
        """Fill an array with numbers from ``low`` on, below ``low + span``; span is below 2**33.

        Each is the middle of one of 2**30 equal parts of the range.
        """
        # The part's number has 30 bits and its middle 31, so the product fits into a word.
        middle = (self.words(len(block)) >> np.uint64(34) << np.uint64(1)) | np.uint64(1)
        block[:] = middle * np.uint64(span) >> np.uint64(31)
        block += low

    def number(self, bits: int) -> int:
        """A number of so many bits, 64 at most: the highest of the next word."""
        return int(self._raw()) >> (_WORD - bits)

    def below(self, limit: int) -> int:
        """One of 0 to ``limit - 1``, each as probable as the others up to 2**-64."""
        return (int(self._raw()) * limit) >> _WORD

    def share(self) -> float:
        """A number from 0 on, below 1: a multiple of 2**-53."""
        return self.number(53) * 2.0**-53

    def order(self, count: int) -> list[int]:
        """The numbers 0 to ``count - 1`` in an order, each as probable as the others.

        The shuffle of R. Durstenfeld, Algorithm 235, CACM 7 (1964).
        """
        order = list(range(count))
        for last in range(count - 1, 0, -1):
            other = self.below(last + 1)
            order[last], order[other] = order[other], order[last]
        return order
