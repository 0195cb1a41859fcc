"""Which regions are taken for alike: each thing that must hold for it, spoilt one by one."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import pytest

from models.linux.boot.direct_map_phase import boot
from models.linux.boot.guest import Guest, Page
from models.linux.boot.strategy import Buffer, Foreseen, PinAndHook, Strategy
from models.linux.boot.walks.alike import PageRun, regions_alike
from models.linux.boot.walks.buffered import take_buffer
from models.linux.boot.walks.repetition import FEWEST, NotAlike
from models.linux.start_state import build as domain_builder
from models.linux.start_state.geometry import Extent, Geometry, Range
from models.machine.entries import PRESENT, RW
from models.machine.frames import Words
from models.strategies.catalogue import find_strategy
from models.strategies.hook_walk_literal import WalkAndHook
from models.strategies.patch_alias import PatchUnreachable
from models.strategies.policies import (
    EarlySlotsOnly,
    KnownTables,
    ReadOnlyBuffer,
    always_writable,
)
from models.strategies.shadow import LeaveWritable
from models.xen.state import Progress
from models.xen.versions.abi import find_abi
from models.xen.versions.paging import Paging
from models.xen.words import VALIDATED
from sim.distributions import Constant
from sim.effects import STEP, Activity, Draw, Spend
from sim.instant import drain
from sim.streams import Streams
from sim.timed import Simulation
from tests.properties.test_repetition import PRICES
from tests.repetitions import Repetitions
from tests.sim.timed_run import Notes

MIB = 256
REGIONS = 256
"""Of the guest: 512 MiB."""
PLAIN = Geometry(kind="domU", e820=((0, 512 * MIB << 12),), kernel_end=44 << 20)


@dataclass
class Ahead:
    """A guest that is about to map regions that are alike, with tables from a buffer."""

    guest: Guest
    region: int
    pages: PageRun
    end: int = REGIONS * 512

    @property
    def count(self) -> int:
        """How many are alike."""
        guest = self.guest
        return regions_alike(guest, guest.start.ident_l2, self.region, self.end, self.pages)


def ahead(strategy: str | Strategy = "tables-low", geometry: Geometry = PLAIN) -> Ahead:
    """Right behind what the builder has mapped, the buffer taken."""
    plan = find_strategy(strategy) if isinstance(strategy, str) else strategy
    start = domain_builder.build(
        geometry, plan.kernel, find_abi("4.2dev"), debug=True, pcpus=1, paging=plan.paging
    )
    guest = Guest(start, plan)
    buffer = take_buffer(guest, REGIONS * 512)
    pages = PageRun(buffer.start, 1, buffer.top - buffer.start, lambda _: None)
    return Ahead(guest, len(start.builder_l1s), pages)


def alike(strategy: str | Strategy = "tables-low", geometry: Geometry = PLAIN) -> Ahead:
    """The same, of which it is certain that regions are alike."""
    found = ahead(strategy, geometry)
    assert found.count >= 100
    return found


def test_all_regions_to_the_end_are_alike_where_nothing_is_special() -> None:
    """With tables from low memory, which no region to be mapped holds."""
    plain = alike()

    assert REGIONS - plain.region == plain.count


# -- who looks on ---------------------------------------------------------------------------------

WATCHED: dict[str, Callable[[Guest], None]] = {
    "a crew": lambda guest: setattr(guest, "crew", object()),
    "lazy mode": lambda guest: setattr(guest.calls, "lazy", object()),
    "calls told": lambda guest: setattr(guest.xen, "tells_calls", True),
    "a trace": lambda guest: setattr(guest.xen, "trace", print),
    "a half-done table": lambda guest: guest.xen.progress.update({1: Progress()}),
    "nested paging": lambda guest: setattr(guest.xen, "paging", Paging.NESTED),
}


@pytest.mark.parametrize("what", WATCHED)
def test_no_region_is_alike_where_somebody_looks_on(what: str) -> None:
    """Or has a part in the work."""
    plain = alike()

    WATCHED[what](plain.guest)

    assert 0 == plain.count


def test_no_pages_no_regions() -> None:
    """Nobody knows where the tables will come from."""
    guest = alike().guest

    assert 0 == regions_alike(guest, guest.start.ident_l2, 40, REGIONS * 512, None)


# -- the exact cut --------------------------------------------------------------------------------


@pytest.mark.parametrize("pages", [0, FEWEST - 1, FEWEST, 77])
def test_there_are_no_more_regions_than_pages(pages: int) -> None:
    """Fewer than four are not worth the trouble."""
    plain = alike()
    plain.pages = replace(plain.pages, count=pages)

    assert (pages if pages >= FEWEST else 0) == plain.count


@pytest.mark.parametrize(("odd", "expected"), [(0, 50), (1, 50), (511, 50), (-1, 49)])
def test_only_whole_regions_are_alike(odd: int, expected: int) -> None:
    """An odd end is left over."""
    plain = alike()
    plain.end = (plain.region + 50) * 512 + odd

    assert expected == plain.count


def test_run_ends_with_its_table() -> None:
    """The slots behind the last are another table's."""
    plain = alike(geometry=msgspec.structs.replace(PLAIN, e820=((0, 2048 * MIB << 12),)))
    plain.end = 1024 * 512
    plain.pages = replace(plain.pages, count=2000)

    assert 512 - plain.region == plain.count


