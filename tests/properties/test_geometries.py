"""Boots of guests with any memory map: who survives, who dies where, and what is mapped then."""

from collections.abc import Iterable
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import assume, event, given, settings
from numpy.typing import NDArray

from models.linux.boot.guest import Guest
from models.linux.boot.strategy import Strategy
from models.linux.start_state.geometry import Geometry, Range
from models.machine.entries import ENTRIES, PRESENT, RW, mfn_of
from models.machine.walk import find_leaf
from models.strategies.alloc_only import alloc_only
from models.strategies.reserve_hook import reserve_hook
from models.strategies.tables_high import tables_high
from models.xen.checks.invariants import check
from models.xen.versions.paging import Paging
from tests.boots import boot_instantly
from tests.properties.counting import L3_PAGES, clipped, subtract
from tests.properties.geometries import GIB, MIB, far_geometries, geometries

# Of each of a dozen and a half boots of up to 5 GiB.
EXAMPLES = 14

SURVIVORS = {
    "tables-low": "4.2dev",
    "ro-window": "4.2dev",
    "reserve-hook": "4.2dev",
    "hook-walk": "4.2dev",
    "publish-free": "4.2dev",
    "tables-first": "4.2dev",
    "offline-pin": "4.2dev",
    "shadow": "4.2dev",
    "patch-alias": "4.17",
    "mapped-only-3.10": "4.17",
    "mapped-only-5.10": "4.17",
    "mapped-only-6.1": "4.17",
}


def contiguous(pages: int) -> Geometry:
    """A guest without holes, its image 44 MiB."""
    return Geometry(kind="domU", e820=((0, pages << 12),), kernel_end=44 * MIB << 12)


# -- what is mapped -------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", SURVIVORS)
@given(memory_map=geometries())
@settings(max_examples=EXAMPLES, deadline=None)
def test_safe_strategy_maps_all_ram_and_leaves_no_table_writable(
    strategy: str, memory_map: Geometry
) -> None:
    """Every page with a frame has its own leaf, read-only for tables and for nothing else.

    (And since 5.10 for the pages of the p2m list: xen_make_pte_init; and for tables of the start
    state that a new tree has replaced.) Xen's counts are right.
    """
    guest, crash = boot_instantly(memory_map, strategy, xen=SURVIVORS[strategy])

    if strategy == "tables-low" and crash is not None:
        # The one way in which it can fail: what is mapped has no room for them.
        assert "Cannot find space for the kernel page tables" in crash.message
        assert not guest.hazards.tables or len(guest.tables.buffers) == 1
        return
    assert crash is None
    require_safe_map(guest, memory_map)


@given(memory_map=geometries())
@settings(max_examples=10, deadline=None)
def test_offline_pin_needs_no_more_than_one_mapped_page(memory_map: Geometry) -> None:
    """With the image at 1 MiB too little is mapped: tables at the top are written through a page.

    That takes a call a table, as does making a page read-only that is mapped.
    """
    start = MIB << 12
    assume(any(low <= start and memory_map.kernel_end <= high for low, high in memory_map.e820))
    low_kernel = msgspec.structs.replace(memory_map, kernel_start=start, reserved=None)

    guest, crash = boot_instantly(low_kernel, "offline-pin")

    assert crash is None
    require_safe_map(guest, low_kernel)
    event("high" if max(guest.hazards.tables) > len(guest.start.builder_l1s) * 512 else "low")
    calls_made = guest.xen.counters["hypercalls_direct", "update_va_mapping"]
    early = guest.geometry.early_mapping_after
    assert len(guest.hazards.tables) + early == calls_made


@given(memory_map=geometries(sizes=(160 * MIB,)))
@settings(max_examples=5, deadline=None)
def test_filling_a_live_table_maps_the_same(memory_map: Geometry) -> None:
    """ptwr-fill is tables-low in another order."""
    guest, crash = boot_instantly(memory_map, "ptwr-fill")

    assert crash is None
    require_safe_map(guest, memory_map)


@pytest.mark.parametrize("strategy", [tables_high, reserve_hook, alloc_only])
def test_hooking_first_does_not_help_tables_that_are_not_mapped(strategy: Strategy) -> None:
    """An empty table maps nothing writable, so its pin is granted, but it cannot be written.

    Its address in the direct map is not mapped yet, and its temporary mapping is gone.
    """
    hook_first = replace(strategy, hook_first=True)

    guest, crash = boot_instantly(contiguous(512 * MIB), hook_first)

    assert crash is not None
    first_table = guest.tables.buffer.start
    assert ("oops", [first_table]) == (crash.kind, list(guest.hazards.tables))
    assert f"{guest.va(first_table):016x}: the page is not mapped" in crash.message


