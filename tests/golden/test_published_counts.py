"""Counts of hypercalls, emulated stores and tables by guest size, key by key.

They come from two counting models made apart from this simulator, which add up what the kernels'
sources say: one of Linux 2.6.36 to 2.6.39, which reproduces the two boot logs of 2011, and one of
3.10, 5.10 and 6.1, which reproduces every recorded boot of 6.1. The guests have contiguous RAM and
an image of 44 MiB.
"""

from collections import Counter
from typing import Any

import pytest

from experiments.scenario.scenario import geometry, load
from models.linux.start_state.geometry import Geometry, Range
from tests.boots import boot_instantly, record_of

SCENARIOS = {
    "512 MiB": "guest-512M",
    "2 GiB": "guest-2G",
    "4 GiB": "guest-4G",
    "64 GiB": "guest-64G",
}
# 64 GiB take several seconds a boot; one strategy of each shape boots them in every test run.
LONG = pytest.mark.long

# -- Linux 2.6.36 to 2.6.39 -------------------------------------------------------------------

# Fresh L1 and L2 tables; existing tables touched; pages left over; emulated stores; hypercalls by
# kind; plain stores; slots validated.
RESERVE_HOOK = {
    "512 MiB": (228, 0, 30, 30, 258, 288, 228, 484, 520, 233_472, 116_736),
    "2 GiB": (994, 1, 32, 32, 1_027, 1_059, 994, 995, 2_058, 1_018_368, 509_440),
    "4 GiB": (2_016, 3, 34, 34, 2_053, 2_087, 2_016, 2_019, 4_110, 2_065_920, 1_033_728),
    "64 GiB": (
        *(32_676, 63, 95, 2_147, 32_834, 34_981, 32_676, 32_739, 65_675),
        *(33_492_480, 16_762_368),
    ),
}


@pytest.mark.parametrize("guest", RESERVE_HOOK)
def test_reserve_hook(guest: str) -> None:
    """The final fix of 2.6.39, which the other rows are compared with."""
    record = record_of(SCENARIOS[guest], "reserve-hook")
    counts, pages = record["counts"], record["pages"]

    assert RESERVE_HOOK[guest] == (
        pages["l1"],
        pages["l2"],
        # Every table, fresh or not, is mapped early once, and that store is emulated.
        counts["ptwr"] - pages["tables"],
        pages["left_over"],
        counts["ptwr"],
        counts["update_va_mapping"],
        counts["pin_l1"],
        counts["mmu_update"],
        counts["tlb_flush"],
        counts["plain_stores"],
        counts["validated_entries"],
    )


# Hypercalls and emulated stores. Xen validates the same slots under all strategies.
TOTALS = [
    ("tables-low", "512 MiB", 1_628, 228, 116_736),
    ("tables-low", "2 GiB", 5_973, 995, 509_440),
    ("tables-low", "4 GiB", 12_115, 2_019, 1_033_728),
    pytest.param("tables-low", "64 GiB", 196_378, 32_739, 16_762_368, marks=LONG),
    ("tables-high", "512 MiB", 1_490, 258, 116_736),
    ("tables-high", "2 GiB", 5_074, 1_027, 509_440),
    ("tables-high", "4 GiB", 10_198, 2_053, 1_033_728),
    ("reserve-hook", "512 MiB", 1_520, 258, 116_736),
    ("reserve-hook", "2 GiB", 5_106, 1_027, 509_440),
    ("reserve-hook", "4 GiB", 10_232, 2_053, 1_033_728),
    ("reserve-hook", "64 GiB", 166_071, 32_834, 16_762_368),
]


@pytest.mark.parametrize(("strategy", "guest", "hypercalls", "stores", "slots"), TOTALS)
def test_totals_of_the_kernels_before_3_9(
    strategy: str, guest: str, hypercalls: int, stores: int, slots: int
) -> None:
    """A multicall is one hypercall, whatever is in it; emulated stores are counted apart."""
    record = record_of(SCENARIOS[guest], strategy)

    counts = record["counts"]
    got = (counts["traps"], counts["ptwr"], counts["validated_entries"])
    assert ("ok", (hypercalls, stores, slots)) == (record["outcome"], got)


