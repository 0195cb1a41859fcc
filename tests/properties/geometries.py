"""Hypothesis strategies for memory maps of small guests."""

from collections.abc import Sequence
from typing import Literal

from hypothesis import strategies as st

from models.linux.geometry import Extent, Geometry, Range

MIB = 256  # pages
GIB = 1024 * MIB

# The kernel takes 0x9f000 to 1 MiB of a dom0 for no RAM.
_ISA_HOLE = (0x9F, 0x100)
_FIRST_FRAME = 0x100000
_KINDS: tuple[Literal["domU", "dom0"], ...] = ("domU", "dom0")


@st.composite
def geometries(draw: st.DrawFn, sizes: Sequence[int] = (GIB, GIB, 2 * GIB, 6 * GIB)) -> Geometry:
    """A guest of 64 MiB to 6 GiB (or one of ``sizes``, in pages), rounded to pages only.

    Under the top of its RAM there may be a hole, and slack above it; its frames are runs in any
    order.
    """
    kind = draw(st.sampled_from(_KINDS))
    kernel_end = draw(st.integers(20 * MIB, 60 * MIB))
    # What the domain builder maps, and enough for the tables of tables-high.
    least = kernel_end + 32 * MIB
    # Most guests are small: a boot takes time by its size.
    most = draw(st.sampled_from(sizes))
    top = draw(st.integers(max(64 * MIB, least), most))
    usable = [(0, top)]
    hole = draw(st.just(0) | st.integers(1, 20_000))
    behind_hole = draw(st.integers(1, 3000))
    if hole and top - behind_hole - hole >= least:
        usable = [(0, top - behind_hole - hole), (top - behind_hole, top)]
    slack = draw(st.sampled_from([0, 8 * MIB]))
    if slack >= usable[-1][1] - max(usable[-1][0], least):
        slack = 0
    frames = [*usable[:-1], (usable[-1][0], top - slack)]
    if kind == "dom0":
        usable[:1] = [(0, _ISA_HOLE[0]), (_ISA_HOLE[1], usable[0][1])]
    return Geometry(
        kind=kind,
        e820=tuple((first << 12, last << 12) for first, last in usable),
        slack=slack << 12,
        kernel_end=kernel_end << 12,
        p2m=draw(_extents(frames)),
    )


@st.composite
def _extents(draw: st.DrawFn, ranges: list[Range]) -> tuple[Extent, ...]:
    """Frames for these pages: a few runs, shuffled, with gaps between them."""
    cuts = draw(st.sets(st.integers(1, ranges[-1][1]), max_size=4))
    runs = []
    for first, last in ranges:
        ends = [*sorted(cut for cut in cuts if first < cut < last), last]
        runs += list(zip([first, *ends], ends, strict=False))
    mfn = _FIRST_FRAME
    extents = []
    for first, last in draw(st.permutations(runs)):
        mfn += draw(st.integers(0, 1000))
        extents.append(Extent(first, mfn, last - first))
        mfn += last - first
    return tuple(sorted(extents, key=lambda extent: extent.pfn))
