"""The boot log for which the workaround of 2.6.39-rc6 was reverted (Linux 92bdaef7b2c5).

A guest of 7.5 GiB with 8 MiB of slack; "initial memory mapped : 0 - 02c3a000".
"""

import pytest

from tests.boots import record_of

GUEST = "domU-7.5GiB-2011"

# Linux 92bdaef7b2c5, the commit message: "kernel direct mapping tables up to 100000000 @
# ff7fb000-100000000" and "... up to 1e0800000 @ 1df0f3000-1e0000000"; "xen: setting RW the range
# fffdc000 - 100000000" is what the first call left over. The second call's used end follows from
# the sizes: 1800 of its 3853 pages.
BUFFERS = [
    {"start": "0xff7fb000", "end": "0xfffdc000", "top": "0x100000000"},
    {"start": "0x1df0f3000", "end": hex(0x1DF0F3000 + 1800 * 0x1000), "top": "0x1e0000000"},
]
# "NODE_DATA [00000001dfffb000 - 00000001dfffffff]"
NODE_DATA = "0x1dfffb000"


@pytest.mark.parametrize("strategy", ["ro-window", "reserve-hook"])
def test_buffers_lie_where_the_log_shows_them(strategy: str) -> None:
    """Both calls, with the part of the buffer that was used."""
    assert BUFFERS == record_of(GUEST, strategy)["buffers"]


@pytest.mark.parametrize("strategy", ["ro-window", "reserve-hook"])
def test_node_data_lies_where_the_log_shows_it(strategy: str) -> None:
    """The boot allocator hands out the top of memory, which the second call had left over."""
    assert {"NODE_DATA": NODE_DATA} == record_of(GUEST, strategy)["allocations"]


def test_ro_window_dies_storing_to_node_data() -> None:
    """The page is read-only and no table, so nobody emulates the store: "Oops: 0003"."""
    record = record_of(GUEST, "ro-window")

    failure = record["failure"]
    assert ("crash", "oops", "0x1dfffb") == (record["outcome"], failure["kind"], failure["pfn"])
    assert any("Oops: 0003" in line for line in failure["guest_console"])
    # The hypervisor has nothing to say.
    assert [] == failure["console"]


def test_ro_window_leaves_the_tail_of_the_second_buffer_read_only() -> None:
    """0x1df7fb000 to 0x1e0000000 is 2053 pages; the first call's 36 are writable again."""
    pages = record_of(GUEST, "ro-window")["pages"]

    assert (2053, 36 + 2053) == (pages["left_read_only"], pages["left_over"])


def test_ro_window_survives_if_anything_is_mapped_early() -> None:
    """Most machines map firmware tables before node 0's data is set up; that flips the tail."""
    record = record_of(GUEST, "ro-window", "guest.early_mapping_after=true")

    assert ("ok", 0) == (record["outcome"], record["pages"]["left_read_only"])


def test_reserve_hook_lives_and_leaves_nothing_read_only() -> None:
    """Linux 279b706bf800 makes the same pages writable before anybody can get hold of them."""
    record = record_of(GUEST, "reserve-hook")

    pages = record["pages"]
    expected = ("ok", 36 + 2053, 0)
    assert expected == (record["outcome"], pages["left_over"], pages["left_read_only"])


def test_tables_high_would_have_died_at_the_table_of_region_3836() -> None:
    """Of 2.6.39-rc5 on this guest there is no log; its rule leads to pfn 0x1df7f3.

    For the fourth to the seventh GiB an L2 and 512 L1s each come from the second buffer; the last
    GiB's L2 and the L1s of regions 3584 to 3835 follow. The next page is the L1 of region 3836, and
    it is mapped in the L1 taken just before it.
    """
    failure = record_of(GUEST, "tables-high")["failure"]

    page = 0x1DF0F3 + 3 * (1 + 512) + (1 + 3836 - 3584)
    assert ("pin", hex(page)) == (failure["kind"], failure["pfn"])
    assert ("0x1df7f3", 3835) == (failure["pfn"], page >> 9)