# Strategies of the threads: hypercalls and emulated stores by the same model.
PROPOSED = [
    ("hook-walk", "512 MiB", 1_946, 486),
    ("hook-walk", "2 GiB", 7_065, 2_022),
    ("hook-walk", "4 GiB", 14_239, 4_072),
    pytest.param("hook-walk", "64 GiB", 229_465, 65_573, marks=LONG),
    ("patch-alias", "2 GiB", 5_074, 1_027),
    pytest.param("patch-alias", "64 GiB", 163_928, 32_834, marks=LONG),
]


@pytest.mark.parametrize(("strategy", "guest", "hypercalls", "stores"), PROPOSED)
def test_totals_of_the_strategies_of_the_threads(
    strategy: str, guest: str, hypercalls: int, stores: int
) -> None:
    """Walking leaves spares the pins and the left-overs, and costs two mappings a table."""
    counts = record_of(SCENARIOS[guest], strategy)["counts"]

    assert (hypercalls, stores) == (counts["traps"], counts["ptwr"])


def test_hook_walk_pins_nothing_and_clears_one_leaf_a_table() -> None:
    """By a plain store, since the leaf's table is ordinary memory yet."""
    walked, reserved = (record_of("guest-2G", name) for name in ("hook-walk", "reserve-hook"))

    assert 0 == walked["counts"]["pin_l1"]
    more = walked["counts"]["plain_stores"] - reserved["counts"]["plain_stores"]
    assert walked["pages"]["tables"] == more


# Tables of a whole direct map, level by level from the L1s up to the L4, and hypercalls.
OFFLINE = [
    ("512 MiB", (256, 1, 1, 1), 263),
    ("2 GiB", (1024, 2, 1, 1), 1_032),
    ("4 GiB", (2048, 4, 1, 1), 2_058),
    ("64 GiB", (32_768, 64, 1, 1), 32_838),
]


@pytest.mark.parametrize(("guest", "tables", "hypercalls"), OFFLINE)
def test_offline_pin(guest: str, tables: tuple[int, ...], hypercalls: int) -> None:
    """One update_va_mapping a table; a pin, a base switch, an unpin and a flush; nothing emulated.

    No table was one before. Each is validated once, but for the sixteen slots of the L4 that are
    Xen's own; each is written once, and its leaf in the new map, like those of the old tables
    (K0 L1s and seven above and beside them), once more.
    """
    record = record_of(SCENARIOS[guest], "offline-pin")
    counts, pages = record["counts"], record["pages"]

    number = sum(tables)
    assert ("ok", tables[:3], number) == (
        record["outcome"],
        (pages["l1"], pages["l2"], pages["l3"]),
        pages["tables"],
    )
    assert hypercalls == number + 4 == counts["traps"]
    assert (number, 1, 1, 1, 0, 0) == (
        counts["update_va_mapping"],
        *(counts[key] for key in ("pin_l4", "unpin", "tlb_flush", "mmu_update", "ptwr")),
    )
    assert 512 * number - 16 == counts["validated_entries"]
    existing = {"512 MiB": 28, "2 GiB": 30, "4 GiB": 32, "64 GiB": 92}[guest] + 7
    assert 512 * number + number + existing == counts["plain_stores"]


@pytest.mark.parametrize("guest", ["512 MiB", pytest.param("2 GiB", marks=LONG)])
def test_ptwr_fill_is_tables_low_with_an_emulated_store_a_leaf(guest: str) -> None:
    """RAM in whole regions fills every fresh L1: 512 stores each, which tables-low makes itself.

    The others map fresh tables for a moment, to clear them. Xen validates each L1 while it is
    empty, and a leaf with the store that brings it.
    """
    low, fill = (record_of(SCENARIOS[guest], name) for name in ("tables-low", "ptwr-fill"))

    fresh = RESERVE_HOOK[guest][0]
    more = fill["counts"]["ptwr"] - low["counts"]["ptwr"]
    assert 512 * fresh == more
    same = [key for key in fill["counts"] if key not in ("ptwr", "plain_stores")]
    assert [low["counts"][key] for key in same] == [fill["counts"][key] for key in same]
    assert low["counts"]["plain_stores"] - more == fill["counts"]["plain_stores"]


# Fresh tables hooked into the first GiB's L2, and its slots cleared behind the end of RAM.
FIRST_GIB = {"512 MiB": (256 - 28, 256), "2 GiB": (512 - 30, 0), "4 GiB": (512 - 32, 0)}