@pytest.mark.parametrize("distance", [0, 3, 4, 30])
def test_run_ends_at_a_slot_that_is_not_empty(distance: int) -> None:
    """That region has a table."""
    plain = alike()
    plain.guest.frames.words(plain.guest.start.ident_l2)[plain.region + distance] = PRESENT

    assert (distance if distance >= FEWEST else 0) == plain.count


@pytest.mark.parametrize("distance", [0, 3, 4, 30])
@pytest.mark.parametrize("page", [0, 255, 511])
def test_run_ends_at_a_frame_that_was_touched(distance: int, page: int) -> None:
    """Its words may differ from its neighbours'."""
    plain = alike()
    plain.guest.frames.index(plain.guest.mfn((plain.region + distance) * 512 + page))

    assert (distance if distance >= FEWEST else 0) == plain.count


def test_run_ends_where_frames_do_not_follow() -> None:
    """The next region's are elsewhere."""
    cut = 100 * 512
    extents = (Extent(0, 0x100000, cut), Extent(cut, 0x300000, REGIONS * 512 - cut))
    plain = alike_or_few(msgspec.structs.replace(PLAIN, p2m=extents))

    assert 100 - plain.region == plain.count
    plain.region = 100
    assert REGIONS - 100 == plain.count


def alike_or_few(geometry: Geometry) -> Ahead:
    """With tables from low memory; some regions are alike."""
    found = ahead(geometry=geometry)
    assert found.count >= FEWEST
    return found


@pytest.mark.parametrize("page", [0, 300, 511])
def test_run_ends_at_a_page_without_a_frame(page: int) -> None:
    """It has no leaf."""
    gone = 100 * 512 + page
    plain = alike_or_few(
        msgspec.structs.replace(PLAIN, without_mfn=((gone << 12, gone + 1 << 12),))
    )

    assert 100 - plain.region == plain.count
    plain.region = 100
    assert 0 == plain.count


def test_regions_of_the_hosts_own_memory_are_not_alike() -> None:
    """They are mapped leaf by leaf."""
    dom0 = msgspec.structs.replace(
        PLAIN,
        kind="dom0",
        e820=((0, 0x9F << 12), (0x100 << 12, 100 << 21), (120 << 21, 256 << 21)),
        identity=((100 << 21, 120 << 21),),
    )
    plain = alike_or_few(dom0)

    assert 100 - plain.region == plain.count
    plain.region = 100
    assert 0 == plain.count


def test_frames_of_another_domain_are_not_alike() -> None:
    """Xen looks at whose they are."""
    plain = alike()
    plain.guest.xen.domid = 7

    assert 0 == plain.count


@pytest.mark.parametrize("distance", [0, 3, 4, 30])
def test_run_ends_at_a_page_that_the_mask_protects(distance: int) -> None:
    """Its leaf is read-only."""
    masked = replace(find_strategy("tables-low"), mask=KnownTables())
    plain = alike(masked)
    plain.guest.tables.known.add((plain.region + distance) * 512 + 3)

    assert (distance if distance >= FEWEST else 0) == plain.count


def test_run_ends_at_a_protected_page_of_the_p2m_list() -> None:
    """As kernels since 5.10 map it."""
    kernel = find_strategy("mapped-only-6.1").kernel
    first = 100 * 512 + 9
    plain = alike(
        geometry=msgspec.structs.replace(PLAIN, p2m_pages=((first << 12, first + 2 << 12),))
    )

    plain.guest.kernel = replace(plain.guest.kernel, p2m_read_only=kernel.p2m_read_only)
    assert kernel.p2m_read_only
    assert 100 - plain.region == plain.count


@pytest.mark.parametrize("distance", [0, 3, 4, 30])
def test_run_ends_at_a_region_with_a_table(distance: int) -> None:
    """Its leaves are looked at: whether a table can be written through one."""
    plain = alike()
    list(plain.guest.tables.note_table((plain.region + distance) * 512 + 3, 1))

    assert (distance if distance >= FEWEST else 0) == plain.count


