"""A set of pages that answers for ranges as well."""

from bisect import bisect_left, insort
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


class PageSet:
    """Pages, by pfn."""

    def __init__(self, pfns: Iterable[int] = ()) -> None:
        self._pfns = set(pfns)
        self._sorted = sorted(self._pfns)

    def __contains__(self, pfn: object) -> bool:
        return pfn in self._pfns

    def add(self, pfn: int) -> None:
        """Take a page in."""
        if pfn not in self._pfns:
            self._pfns.add(pfn)
            insort(self._sorted, pfn)

    def update(self, pfns: Iterable[int]) -> None:
        """Take several pages in."""
        self._pfns.update(pfns)
        self._sorted = sorted(self._pfns)

    def discard(self, pfn: int) -> None:
        """Let a page go, if it is there."""
        if pfn in self._pfns:
            self._pfns.remove(pfn)
            del self._sorted[bisect_left(self._sorted, pfn)]

    def between(self, first: int, end: int) -> list[int]:
        """The pages in [first, end), upwards."""
        return self._sorted[bisect_left(self._sorted, first) : bisect_left(self._sorted, end)]

    def without(self, pfn: int) -> "PageSet":
        """The same pages but one."""
        return PageSet(self._pfns - {pfn})

    def among(self, pfns: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which of these are pages of the set: an answer for each, in their order."""
        near = self.between(int(pfns.min()), int(pfns.max()) + 1) if pfns.size else []
        if not near:
            return np.zeros(pfns.size, np.bool_)
        return np.isin(pfns, np.array(near, np.uint64))