@given(memory_map=geometries())
@settings(max_examples=25, deadline=None)
def test_translated_guest_maps_all_ram_with_as_few_l1s_as_there_are_odd_ends(
    memory_map: Geometry,
) -> None:
    """Whole regions take a leaf of 2 MiB; Xen hears of nothing but memory that is touched."""
    guest, crash = boot_instantly(memory_map, "auto-translated")

    assert crash is None
    check(guest.xen)
    ram = [(start >> 12, end >> 12) for start, end in memory_map.e820]
    for first, end in ram:
        for pfn in (*range(first, end, ENTRIES // 2), end - 1):
            va = guest.va(pfn)
            assert (pfn, True) == find_leaf(guest.frames, guest.vcpu.cr3, va)[1:]
    ends = [end for _, end in calls(ram)]
    assert sum(end % ENTRIES != 0 for end in ends) == guest.tables.fresh[1]
    # What is mapped 1:1 for a dom0 is known to its memory map, too (e820_any_mapped of any type).
    known = [*ram, *((start >> 12, end >> 12) for start, end in memory_map.identity)]
    walked = [piece for first, end in calls(ram) for piece in clipped(known, first, end)]
    gibs = {first // GIB for start, end in walked for first in range(start // GIB * GIB, end, GIB)}
    assert len(gibs - {0}) == guest.tables.fresh[2]
    assert 0 == guest.xen.counters["calls", "traps"]
    ept_faults = guest.xen.counters["nested", "ept_violations"]
    assert len({pfn // ENTRIES for pfn in guest.hazards.tables}) <= ept_faults + 1
    assert ept_faults <= -(-ram[-1][1] // ENTRIES)


def require_safe_map(guest: Guest, memory_map: Geometry) -> None:
    """All RAM is mapped, tables read-only, and everything that is counted is right."""
    check(guest.xen)
    frames, ram = frames_by_page(memory_map, guest)
    mapped, present, writable = leaves_by_page(guest, frames.size)
    assert np.array_equal(present[ram], frames[ram] >= 0)
    with_frame = ram & (frames >= 0)
    assert np.array_equal(mapped[with_frame], frames[with_frame])
    read_only = np.isin(frames, list(tables_of(guest)))
    if guest.xen.paging is Paging.SHADOW:
        read_only[:] = False  # the guest's own leaves: what cannot be written, the shadows know
    if guest.kernel.p2m_read_only:
        for first, last in guest.start.layout.p2m_pages:
            read_only[first:last] = True
    if guest.strategy.name == "offline-pin":
        # The L4, the L3 and the L2 that mapped the start state's RAM: static data of the kernel.
        start = guest.start
        replaced = {start.init_l4, start.ident_l3, start.ident_l2}
        assert {guest.pfn_of(mfn) for mfn in replaced} == guest.retired
        read_only |= np.isin(frames, list(replaced))
    assert np.array_equal(writable[with_frame], ~read_only[with_frame])


@pytest.mark.parametrize("strategy", ["reserve-hook", "tables-first"])
@given(memory_map=geometries())
@settings(max_examples=EXAMPLES, deadline=None)
def test_old_kernels_map_the_hosts_own_pages_one_to_one(
    strategy: str, memory_map: Geometry
) -> None:
    """A dom0's identity pages, as far as the kernel's calls reach: frame and page are the same."""
    guest, _ = boot_instantly(memory_map, strategy)

    mapped, present, _ = leaves_by_page(guest, memory_map.e820[-1][1] >> 12)
    for first, last in memory_map.identity:
        for low, high in _calls_of(memory_map):
            pages = range(max(first >> 12, low), min(last >> 12, high))
            assert present[pages].all()
            assert list(pages) == mapped[pages].tolist()


def frames_by_page(
    memory_map: Geometry, guest: Guest
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The frame of each page (-1: none), and which pages are RAM."""
    end = memory_map.e820[-1][1] >> 12
    frames = np.full(end, -1, np.int64)
    for extent in memory_map.p2m or ():
        frames[extent.pfn : extent.pfn + extent.pages] = extent.mfn + np.arange(extent.pages)
    ram = np.zeros(end, bool)
    for first, last in memory_map.e820:
        ram[first >> 12 : last >> 12] = True
    return frames, ram


def leaves_by_page(
    guest: Guest, pages: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Of each page's leaf in the direct map: its frame, is it present, is it writable.

    Found by a walk from the L4 that is loaded, a table at a time.
    """
    regions = range(-(-pages // ENTRIES))
    leaves = np.concatenate([leaves_of_region(guest, region) for region in regions])[:pages]
    return frames_of(leaves), (leaves & np.uint64(PRESENT)) != 0, (leaves & np.uint64(RW)) != 0


def leaves_of_region(guest: Guest, region: int) -> NDArray[np.uint64]:
    """The 512 leaves of a region of the direct map; zeroes where there is no table."""
    words = guest.frames.words
    entry = words(guest.vcpu.cr3)[guest.kernel.page_offset_slot + region // ENTRIES**2]
    for index in (region // ENTRIES % ENTRIES, region % ENTRIES):
        entry = words(mfn_of(entry))[index] if entry & PRESENT else 0
    return guest.frames.array(mfn_of(entry)) if entry & PRESENT else np.zeros(ENTRIES, np.uint64)


def frames_of(leaves: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The frames that entries point to."""
    return ((leaves >> np.uint64(12)) & np.uint64((1 << 40) - 1)).astype(np.int64)


def tables_of(guest: Guest) -> set[int]:
    """Frames of all tables that the loaded L4 leads to, itself included."""
    tables = {guest.vcpu.cr3}
    level = tables
    for _ in range(3):
        entries = (entry for table in level for entry in guest.frames.array(table).tolist())
        level = {mfn_of(entry) for entry in entries if entry & PRESENT}
        tables = tables | level
    return tables


# -- where tables-high dies -----------------------------------------------------------------------


@given(memory_map=geometries())
@settings(max_examples=EXAMPLES, deadline=None)
def test_tables_high_dies_exactly_where_a_table_was_mapped_before_it_was_one(
    memory_map: Geometry,
) -> None:
    """The model decides by what Xen's checks say; the rule decides by arithmetic."""
    guest, crash = boot_instantly(memory_map, "tables-high")

    fatal = first_fatal_page(memory_map, guest)
    event("crash" if fatal is not None else "ok")
    if fatal is None:
        assert crash is None
    else:
        assert crash is not None
        assert ("pin", fatal) == (crash.kind, crash.pfn)
    check(guest.xen)


@given(memory_map=geometries())
@settings(max_examples=EXAMPLES, deadline=None)
def test_remembering_tables_when_they_are_taken_is_as_good_as_the_range(
    memory_map: Geometry,
) -> None:
    """deferred-ro-early dies where tables-high does, of the same page."""
    _, crash = boot_instantly(memory_map, "deferred-ro-early")
    _, expected = boot_instantly(memory_map, "tables-high")

    assert (expected is None) == (crash is None)
    if crash is not None and expected is not None:
        assert (expected.kind, expected.pfn) == (crash.kind, crash.pfn)


@pytest.mark.parametrize("strategy", ["alloc-only", "deferred-ro", "hook-walk-literal"])
@given(memory_map=geometries())
@settings(max_examples=EXAMPLES, deadline=None)
def test_looking_when_a_table_is_hooked_is_too_late(strategy: str, memory_map: Geometry) -> None:
    """Fatal whenever the buffer lies in memory still to be mapped: some table maps itself."""
    guest, crash = boot_instantly(memory_map, strategy)

    mapped = len(guest.start.builder_l1s)
    still_to_be_mapped = False
    for (first, _), buffer in zip(_calls_of(memory_map), guest.tables.buffers, strict=False):
        still_to_be_mapped |= buffer.used_end > buffer.start and buffer.start >> 9 >= max(
            mapped, first >> 9
        )
    event("to be mapped" if still_to_be_mapped else "mapped")
    if still_to_be_mapped:
        assert crash is not None
        assert "pin" == crash.kind
    check(guest.xen)


def _calls_of(memory_map: Geometry) -> Iterable[Range]:
    return calls([(start >> 12, end >> 12) for start, end in memory_map.e820])


# -- more than one L3 -----------------------------------------------------------------------------

# The others give back a thousand pages for each 4 GiB of addresses, one by one.
FAR = ["hook-walk", "tables-first", "patch-alias", "mapped-only-3.10", "mapped-only-6.1"]
GIVING_BACK = ["ro-window", "reserve-hook", "publish-free"]


def assert_all_ram_is_mapped(strategy: str, memory_map: Geometry) -> None:
    """Every page of RAM has a leaf with its frame, and Xen's counts are right."""
    guest, crash = boot_instantly(memory_map, strategy, xen=SURVIVORS[strategy])

    assert crash is None
    check(guest.xen)
    for extent in memory_map.p2m or ():
        for region in range(extent.pfn >> 9, -(-(extent.pfn + extent.pages) >> 9)):
            low = max(extent.pfn, region << 9)
            high = min(extent.pfn + extent.pages, region + 1 << 9)
            leaves = leaves_of_region(guest, region)[low - (region << 9) : high - (region << 9)]
            expected = extent.mfn - extent.pfn + np.arange(low, high)
            assert np.array_equal(expected, frames_of(leaves))


@pytest.mark.parametrize("strategy", FAR)
@given(memory_map=far_geometries())
@settings(max_examples=5, deadline=None)
def test_safe_strategy_maps_ram_behind_512_gib(strategy: str, memory_map: Geometry) -> None:
    """A fresh L3 is hooked after the L2s and L1s below it, which no walk finds till then."""
    assert_all_ram_is_mapped(strategy, memory_map)


@pytest.mark.long
@pytest.mark.parametrize("strategy", GIVING_BACK)
@given(memory_map=far_geometries())
@settings(max_examples=3, deadline=None)
def test_safe_strategy_gives_back_what_it_took_for_512_gib(
    strategy: str, memory_map: Geometry
) -> None:
    """A quarter of a million pages that were reserved for tables and not needed."""
    assert_all_ram_is_mapped(strategy, memory_map)


@given(memory_map=far_geometries())
@settings(max_examples=EXAMPLES, deadline=None)
def test_tables_high_dies_by_the_same_rule_behind_512_gib(memory_map: Geometry) -> None:
    """There a whole L3 is out of reach while it is filled, not just one L2."""
    guest, crash = boot_instantly(memory_map, "tables-high")

    fatal = first_fatal_page(memory_map, guest)
    event("crash" if fatal is not None else "ok")
    assert fatal == (None if crash is None else crash.pfn)
    check(guest.xen)


# What is known of guests without holes: RAM of up to 4 GiB in whole MiB survives, as does what ends
# at most about 8 MiB above a GiB boundary; an odd end may be fatal, and so is all else above 4 GiB.
@pytest.mark.parametrize(
    ("pages", "survives"),
    [
        (1 * GIB, True),
        (2 * GIB, True),
        (2100 * MIB, True),
        (2100 * MIB + 8, False),
        (3 * GIB, True),
        (4 * GIB, True),
        (4 * GIB + 512 * MIB, False),
        (6 * GIB, False),
        (7 * GIB + 8 * MIB, True),
    ],
)
def test_tables_high_survives_by_luck_of_the_size(pages: int, *, survives: bool) -> None:
    """Both the model and the rule that it is compared with agree with what is known."""
    guest, crash = boot_instantly(contiguous(pages), "tables-high")

    fatal = first_fatal_page(contiguous(pages), guest)
    assert [survives] * 2 == [crash is None, fatal is None]


def first_fatal_page(memory_map: Geometry, guest: Guest) -> int | None:
    """The page whose pin is refused, by the rule of 2.6.39-rc1 to rc5; None if there is none.

    Let page S + i of a call's buffer become the L1 of region r. It was mapped writable if the
    region that it lies in is below r: the L1 of that region was filled before. The kernel's walk
    finds that L1, and takes the write permission away, once all tables above are hooked. So it is
    fatal if both regions are in the same GiB and the L2 of that GiB is a fresh one; or in the same
    512 GiB, if their L3 is.
    """
    ram = [(start >> 12, end >> 12) for start, end in memory_map.e820]
    known = [*ram, *((start >> 12, end >> 12) for start, end in memory_map.identity)]
    taken = list(guest.start.layout.reserved)
    present = len(guest.start.builder_l1s)
    live, live_l3s = {0}, {0}
    for first, end in calls(ram):
        start = highest_free_run(ram, taken, buffer_pages(end), end)
        page = start
        for gib in range(first // GIB, -(-end // GIB)):
            upper = gib // ENTRIES
            fresh_l3 = upper not in live_l3s
            page += fresh_l3 and (gib % ENTRIES == 0 or gib == first // GIB)
            if gib % ENTRIES == ENTRIES - 1:
                live_l3s.add(upper)
            if not any(low < (gib + 1) * GIB and high > gib * GIB for low, high in known):
                continue
            fresh = gib not in live
            page += fresh
            for region in range(max(first, gib * GIB) >> 9, -(-min(end, (gib + 1) * GIB) >> 9)):
                if region < present:
                    continue
                within = (fresh and page // GIB == gib) or (fresh_l3 and page // L3_PAGES == upper)
                if within and page >> 9 < region:
                    return page
                page += 1
            live.add(gib)
        taken.append((start, page))
    return None


def calls(ram: list[Range]) -> Iterable[Range]:
    """The ranges that setup_arch() maps: up to 4 GiB, and from there on."""
    yield 0, max(min(end, 4 * GIB) for start, end in ram if start < 4 * GIB)
    if ram[-1][1] > 4 * GIB:
        yield 4 * GIB, ram[-1][1]


def buffer_pages(end: int) -> int:
    """What find_early_table_space() sets aside for tables of [0, end)."""
    upper, lower = -(-end // GIB), -(-end // ENTRIES)
    return -(-upper // ENTRIES) + -(-lower // ENTRIES) + -(-end // ENTRIES)


def highest_free_run(ram: list[Range], taken: list[Range], pages: int, end: int) -> int:
    """The first page of the highest run of this many free pages below ``end``."""
    free = subtract(clipped(ram, 0, end), taken)
    return max(last - pages for first, last in free if last - first >= pages)