@pytest.mark.parametrize("distance", [0, 3, 4, 30])
def test_run_ends_at_a_region_with_pages_set_aside(distance: int) -> None:
    """Observers are told when it is filled, whether a mask protects these pages or not."""
    plain = alike(with_part("mask", EarlySlotsOnly()))
    first = (plain.region + distance) * 512 + 511
    plain.guest.tables.buffer = Buffer(first, first, first + 1)

    assert (distance if distance >= FEWEST else 0) == plain.count


# -- the tables' own pages ------------------------------------------------------------------------


def pages_from(plain: Ahead, first: int, count: int) -> Ahead:
    """The same, with these pages for tables."""
    return replace(plain, pages=PageRun(first, 1, count, lambda _: None))


def test_regions_that_hold_their_own_tables_are_not_alike() -> None:
    """Each would change another."""
    plain = alike()
    own = pages_from(plain, (plain.region + 50) * 512, 200)
    assert 0 == own.count
    behind = replace(own, end=(plain.region + 50) * 512)
    assert 50 == behind.count


def test_pages_whose_frames_do_not_follow_are_not_alike() -> None:
    """They are told by their numbers."""
    cut = 5000
    extents = (Extent(0, 0x100000, cut), Extent(cut, 0x300000, REGIONS * 512 - cut))
    plain = alike(geometry=msgspec.structs.replace(PLAIN, p2m=extents))

    assert 0 == pages_from(plain, cut - 10, 100).count
    assert 100 == pages_from(plain, cut, 100).count
    assert 10 == pages_from(plain, cut - 10, 10).count


def columns_of(plain: Ahead, number: int) -> tuple[Guest, int]:
    """The guest, and where in the columns the so manieth page for tables is."""
    guest = plain.guest
    return guest, guest.frames.index(guest.mfn(plain.pages.page(number)))


SPOILT_PAGES: dict[str, Callable[[Guest, int], None]] = {
    "another type": lambda guest, index: _set(guest.frames.type_info, index, VALIDATED | 1),
    "another count": lambda guest, index: _set(
        guest.frames.count_info, index, guest.frames.count_info[index] + 1
    ),
    "another owner": lambda guest, index: _set(guest.frames.owner, index, 9),
    "a time stamp": lambda guest, index: _set(guest.frames.tlb_stamp, index, 1),
    "words": lambda guest, index: _set(guest.frames.words(guest.frames.mfn_at(index)), 7, 1),
}


def _set(words: Words, index: int, value: int) -> None:
    words[index] = value


@pytest.mark.parametrize("number", [0, 1, 99])
@pytest.mark.parametrize("what", SPOILT_PAGES)
def test_page_for_a_table_that_differs_spoils_the_run(what: str, number: int) -> None:
    """As does one that was written before, whatever is in it now."""
    plain = alike()
    SPOILT_PAGES[what](*columns_of(plain, number))

    assert 0 == plain.count


def test_pages_of_another_domain_are_no_tables() -> None:
    """All of them alike."""
    plain = alike()
    guest = plain.guest
    first = columns_of(plain, 0)[1]
    guest.frames.owner_array[first : first + plain.pages.count] = 9

    assert 0 == plain.count


@pytest.mark.parametrize("flag", [RW, 1 << 5, 1 << 9])
def test_page_that_is_mapped_otherwise_spoils_the_run(flag: int) -> None:
    """Its leaf has another flag."""
    plain = alike()
    pfn = plain.pages.page(3)
    leaf = plain.guest.frames.words(plain.guest.hazards.leaf_tables[pfn >> 9])
    leaf[pfn & 511] ^= flag

    assert 0 == plain.count


def test_page_that_is_mapped_to_another_frame_spoils_the_run() -> None:
    """Its address is another page's."""
    plain = alike()
    pfn = plain.pages.page(3)
    leaf = plain.guest.frames.words(plain.guest.hazards.leaf_tables[pfn >> 9])
    leaf[pfn & 511] += 1 << 12

    assert 0 == plain.count


def straddling() -> Ahead:
    """Pages of two regions."""
    plain = pages_from(alike(), 9 * 512 - 50, 100)
    assert 100 == plain.count
    return plain


def test_pages_of_two_regions_that_are_mapped_by_tables_of_two_types_are_not_alike() -> None:
    """What is done to a leaf depends on what its table is for Xen."""
    plain = straddling()
    guest = plain.guest
    index = guest.frames.index(guest.hazards.leaf_tables[9])
    guest.frames.type_info[index] ^= VALIDATED

    assert 0 == plain.count


