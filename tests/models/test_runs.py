"""Many pages or frames at once: each does what its plain counterpart does one by one."""

from hypothesis import given, settings
from hypothesis import strategies as st

from models.linux.boot.page_set import PageSet
from models.linux.start_state.memblock import Memblock
from models.machine.frames import FrameTable
from tests.everything import frames_of

RUN = 512
OWNER, FRESH, WRITABLE = 3, 1, 7 << 60
# Of each: first frame, pages, first page. The second begins in the middle of a run; behind the
# third there is no room for another run.
EXTENTS = ((1000, 9 * RUN, 0), (8000, 5 * RUN, 20 * RUN + 100), (20_000, 2 * RUN + 511, 40 * RUN))


def table() -> FrameTable:
    """Frames that nothing has touched."""
    return FrameTable(EXTENTS, fresh=FRESH, owner=OWNER)


@st.composite
def touched(draw: st.DrawFn) -> list[tuple[str, int]]:
    """What is done to runs of frames: looked at, or mapped."""
    mfns = st.sampled_from(
        [mfn + n * RUN for mfn, pages, _ in EXTENTS for n in range(pages // RUN)]
    )
    offsets = st.sampled_from([0, 1, 412, 511])
    return draw(
        st.lists(
            st.tuples(st.just("look"), st.builds(int.__add__, mfns, offsets))
            | st.tuples(st.just("map"), mfns),
            max_size=4,
        )
    )


def after(what: list[tuple[str, int]]) -> FrameTable:
    """Frames to which this was done."""
    frames = table()
    for kind, mfn in what:
        if kind == "look":
            frames.index(mfn)
        else:
            frames.map_fresh_run(mfn, OWNER, WRITABLE)
    return frames


@given(
    what=touched(),
    mfn=st.sampled_from(
        [999, 1000, 1001, 1000 + 3 * RUN, 8000, 8412, 20_000, 20_000 + RUN, 70_000]
    ),
    owner=st.sampled_from([OWNER, OWNER, OWNER, 4]),
    most=st.integers(0, 12),
)
@settings(max_examples=80, deadline=None)
def test_fresh_runs_are_those_that_could_be_mapped_one_by_one(
    what: list[tuple[str, int]], mfn: int, owner: int, most: int
) -> None:
    """And to ask changes nothing."""
    frames, other = after(what), after(what)
    expected = 0
    while expected < most and other.map_fresh_run(mfn + expected * RUN, owner, WRITABLE):
        expected += 1

    assert expected == frames.fresh_runs(mfn, owner, most)
    assert frames_of(after(what)) == frames_of(frames)


@given(runs=st.integers(1, 9), mapped=st.booleans(), start=st.integers(0, 8))
@settings(max_examples=30, deadline=None)
def test_repeated_run_is_as_if_each_had_been_mapped(*, runs: int, mapped: bool, start: int) -> None:
    """Or left fresh, if the first is; those behind keep what they are."""
    runs = min(runs, 9 - start)
    frames, other = table(), table()
    first = 1000 + start * RUN
    if mapped:
        assert frames.map_fresh_run(first, OWNER, WRITABLE)
        for number in range(runs):
            assert other.map_fresh_run(first + number * RUN, OWNER, WRITABLE)

    frames.repeat_run(first, runs - 1)

    assert all(frames.is_alike(first + number * RUN) for number in range(runs))
    assert frames_of(other) == frames_of(frames)


def test_run_is_alike_until_somebody_looks_at_one_of_its_frames() -> None:
    """In an extent that begins in the middle of a run, too."""
    frames = table()
    run = 8000 + RUN - 100
    assert frames.is_alike(run)

    frames.index(run - 1)
    assert frames.is_alike(run)
    frames.index(run + 511)
    assert not frames.is_alike(run)
    assert frames.is_alike(run + RUN)


_ranges = st.tuples(st.integers(0, 60), st.integers(1, 12)).map(lambda r: (r[0], r[0] + r[1]))


@given(
    memory=st.lists(st.integers(0, 60), min_size=2, max_size=6, unique=True),
    reserved=st.lists(_ranges, max_size=5),
    pfn=st.integers(0, 72),
    low=st.integers(0, 60),
)
@settings(max_examples=100, deadline=None)
def test_free_pages_are_counted_downwards(
    memory: list[int], reserved: list[tuple[int, int]], pfn: int, low: int
) -> None:
    """To the first that is no memory, is taken, or lies below where the search ends."""
    ends = sorted(memory)
    pieces = list(zip(ends[::2], ends[1::2], strict=False))
    memblock = Memblock(pieces, reserved)

    def is_free(page: int) -> bool:
        return (
            page >= low
            and any(first <= page < last for first, last in pieces)
            and not (memblock.is_reserved(page))
        )

    expected, piece = 0, [p for p in pieces if p[0] <= pfn < p[1]]
    while piece and pfn - expected >= piece[0][0] and is_free(pfn - expected):
        expected += 1
    assert expected == memblock.free_down_from(pfn, low)


@given(reserved=st.lists(_ranges, max_size=5), low=st.integers(0, 60), high=st.integers(0, 72))
@settings(max_examples=80, deadline=None)
def test_pages_that_are_free_downwards_are_those_found_next(
    reserved: list[tuple[int, int]], low: int, high: int
) -> None:
    """Taken one by one, each is the next below."""
    memblock = Memblock([(2, 30), (33, 70)], reserved)
    first = memblock.find(1, low, high)
    if first is None:
        return
    free = memblock.free_down_from(first, low)
    assert free >= 1

    for number in range(free):
        assert first - number == memblock.find(1, low, high)
        memblock.reserve(first - number, first - number + 1)
    assert first - free != memblock.find(1, low, high)


@given(
    before=st.lists(st.integers(0, 40)),
    pfns=st.lists(st.integers(0, 40)),
    gone=st.sets(st.integers(0, 40)),
)
@settings(max_examples=100, deadline=None)
def test_pages_taken_into_a_set_together_are_as_if_taken_one_by_one(
    before: list[int], pfns: list[int], gone: set[int]
) -> None:
    """For membership, ranges and what is let go later."""
    together, one_by_one = PageSet(), PageSet()
    for pfn in before:
        together.add(pfn)
        one_by_one.add(pfn)

    together.update(pfns)
    for pfn in pfns:
        one_by_one.add(pfn)
    for pages in (together, one_by_one):
        for pfn in gone:
            pages.discard(pfn)

    expected = sorted({*before, *pfns} - gone)
    assert expected == together.between(0, 41) == one_by_one.between(0, 41)
    assert expected == [pfn for pfn in range(41) if pfn in together]
