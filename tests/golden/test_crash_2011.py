"""The crash that 2.6.39-rc6 set out to fix, as its message shows it (Linux a38647837a41)."""

import pytest

from tests.boots import record_of

# Linux a38647837a41, the commit message; "(XEN) " in front is left out. (The log goes on with
# "traps.c:481:d0 Unhandled invalid opcode fault/trap [#6] on VCPU 0", which is the kernel's BUG().)
PUBLISHED = [
    (
        "mm.c:2466:d0 Bad type (saw 7400000000000001 != exp 1000000000000000) "
        "for mfn b1d89 (pfn bacf7)"
    ),
    "mm.c:3027:d0 Error while pinning mfn b1d89",
]


def test_tables_high_dies_with_the_published_lines() -> None:
    """The console of the hypercall that fails holds these two lines and no other."""
    failure = record_of("dom0-2011", "tables-high")["failure"]

    assert PUBLISHED == failure["console"]


def test_tables_high_dies_at_the_published_page() -> None:
    """An L1 of the direct map could not be pinned, and the kernel called BUG()."""
    record = record_of("dom0-2011", "tables-high")

    failure = record["failure"]
    expected = ("crash", "pin", "0xb1d89", "0xbacf7")
    assert expected == (record["outcome"], failure["kind"], failure["mfn"], failure["pfn"])


def test_page_is_the_table_of_the_region_behind_its_own() -> None:
    """The page becomes the L1 of region 1495 (2 MiB each) and is mapped in region 1494.

    From the geometry alone: RAM ends at pfn 0xbf800, the buffer at 0xbad40. It has an L1 for each
    of 1532 regions and the pages that 2.6.39's find_early_table_space() adds for upper levels, 3
    and 1. Handed out before the page in question are the L1s of regions 34 to 511 (the domain
    builder made the first 34), and for the next GiB an L2 and the L1s of regions 512 to 1023,
    and for the one behind it an L2 and the L1s of regions 1024 to 1494.
    """
    record = record_of("dom0-2011", "tables-high")

    start = 0xBAD40 - (1532 + 3 + 1)
    assert hex(start << 12) == record["buffers"][0]["start"]
    page = start + (512 - 34) + (1 + 512) + (1 + 1495 - 1024)
    assert (0xBACF7, 1494) == (page, page >> 9)


def test_alias_that_stays_is_counted() -> None:
    """One page was a table with a writable alias that no walk could reach."""
    assert record_of("dom0-2011", "tables-high")["hazard"]["unreachable"] == 1


@pytest.mark.parametrize(
    "strategy",
    ["tables-low", "ro-window", "reserve-hook", "mapped-only-3.10", "mapped-only-6.1"],
)
def test_other_strategies_survive(strategy: str) -> None:
    """What came before 2.6.39-rc1 and what came after rc5 boot on the same machine."""
    record = record_of("dom0-2011", strategy)

    assert ("ok", None) == (record["outcome"], record["failure"])