def test_pages_of_which_some_are_mapped_are_not_alike() -> None:
    """In one region, and not in the other."""
    plain = straddling()
    del plain.guest.hazards.leaf_tables[9]

    assert 0 == plain.count


@pytest.mark.parametrize("regions", [[8], [9], [8, 9]])
def test_pages_that_are_mapped_by_tables_out_of_reach_are_not_alike(regions: list[int]) -> None:
    """They are in the books, and the tables above do not lead to them."""
    plain = straddling()
    words = plain.guest.frames.words(plain.guest.start.ident_l2)
    for region in regions:
        words[region] = 0

    assert 0 == plain.count


def test_pages_of_which_the_books_know_no_leaf_but_the_tables_do_are_not_alike() -> None:
    """What is mapped has to be in the books."""
    plain = alike()
    plain.guest.hazards.leaf_tables.clear()

    assert 0 == plain.count


# -- the strategy's parts -------------------------------------------------------------------------

FORESEEN: list[tuple[str, object]] = [
    ("hook", PinAndHook()),
    ("hook", WalkAndHook()),
    ("hook", PatchUnreachable()),
    ("hook", LeaveWritable()),
    ("mask", EarlySlotsOnly()),
    ("mask", ReadOnlyBuffer(until="top")),
    ("mask", ReadOnlyBuffer(until="used_end")),
    ("mask", KnownTables()),
    ("early", always_writable),
    ("early", find_strategy("tables-high").early),
]


def with_part(field: str, part: object) -> Strategy:
    """tables-low with another part."""
    other: dict[str, Any] = {field: part}
    return replace(find_strategy("tables-low"), **other)


@pytest.mark.parametrize(("field", "part"), FORESEEN)
def test_part_of_a_users_that_is_derived_is_asked_region_by_region(
    field: str, part: object
) -> None:
    """It may do otherwise, and has not said that it does not."""
    assert isinstance(part, Foreseen)
    alike(with_part(field, part))
    kind = type(part)
    derived = type("Derived", (kind,), {})
    other = derived(until="top") if isinstance(part, ReadOnlyBuffer) else derived()

    assert 0 == ahead(with_part(field, other)).count


@pytest.mark.parametrize("field", ["hook", "mask", "early", "before_leaf_store"])
def test_part_that_says_nothing_of_alike_regions_is_asked_region_by_region(field: str) -> None:
    """A plain function, or an object of a user's own."""

    def part(*_: object) -> Iterable[Any]:
        return ()

    assert 0 == ahead(with_part(field, part)).count


@pytest.mark.parametrize("field", ["hook", "mask", "early", "before_leaf_store"])
def test_part_that_says_no_is_believed(field: str) -> None:
    """It is told of which pages."""
    asked = []

    class No(PinAndHook):
        def alike(self, guest: Guest, first: int, end: int) -> bool:  # noqa: ARG002
            """Never."""
            asked.append((first, end))
            return False

        def leaves(self, guest: Guest, first: int, end: int) -> Iterable[Range]:  # noqa: ARG002
            """None."""
            return ()

    plain = ahead(with_part(field, No()))

    assert 0 == plain.count
    assert [(plain.region * 512, REGIONS * 512)] == asked


def test_walk_at_the_hook_is_alike_where_no_known_table_is_mapped() -> None:
    """One that is looked for is found in some region."""
    walking = replace(find_strategy("hook-walk"), placement=find_strategy("tables-low").placement)
    plain = alike(walking)
    plain.guest.tables.known.add(plain.region * 512 - 1)
    assert plain.count > 0

    plain.guest.tables.known.add((plain.region + 20) * 512)
    assert 0 == plain.count


def polling() -> Ahead:
    """ro-window, whose buffer is remembered."""
    plain = ahead("ro-window")
    assert 0 == plain.count, "the first store of a leaf remembers the buffer"
    buffer = plain.guest.tables.buffer
    plain.guest.strategy_state.saved = Buffer(buffer.start, buffer.start + 1, buffer.top)
    plain.pages = replace(plain.pages, count=20)
    assert 20 == plain.count
    return plain


def test_polling_is_alike_until_another_buffer_is_taken() -> None:
    """Then the one that is remembered is another."""
    plain = polling()
    plain.guest.strategy_state.saved.start += 1

    assert 0 == plain.count


def test_polling_is_alike_until_the_call_has_ended() -> None:
    """Then what was left over gets its permission back."""
    plain = polling()
    start = plain.guest.tables.buffer.start
    plain.guest.memblock.reserve(start, start + 1)

    assert 0 == plain.count


