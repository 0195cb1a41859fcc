"""The kernel's boot allocator: what memory there is, and what of it is taken.

All in pages; ranges half-open. Source: Linux mm/memblock.c.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

from models.linux.start_state.geometry import Range


class Memblock:
    """Sorted, disjoint ranges of memory and of reservations."""

    def __init__(self, memory: Iterable[Range], reserved: Iterable[Range] = ()) -> None:
        self.memory = sorted(memory)
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in reserved:
            self.reserve(start, end)

    @property
    def reserved(self) -> list[Range]:
        """The reservations, neighbours merged."""
        return list(zip(self._starts, self._ends, strict=True))

    def reserve(self, start: int, end: int) -> None:
        """Take [start, end), whatever of it is taken already."""
        if start >= end:
            return
        low = bisect_left(self._ends, start)
        high = bisect_right(self._starts, end)
        if low < high:
            start = min(start, self._starts[low])
            end = max(end, self._ends[high - 1])
        self._starts[low:high] = [start]
        self._ends[low:high] = [end]

    def is_reserved(self, pfn: int) -> bool:
        """Is this page taken?"""
        number = bisect_right(self._starts, pfn) - 1
        return number >= 0 and pfn < self._ends[number]

    def find(self, pages: int, low: int, high: int, align: int = 1) -> int | None:
        """The highest free run of this many pages inside [low, high), or None.

        Source: memblock_find_in_range, which searches top-down.
        """
        for first, last in reversed(self.memory):
            last = min(last, high)  # noqa: PLW2901 - clipped
            first = max(first, low)  # noqa: PLW2901
            number = bisect_left(self._starts, last)
            while last - first >= pages:
                # The reservation below the candidate's end.
                below = self._ends[number - 1] if number else 0
                start = (last - pages) // align * align
                if start >= max(below, first):
                    return start
                if not number:
                    break
                last = min(last, self._starts[number - 1])  # noqa: PLW2901
                number -= 1
        return None

    def free_down_from(self, pfn: int, low: int) -> int:
        """How many free pages of memory follow each other downwards from this one, to ``low``."""
        for first, last in self.memory:
            if first <= pfn < last:
                number = bisect_right(self._starts, pfn)
                below = self._ends[number - 1] if number else 0
                return max(pfn + 1 - max(low, first, below), 0)
        return 0

    def pieces(self, low: int, high: int) -> Iterator[Range]:
        """The ranges of memory inside [low, high), reserved or not, upwards."""
        for first, last in self.memory:
            if first < high and last > low:
                yield max(first, low), min(last, high)