@pytest.mark.parametrize("guest", FIRST_GIB)
def test_shadow_makes_the_calls_of_tables_high_and_writes_every_entry_twice(guest: str) -> None:
    """Each temporary mapping is a store to a table in use, and taken away by a call.

    A fresh table is brought into its shadow as a whole when it is entered; so is what is entered
    into a table that is in use: L1s, and cleared slots, in the first GiB's L2, and other GiBs' L2s.
    Xen looks at no entry, and every pin is made and ignored.
    """
    high, record = (record_of(SCENARIOS[guest], name) for name in ("tables-high", "shadow"))
    counts, work = record["counts"], record["xen_counters"]["shadow"]

    calls = ("traps", "update_va_mapping", "mmuext_op", "mmu_update", "pin_l1", "plain_stores")
    assert [high["counts"][key] for key in calls] == [counts[key] for key in calls]
    assert ("ok", 0, 0) == (record["outcome"], counts["ptwr"], counts["validated_entries"])
    l1s, l2s, touched = RESERVE_HOOK[guest][:3]
    mapped = l1s + l2s + touched
    assert mapped == work["write_faults"]
    entries = 2 * mapped + 512 * (l1s + l2s) + sum(FIRST_GIB[guest]) + l2s
    assert entries == work["entries"]


# L2s; pieces of memory that hold fresh tables: the top of each call's range.
NATIVE = [("512 MiB", 0, 0), ("2 GiB", 1, 1), ("4 GiB", 3, 1), ("64 GiB", 63, 2)]


@pytest.mark.parametrize(("guest", "l2s", "pieces"), NATIVE)
def test_auto_translated(guest: str, l2s: int, pieces: int) -> None:
    """No call, no L1; an L2 for each GiB but the first, which head_64.S has mapped.

    The stores: an L2 is mapped for a moment, cleared, filled and entered; the L3 of each call is
    mapped, and in the first the L2 that exists, whose rest is cleared if RAM ends within it.
    """
    record = record_of(SCENARIOS[guest], "auto-translated")
    counts, pages = record["counts"], record["pages"]

    assert ("ok", 0, 0, 0) == (
        record["outcome"],
        *(counts[key] for key in ("traps", "ptwr", "validated_entries")),
    )
    assert (0, l2s, 0) == (pages["l1"], pages["l2"], pages["l3"])
    walks = 2 if guest == "64 GiB" else 1
    rest = 256 if guest == "512 MiB" else 0
    assert l2s * (2 + 512 + 512 + 1) + 2 * (walks + 1) + rest == counts["plain_stores"]
    assert pieces == record["xen_counters"]["nested"].get("ept_violations", 0)


def test_auto_translated_walks_both_tables_for_what_its_tlb_does_not_hold() -> None:
    """2 GiB: before the first flush the L4, the L1 of the temporary slots and two of those slots.

    Then these L1 and slots again for the fresh L2, and the L3's slot to enter it; and the L1 once
    more, behind the flush at the end of the L3, to take the L3's slot away.
    """
    record = record_of("guest-2G", "auto-translated")

    assert 4 + 2 + 1 + 1 == record["xen_counters"]["nested"]["walks"]


