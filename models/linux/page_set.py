"""A set of pages that answers for ranges as well."""

from bisect import bisect_left, insort
from collections.abc import Iterable


class PageSet:
    """Pages, by pfn."""

    def __init__(self) -> None:
        self._pfns: set[int] = set()
        self._sorted: list[int] = []

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
