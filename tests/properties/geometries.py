"""Hypothesis strategies for memory maps of small guests."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from hypothesis import strategies as st

from models.linux.start_state.geometry import Extent, Geometry, Range

MIB = 256  # pages
GIB = 1024 * MIB

# The kernel takes 0x9f000 to 1 MiB of a dom0 for no RAM.
_ISA_HOLE = (0x9F, 0x100)
_FIRST_FRAME = 0x100000
_KINDS: tuple[Literal["domU", "dom0"], ...] = ("domU", "dom0")
# A page of a 1:1 range costs a hypercall or two.
_MOST_IDENTITY = 40


@st.composite
def geometries(
    draw: st.DrawFn, sizes: Sequence[int] = (GIB, GIB, 2 * GIB, 2 * GIB, 2 * GIB, 5 * GIB)
) -> Geometry:
    """A guest that ends between 64 MiB and 5 GiB or so, nothing rounded to more than pages.

    ``sizes``: of its first piece of RAM, at most, in pages.

    Its image is of any size and begins anywhere. There are holes of any size behind it, and at
    times one before it; a dom0 maps some of their pages 1:1. Under the top of its RAM there may be
    reservations, and slack above it; its frames are runs in any order.
    """
    kind = draw(st.sampled_from(_KINDS))
    kernel_start = draw(st.sampled_from([16 * MIB, 16 * MIB, 2 * MIB, 17 * MIB + 3, 100 * MIB]))
    tiny, usual, huge = st.integers(64, 4 * MIB), st.integers(4 * MIB, 44 * MIB), 300 * MIB
    kernel_end = kernel_start + draw(st.one_of(tiny, usual, usual, usual, st.just(huge)))
    # What the domain builder maps, and enough for the tables of tables-high.
    least = kernel_end + 32 * MIB
    # Most guests are small: a boot takes time by the size of what it maps, with all holes inside.
    smallest = max(64 * MIB, least)
    usable = [(0, draw(_ends(smallest, max(smallest, draw(st.sampled_from(sizes))))))]
    for _ in range(draw(st.integers(0, 3))):
        start = usable[-1][1] + draw(st.integers(1, 700) | st.integers(1, 20_000))
        if draw(st.booleans()):
            start = -(-start // 512) * 512
        if draw(st.integers(0, 3)) == 0:
            # The rest of RAM lies behind a PCI hole, or in the next GiB.
            start = 4 * GIB if usable[-1][1] < 4 * GIB else (start // GIB + 1) * GIB
        usable.append((start, draw(_ends(start + 1, start + 64 * MIB))))
    top = usable[-1][1]
    slack = draw(st.sampled_from([0, 0, 8 * MIB]))
    if slack >= top - max(usable[-1][0], least):
        slack = 0
    frames = [*usable[:-1], (usable[-1][0], top - slack)]
    if draw(st.booleans()):
        # What lies in the builder's map has frames, whatever the memory map says.
        hole = (0x100 + draw(st.integers(1, 200)), draw(st.integers(0x200, kernel_start)))
        usable[:1] = [(0, hole[0]), (hole[1], usable[0][1])]
    if kind == "dom0":
        usable[:1] = [(0, _ISA_HOLE[0]), (_ISA_HOLE[1], usable[0][1])]
    reserved = None
    if draw(st.booleans()):
        tables = 2 * MIB + (top >> 8)  # no fewer than start info, p2m list and tables take
        reserved = (
            *((0, 16), (kernel_start, kernel_end + tables)),
            *draw(_reservations((kernel_end + tables, top))),
        )
    return Geometry(
        kind=kind,
        e820=_bytes(usable),
        slack=slack << 12,
        kernel_start=kernel_start << 12,
        kernel_end=kernel_end << 12,
        reserved=None if reserved is None else _bytes(reserved),
        identity=_bytes(draw(_identity(usable))) if kind == "dom0" else (),
        p2m=draw(_extents(frames)),
    )


@st.composite
def far_geometries(draw: st.DrawFn) -> Geometry:
    """A domU with little RAM, some of it behind 512 GiB or across, so that there are two L3s.

    The kernels of 2011 size the buffer for their tables by where RAM ends: 2 MiB for each GiB. So
    one of the pieces, the one below 4 GiB or the one above, has to be large.
    """
    start = 512 * GIB + draw(st.integers(-700, 90 * GIB) | st.sampled_from([-GIB, 0, GIB, 5 * GIB]))
    if draw(st.booleans()):
        start = -(-start // 512) * 512
    buffer = (start + 2 * GIB) // 500
    extra = draw(st.integers(1, 700) | st.integers(1, 256 * MIB))
    low, high = draw(st.sampled_from([(64 * MIB, buffer + extra), (buffer + 100 * MIB, extra)]))
    usable = [(0, low), (start, start + high)]
    return Geometry(
        kind="domU",
        e820=_bytes(usable),
        kernel_end=44 * MIB << 12,
        p2m=(Extent(0, _FIRST_FRAME, low), Extent(start, _FIRST_FRAME + start, high)),
    )


def _bytes(ranges: Sequence[Range]) -> tuple[Range, ...]:
    return tuple((first << 12, last << 12) for first, last in ranges)


@st.composite
def _ends(draw: st.DrawFn, low: int, high: int) -> int:
    """Where RAM ends: anywhere, or at 2 MiB or 1 GiB, or a few pages off."""
    end = draw(st.integers(low, high))
    unit = draw(st.sampled_from([1, 512, GIB]))
    end = -(-end // unit) * unit + draw(st.sampled_from([-1, 0, 0, 1, 2]))
    return end if low <= end <= high else low


@st.composite
def _reservations(draw: st.DrawFn, within: Range) -> list[Range]:
    """Nothing, or a few ranges; mostly near the top, where the tables would go."""
    low, high = within
    ranges = []
    for _ in range(draw(st.integers(0, 3))):
        start = max(low, high - draw(st.integers(1, 3000) | st.integers(1, high - low)))
        ranges.append((start, min(high, start + draw(st.integers(1, 2000)))))
    # What is left must hold the tables: the lowest 32 MiB stay free.
    return [r for r in ranges if r[0] >= low + 16 * MIB]


@st.composite
def _identity(draw: st.DrawFn, usable: list[Range]) -> list[Range]:
    """A few pages in the middle or at an end of some holes."""
    ranges = []
    for (_, first), (last, _) in pairwise(usable):
        if draw(st.booleans()):
            pages = min(draw(st.integers(1, _MOST_IDENTITY)), last - first)
            start = draw(st.sampled_from([first, last - pages, (first + last - pages) // 2]))
            ranges.append((start, start + pages))
    return ranges


@st.composite
def _extents(draw: st.DrawFn, ranges: list[Range]) -> tuple[Extent, ...]:
    """Frames for these pages: a few runs, shuffled, with gaps between them."""
    cuts = draw(st.sets(st.integers(1, ranges[-1][1]), max_size=4))
    runs = []
    for first, last in ranges:
        ends = [*sorted(cut for cut in cuts if first < cut < last), last]
        runs += list(zip([first, *ends], ends, strict=False))
    # Above all addresses that are mapped 1:1.
    mfn = max(_FIRST_FRAME, ranges[-1][1])
    extents = []
    for first, last in draw(st.permutations(runs)):
        mfn += draw(st.integers(0, 1000))
        extents.append(Extent(first, mfn, last - first))
        mfn += last - first
    return tuple(sorted(extents, key=lambda extent: extent.pfn))