@pytest.mark.parametrize("guest", ["512 MiB", "2 GiB", "4 GiB"])
def test_publish_free_batches_what_reserve_hook_does_page_by_page(guest: str) -> None:
    """32 pages a multicall; everything else is the same."""
    batched = record_of(SCENARIOS[guest], "publish-free")
    single = record_of(SCENARIOS[guest], "reserve-hook")
    left_over = single["pages"]["left_over"]

    saved = left_over - -(-left_over // 32)
    assert single["counts"]["traps"] - saved == batched["counts"]["traps"]
    assert single["counts"]["update_va_mapping"] == batched["counts"]["update_va_mapping"]


def test_eight_leaves_are_patched_on_the_guest_of_the_revert_log() -> None:
    """The 7.5 GiB guest: as many as there are tables whose leaf no walk can find."""
    record = record_of("domU-7.5GiB-2011", "patch-alias")
    updates = record_of("domU-7.5GiB-2011", "reserve-hook")["counts"]["mmu_update"]

    assert "ok" == record["outcome"]
    assert 8 == record["hazard"]["unreachable"] == record["counts"]["mmu_update"] - updates


def test_leaf_behind_the_buffer_is_what_tables_first_saves() -> None:
    """Every table's leaf is found: none is left to a mask, and nothing has to be given back."""
    record = record_of("domU-7.5GiB-2011", "tables-first")

    assert ("ok", 0, 0) == (
        record["outcome"],
        record["hazard"]["unreachable"],
        record["pages"]["left_read_only"],
    )


@LONG
def test_tables_high_crashes_with_64_gib() -> None:
    """The second call's buffer has 2147 pages too many, so the tables end below the last regions.

    The buffer is sized for 64 GiB: an L1 for each of 32768 regions, 64 pages' worth of entries for
    the upper levels and 1 on top. For each GiB above the fourth an L2 and 512 L1s come from it; the
    first L1 that is mapped in the L1 just before it is that of region 32764.
    """
    failure = record_of("guest-64G", "tables-high")["failure"]

    start = (64 << 18) - (32_768 + 64 + 1)
    page = start + (63 - 4) * (1 + 512) + (1 + 32_764 - 63 * 512)
    assert ("pin", hex(page)) == (failure["kind"], failure["pfn"])
    assert page >> 9 == 32_763


# Hypercalls where the toolstack adds 8 MiB of RAM, at 4 GiB or above, that the kernel reserves. The
# domain builder knows nothing of them and makes as many L1s as without them.
SLACK = [
    (((0, 512 << 20), (4 << 30, 4104 << 20)), 4_116),
    (((0, 2 << 30), (4 << 30, 4104 << 20)), 7_702),
    (((0, 4104 << 20),), 12_828),
]


@pytest.mark.parametrize(("e820", "hypercalls"), SLACK)
def test_slack_costs_reserve_hook_thousands_of_useless_hypercalls(
    e820: tuple[Range, ...], hypercalls: int
) -> None:
    """The second call sizes its buffer for all of RAM and gives nearly all of it back."""
    memory_map = Geometry(
        kind="domU",
        e820=e820,
        slack=8 << 20,
        kernel_end=44 << 20,
        early_mapping_after=False,
    )

    booted, crash = boot_instantly(memory_map, "reserve-hook")

    assert (None, hypercalls) == (crash, booted.xen.counters["calls", "traps"])


# -- Linux 3.10, 5.10 and 6.1 -----------------------------------------------------------------

# L1s of the domain builder; fresh L1s and L2s; hypercalls by kind (of the mmuext operations, TLB
# flushes); entries that hook a table or clear an empty slot, by level; updates of tables that were
# none yet; full flushes of the local TLB; all hypercalls.
KEYS = (
    *("builder_l1", "l1", "l2", "update_va_mapping", "mmuext_op", "tlb_flush", "mmu_update"),
    *("L2:np_to_p_rw", "L2:np_to_np", "L3:np_to_np", "untyped", "local_full_flush", "traps"),
)
MAPPED_ONLY = {
    ("6.1", "512 MiB"): (24, 232, 0, 232, 234, 1, 2533, 232, 768, 1533, 0, 2766, 2_999),
    ("5.10", "512 MiB"): (
        *(24, 232, 0, 232, 234, 1, 121_317, 232, 768, 1533, 118_784, 2766, 121_783),
    ),
    ("3.10", "512 MiB"): (24, 232, 0, 232, 246, 13, 3300, 232, 1024, 2044, 0, 3545, 3_778),
    ("6.1", "2 GiB"): (24, 1000, 1, 1001, 1002, 1, 3041, 999, 0, 2040, 1, 4042, 5_044),
    ("5.10", "2 GiB"): (
        *(24, 1000, 1, 1001, 1002, 1, 515_041, 999, 0, 2040, 512_001, 4042, 517_044),
    ),
    ("3.10", "2 GiB"): (26, 998, 1, 999, 1012, 13, 3039, 997, 0, 2040, 1, 4050, 5_050),
    ("6.1", "4 GiB"): (24, 2024, 3, 2027, 2026, 1, 4059, 999, 0, 2032, 1025, 5062, 8_112),
    ("5.10", "4 GiB"): (
        *(24, 2024, 3, 2027, 2026, 1, 1_040_347, 999, 0, 2032, 1_037_313, 5062, 1_044_400),
    ),
    ("3.10", "4 GiB"): (28, 2020, 3, 2023, 2036, 15, 4563, 995, 0, 2540, 1025, 5576, 8_622),
    ("6.1", "64 GiB"): (
        *(24, 32744, 63, 32807, 32746, 1, 34599, 999, 0, 1792, 31745, 35662, 100_152),
    ),
    ("5.10", "64 GiB"): (
        *(24, 32744, 63, 32807, 32746, 1, 16_799_527, 999, 0, 1792, 16_796_673, 35662),
        16_865_080,
    ),
    ("3.10", "64 GiB"): (
        *(88, 32680, 63, 32743, 32696, 15, 34983, 935, 0, 2240, 31745, 35996, 100_422),
    ),
}
LONG_ROWS = (("3.10", "64 GiB"), ("5.10", "64 GiB"))
# Upper-level updates flush the TLB since XSA-286; 4.2dev is from before.
XEN = "machine.xen=4.17"


def mapped_only_row(record: dict[str, Any], regions: int) -> dict[str, int]:
    """What a record says to the keys; ``regions`` of 2 MiB are mapped in all."""
    counters: dict[str, dict[str, int]] = record["xen_counters"]
    return {
        "builder_l1": regions - record["pages"]["l1"],
        "untyped": counters["mmu_update_entries_by_target_page_type"].get("writable_page", 0),
        **{key: record["pages"][key] for key in ("l1", "l2")},
        **{
            key: record["counts"][key]
            for key in ("update_va_mapping", "mmuext_op", "tlb_flush", "mmu_update", "traps")
        },
        **{
            key: counters["mmu_update_entries_by_type_and_transition"].get(key, 0)
            for key in ("L2:np_to_p_rw", "L2:np_to_np", "L3:np_to_np")
        },
        "local_full_flush": counters["tlb"]["local_full_flush"],
    }


@pytest.mark.parametrize(
    ("version", "guest"),
    [pytest.param(*row, marks=LONG if row in LONG_ROWS else ()) for row in MAPPED_ONLY],
)
def test_mapped_only(version: str, guest: str) -> None:
    """No store is emulated; every L1 costs three hypercalls, and empty slots are cleared."""
    scenario = SCENARIOS[guest]
    record = record_of(scenario, f"mapped-only-{version}", XEN)

    regions = geometry(load(scenario)).e820[-1][1] >> 21
    expected = dict(zip(KEYS, MAPPED_ONLY[version, guest], strict=True))
    assert ("ok", 0) == (record["outcome"], record["counts"]["ptwr"])
    assert expected == mapped_only_row(record, regions)


# Pages from the BRK window, pages from memblock; hooks and clears in L2s that were not hooked yet.
SOURCES = [
    ("6.1", "512 MiB", (1, 231), (0, 0)),
    ("3.10", "512 MiB", (5, 227), (0, 0)),
    ("6.1", "2 GiB", (16, 985), (1, 0)),
    ("3.10", "2 GiB", (5, 994), (1, 0)),
    ("6.1", "4 GiB", (16, 2011), (1025, 0)),
    ("3.10", "4 GiB", (5, 2018), (1025, 0)),
    pytest.param("6.1", "64 GiB", (16, 32791), (31745, 0), marks=LONG),
    pytest.param("3.10", "64 GiB", (5, 32738), (31745, 0), marks=LONG),
]


@pytest.mark.parametrize(("version", "guest", "pages", "updates"), SOURCES)
def test_mapped_only_takes_tables_from_brk_and_then_from_mapped_memory(
    version: str, guest: str, pages: tuple[int, int], updates: tuple[int, int]
) -> None:
    """The BRK window comes first; a table below an unhooked L2 is hooked by a raw store."""
    raw: Counter[str] = Counter()

    def note(kind: str, *fields: int) -> None:
        if kind == "M" and fields[1] == 0:
            raw["hook" if fields[3] else "clear"] += 1

    memory_map = geometry(load(SCENARIOS[guest]))
    booted, _ = boot_instantly(memory_map, f"mapped-only-{version}", xen="4.17", trace=note)

    first, last = booted.start.layout.brk
    from_brk = sum(first <= pfn < last for pfn in booted.hazards.tables)
    assert pages == (from_brk, len(booted.hazards.tables) - from_brk)
    assert updates == (raw["hook"], raw["clear"])
