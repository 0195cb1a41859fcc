"""The firmware's memory map, as the kernel keeps it."""

from bisect import bisect_right

from models.linux.start_state.geometry import Range
from models.machine.entries import PAGE_SHIFT, PAGE_SIZE


class E820:
    """Usable RAM, as sorted and disjoint byte ranges."""

    def __init__(self, usable: tuple[Range, ...]) -> None:
        self.usable = usable
        self._starts = [start for start, _ in usable]

    @property
    def max_pfn(self) -> int:
        """One past the last page that is RAM throughout."""
        return self.usable[-1][1] >> PAGE_SHIFT

    def any_ram(self, start: int, end: int) -> bool:
        """Is any byte of [start, end) usable? Source: Linux e820__mapped_any."""
        last = bisect_right(self._starts, end - 1) - 1
        return last >= 0 and self.usable[last][1] > start

    def holes(self, first: int, last: int) -> list[Range]:
        """What of the pages [first, last) is no RAM at all."""
        holes = []
        for start, end in self.usable:
            low = start >> PAGE_SHIFT
            if first < min(low, last):
                holes.append((first, min(low, last)))
            first = max(first, -(-end >> PAGE_SHIFT))
        return [*holes, (first, last)] if first < last else holes

    def parts(self, first: int, last: int) -> list[Range]:
        """What of the pages [first, last) is RAM."""
        clipped = ((max(low, first), min(high, last)) for low, high in self.pages())
        return [(low, high) for low, high in clipped if low < high]

    def pages(self) -> list[Range]:
        """The ranges in whole pages (pfns)."""
        rounded = (
            ((start + PAGE_SIZE - 1) >> PAGE_SHIFT, end >> PAGE_SHIFT) for start, end in self.usable
        )
        return [(first, last) for first, last in rounded if first < last]
