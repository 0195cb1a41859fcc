"""Hypothesis strategies for memory maps as a scenario file writes them, all keys given.

As with the recorded ones, nothing of the start state is left to be derived. The same map can be
had as the text of a scenario and as what the counting rendering takes.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from hypothesis import strategies as st

from tests.properties.counting import MemoryMap, Range, subtract

MIB = 256  # pages
GIB = 1024 * MIB
KERNEL_START = 16 * MIB
_STATIC_PAGES = 16
_RANGE_KEYS = (
    *("e820", "reserved", "absent_in_builder_map", "without_mfn", "p2m_pages", "identity"),
    "typed_writable",
)


@dataclass(frozen=True, kw_only=True)
class WrittenMap:
    """The keys of a ``[guest]`` section, in pages."""

    kind: Literal["dom0", "domU"]
    e820: tuple[Range, ...]
    reserved: tuple[Range, ...]
    kernel_end: int
    builder_l1_tables: int
    builder_l1_start: int
    static_tables: int
    brk_tables: Range
    absent_in_builder_map: tuple[Range, ...] = ()
    without_mfn: tuple[Range, ...] = ()
    p2m_pages: tuple[Range, ...] = ()
    identity: tuple[Range, ...] = ()
    typed_writable: tuple[Range, ...] = ()
    p2m: tuple[tuple[int, int, int], ...] | None = None
    """(page, frame, pages); None: it is derived."""

    def toml(self) -> str:
        """The text of a scenario file."""

        def address(page: int) -> str:
            return f'"{page << 12:#x}"'

        brk_pages = self.brk_tables[1] - self.brk_tables[0]
        lines = [
            "[guest]",
            f'kind = "{self.kind}"',
            f"builder_l1_tables = {self.builder_l1_tables}",
            f"brk_tables = {{start = {address(self.brk_tables[0])}, pages = {brk_pages}}}",
        ]
        lines += [
            f"{key} = {address(getattr(self, key))}"
            for key in ("kernel_end", "builder_l1_start", "static_tables")
        ]
        for key in _RANGE_KEYS:
            ranges = ", ".join(f"[{address(a)}, {address(b)}]" for a, b in getattr(self, key))
            lines.append(f"{key} = [{ranges}]")
        if self.p2m is not None:
            extents = (f'{{pfn = {a}, mfn = "{b:#x}", pages = {n}}}' for a, b, n in self.p2m)
            lines.append(f"p2m = [{', '.join(extents)}]")
        return "\n".join(lines)

    def memory(self) -> MemoryMap:
        """What the counting rendering takes.

        The builder gave frames to all that it maps. Of what a dom0 has taken out of that map, what
        is no RAM is the host's.
        """
        builder_pages = self.builder_l1_tables * 512
        io: list[Range] = []
        if self.kind == "dom0":
            zapped = subtract(self.absent_in_builder_map, self.e820)
            io = [*self.identity, *subtract(zapped, self.identity)]
        populated = [(0, min(builder_pages, self.e820[-1][1]))]
        populated += subtract(self.e820, populated)
        if self.p2m is not None:
            populated = [(first, first + pages) for first, _, pages in self.p2m]
        without = (*self.without_mfn, *io)
        return MemoryMap(
            ram=self.e820,
            reserved=(*self.reserved, *self.without_mfn),
            builder_l1_tables=self.builder_l1_tables,
            brk=self.brk_tables,
            frames=tuple(subtract(populated, without)),
            absent=self.absent_in_builder_map,
            io=tuple(io),
            p2m_pages=self.p2m_pages,
            typed_writable=self.typed_writable,
        )


_near = st.integers(1, 700)
_regions = st.integers(1, 40).map(lambda n: n * 512)
_far = st.sampled_from([GIB, 2 * GIB, 4 * GIB, 511 * GIB, 512 * GIB, 1024 * GIB])


@st.composite
def _sizes(draw: st.DrawFn, largest: int) -> int:
    """A number of pages: a few, whole 2 MiB, or anything."""
    return draw(_near | _regions | st.integers(1, largest))


@st.composite
def _ram_above(draw: st.DrawFn, start: int, largest: int) -> list[Range]:
    """Up to six pieces of RAM from ``start`` on, with holes of any size before each."""
    pieces: list[Range] = []
    for _ in range(draw(st.integers(0, 6))):
        start += draw(st.one_of(_near, _near, _regions, _regions, _far))
        if draw(st.booleans()):
            # On a boundary of 2 MiB or 1 GiB, or a page off it.
            unit = draw(st.sampled_from([512, GIB]))
            start = -(-start // unit) * unit + draw(st.sampled_from([0, 0, 1, 511]))
        size = draw(_sizes(largest))
        pieces.append((start, start + size))
        start += size
    return pieces


@st.composite
def _parts(draw: st.DrawFn, ranges: list[Range], most: int = 2) -> tuple[Range, ...]:
    """Disjoint parts of these ranges."""
    parts: list[Range] = []
    for _ in range(draw(st.integers(0, most)) if ranges else 0):
        low, high = draw(st.sampled_from(ranges))
        start = draw(st.integers(low, high - 1))
        size = draw(st.integers(1, high - start) | st.just(high - start))
        parts += subtract([(start, start + size)], parts)
    return tuple(sorted(parts))


@st.composite
def _frames(draw: st.DrawFn, pages: list[Range]) -> tuple[tuple[int, int, int], ...]:
    """Frames for these pages: runs in any order, with gaps between them."""
    runs = []
    for first, last in pages:
        cut = draw(st.integers(first, last))
        runs += [(a, b) for a, b in ((first, cut), (cut, last)) if a < b]
    extents, frame = [], 1 << 33
    for first, last in draw(st.permutations(runs)):
        frame += draw(st.integers(0, 1000))
        extents.append((first, frame, last - first))
        frame += last - first
    return tuple(extents)


@st.composite
def written_maps(draw: st.DrawFn, *, largest: int = 48 * MIB) -> WrittenMap:
    """A dom0 or domU of any shape, its pieces of RAM above the kernel up to ``largest`` pages."""
    kind: Literal["dom0", "domU"] = draw(st.sampled_from(["dom0", "domU"]))
    kernel_end = draw(st.integers(18 * MIB, 40 * MIB))
    l1_start = kernel_end + draw(st.integers(1, 20))
    # Rounded up to 4 MiB with 512 KiB to spare, and 4 MiB more at times.
    builder_end = -(-(l1_start + 40 + 128) // 1024) * 1024 + draw(st.sampled_from([0, 1024]))
    l1s = builder_end // 512
    static = KERNEL_START + draw(st.integers(0, kernel_end - KERNEL_START - _STATIC_PAGES))
    room = [(KERNEL_START, static), (static + _STATIC_PAGES, kernel_end)]
    # Used up, the window is extended by the pages behind it (extend_brk).
    low, high = draw(st.sampled_from([r for r in room if r[1] - r[0] > 64]))
    brk_pages = draw(st.integers(1, 16))
    brk = draw(st.integers(low, high - brk_pages - 32))

    # The lowest piece holds the builder's tables, and may end inside the builder's map.
    spare = draw(st.integers(-(builder_end - l1_start - 200), 4 * MIB) | _sizes(largest))
    top = builder_end + spare
    isa = draw(st.integers(0x90, 0xA0))
    usable = [(draw(st.sampled_from([0, 1])), isa)]
    below = draw(st.sampled_from([0x100, 0x100, *range(0x101, KERNEL_START, 377)]))
    if below > 0x100 and draw(st.booleans()):
        usable.append((0x100, draw(st.integers(0x101, below))))
        below += 1
    usable.append((below, top))
    usable += draw(_ram_above(top, largest))
    above = subtract(usable, [(0, builder_end)])
    holes = [(a, b) for (_, a), (b, _) in pairwise(usable)]

    without = draw(_parts(above))
    if above and above[-1] not in without:
        start, end = above[-1]
        tail = (end - draw(st.integers(0, end - start)), end)
        without = (*subtract(without, [tail]), *([tail] if tail[0] < end else ()))
    p2m_pages = draw(_parts(subtract(above, without)))
    absent: tuple[Range, ...] = ()
    identity: tuple[Range, ...] = ()
    if kind == "dom0":
        absent = tuple((a, min(b, builder_end)) for a, b in holes if a < builder_end)
        if draw(st.booleans()):
            absent = (*absent, *subtract(draw(_parts([(0x80, KERNEL_START)])), absent))
        identity = draw(_parts([(max(a, builder_end), b) for a, b in holes if b > builder_end]))
    elif draw(st.booleans()):
        absent = draw(_parts([(1, KERNEL_START)]))
    p2m = None
    if draw(st.booleans()):
        populated = [(0, min(builder_end, usable[-1][1]))]
        populated += subtract(usable, populated)
        # What is RAM has a frame, if its entry is empty too.
        lost = [*identity, *(part for hole in absent for part in subtract([hole], usable))]
        p2m = draw(_frames(subtract(populated, [*without, *lost])))
    more = draw(_parts([*above, (builder_end, usable[-1][1] + 512)]))
    reserved = (
        *((0, 16), (KERNEL_START, kernel_end), (l1_start, l1_start + l1s + 3)),
        *((brk, brk + brk_pages), *p2m_pages, *more),
    )
    return WrittenMap(
        kind=kind,
        e820=tuple(usable),
        reserved=reserved,
        kernel_end=kernel_end,
        builder_l1_tables=l1s,
        builder_l1_start=l1_start,
        static_tables=static,
        brk_tables=(brk, brk + brk_pages),
        absent_in_builder_map=absent,
        without_mfn=without,
        p2m_pages=p2m_pages,
        identity=identity,
        typed_writable=draw(_parts(subtract(above, without))),
        p2m=p2m,
    )