# -- examples that are none, and parts that say false ---------------------------------------------


def told(plan: Strategy, *, timed: bool = True) -> list[int]:
    """What is told again in a boot of the plain guest."""
    start = domain_builder.build(
        PLAIN, plan.kernel, find_abi("4.2dev"), debug=True, pcpus=1, paging=plan.paging
    )
    repetitions = Repetitions()
    kernel = repetitions.over(boot(Guest(start, plan)))
    if timed:
        simulation = Simulation(PRICES, Streams(0), probe=Notes())
        simulation.start(kernel)
        simulation.run()
    else:
        drain(kernel)
    return repetitions.told


class Hooking:
    """The kernel's own way, and something besides, which it says is alike."""

    def __init__(self, besides: Callable[[Guest, int], Activity], regions: set[int]) -> None:
        self.besides = besides
        self.regions = regions
        """Where it is done."""

    def l1(self, guest: Guest, table: int, slot: int, page: Page) -> Activity:
        """As ever, and more."""
        yield from PinAndHook().l1(guest, table, slot, page)
        if slot in self.regions:
            yield from self.besides(guest, page.mfn)

    def upper(self, guest: Guest, table: int, slot: int, page: Page) -> Activity:
        """As ever."""
        return PinAndHook().upper(guest, table, slot, page)

    def alike(self, guest: Guest, first: int, end: int) -> bool:  # noqa: ARG002
        """Yes, it says."""
        return True


def _say(guest: Guest, mfn: int) -> Activity:
    guest.xen.console.lines.append(None)  # type: ignore[arg-type]
    yield STEP


def _refuse(guest: Guest, mfn: int) -> Activity:
    guest.refused.append(None)  # type: ignore[arg-type]
    yield STEP


def _touch_above(guest: Guest, mfn: int) -> Activity:
    guest.frames.count_info[guest.frames.index(guest.start.ident_l2)] += 1
    yield STEP


def _look_at_a_frame(guest: Guest, mfn: int) -> Activity:
    leaf = guest.frames.words(mfn)[0]
    guest.frames.index(leaf >> 12 & (1 << 40) - 1)
    yield STEP


UNFIT = [_say, _refuse, _touch_above, _look_at_a_frame]


@pytest.mark.parametrize("besides", UNFIT)
def test_region_that_leaves_more_than_itself_is_no_example(
    besides: Callable[[Guest, int], Activity],
) -> None:
    """A line, a refusal, the table above, a frame unlike the others: the run is one region long."""
    everywhere = Hooking(besides, set(range(512)))
    plan = replace(find_strategy("tables-low"), hook=everywhere)

    assert [] == told(plan, timed=False)


def _cost(guest: Guest, mfn: int) -> Activity:
    yield Spend("table_entry_read")


def _draw(guest: Guest, mfn: int) -> Activity:
    yield Draw("gap", Constant(5.0))


def _count(guest: Guest, mfn: int) -> Activity:
    guest.plain_stores += 1
    yield STEP


def _counter(guest: Guest, mfn: int) -> Activity:
    guest.xen.counters["calls", "odd"] += 1
    yield STEP


def _flush(guest: Guest, mfn: int) -> Activity:
    guest.xen.clock.flush(0)
    yield STEP


def _state(guest: Guest, mfn: int) -> Activity:
    guest.frames.words(mfn)[9] ^= RW
    yield STEP


def _book(guest: Guest, mfn: int) -> Activity:
    guest.tables.pinned.discard(guest.pfn_of(mfn))
    yield STEP


FALSE = [
    (_cost, "cost"),
    (_draw, "cost"),
    (_count, "counts"),
    (_counter, "counts"),
    (_flush, "counts"),
    (_state, "state"),
    (_book, "state"),
]


@pytest.mark.parametrize(("besides", "what"), FALSE)
def test_part_that_says_false_is_an_error(
    besides: Callable[[Guest, int], Activity], what: str
) -> None:
    """The last region comes to something else than the first, and that is what is said."""
    plan = replace(find_strategy("tables-low"), hook=Hooking(besides, {REGIONS - 1}))

    with pytest.raises(NotAlike, match=f"the {what} of the first was"):
        told(plan)


@pytest.mark.parametrize("besides", [_cost, _count, _counter, _flush])
def test_what_is_done_in_every_region_is_told_again(
    besides: Callable[[Guest, int], Activity],
) -> None:
    """It is alike: the same part is believed where it says the truth."""
    plan = replace(find_strategy("tables-low"), hook=Hooking(besides, set(range(512))))

    assert told(plan)
