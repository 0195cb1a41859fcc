"""Boots of Linux 6.1.192 (Debian) recorded on Xen 4.17.7, and the same boots simulated.

Recorded were counters inside the hypervisor over the part of the boot that builds the direct map
(``data/boot_counts.json``), and for the dom0 with 256 MiB what the hypervisor did, in order
(``data/trace-256M-directmap.txt.gz``, of which only the kinds of record compared here are kept).
"""

import gzip
import json
from pathlib import Path

import pytest

from experiments.scenario.scenario import geometry, load
from tests.boots import boot_instantly, record_of

DATA = Path(__file__).parent / "data"

Counters = dict[str, dict[str, int]]

RECORDED: dict[str, Counters] = json.loads((DATA / "boot_counts.json").read_bytes())["phases"]

# Counted between two console lines of the kernel, and not part of what is in between.
OUTSIDE = {
    "hypercalls_direct": {
        "console_io",  # printing those lines, and memblock's
        "set_trap_table",  # made once the direct map is complete, just before the second line
    },
}
# What the model counts and the recording does not.
UNRECORDED = {"calls", "hypercalls_continued", "validated_entries"}

# Pages for tables: of the BRK window (16 pages), and of memblock, which says so of each.
TABLE_PAGES = {
    "dom0-256M-6.1": (2, 89),
    "dom0-512M-6.1": (2, 217),
    "dom0-2G-6.1": (16, 973),
    "domU-256M-6.1": (1, 89),
}

# ``M`` an mmu_update request: command, level of the page (0: no table), machine address, new and
# old entry, result. ``U`` update_va_mapping: address, new entry, flags, old entry, result. ``X``
# an mmuext operation: command, first argument, 0, result. ``V`` a page is validated: level, mfn,
# first slot, present entries, result. ``T`` a flush as a page changes its type: mfn, type words.
# ``P`` a store that was emulated: address, new and old entry, result.
TRACE_FORMATS = {
    "M": "M {} {} {:x} {:x} {:x} {}",
    "U": "U {:x} {:x} {:x} {:x} {}",
    "X": "X {} {:x} 0 {}",
    "V": "V {} {:x} {} {} {}",
    "T": "T {:x} {:x}->{:x}",
    "P": "P {:x} {:x} {:x} {}",
}


def without(counters: Counters, outside: dict[str, set[str]]) -> Counters:
    """The counters but for those named."""
    return {
        group: {key: n for key, n in keys.items() if key not in outside.get(group, ())}
        for group, keys in counters.items()
    }


@pytest.mark.parametrize("scenario", RECORDED)
def test_counters_equal_the_recorded_ones(scenario: str) -> None:
    """Every counter of every group, and none that the recording does not have."""
    recorded = without(RECORDED[scenario], OUTSIDE)
    # A histogram of the requests in a call: it has one bar, compared below.
    del recorded["mmu_update_batch_hist"]

    counters = record_of(scenario, "mapped-only-6.1")["xen_counters"]

    assert recorded == {key: n for key, n in counters.items() if key not in UNRECORDED}


@pytest.mark.parametrize("scenario", RECORDED)
def test_each_mmu_update_makes_one_request(scenario: str) -> None:
    """As recorded: nothing is batched during this part of the boot."""
    ones = RECORDED[scenario]["mmu_update_batch_hist"]
    counts = record_of(scenario, "mapped-only-6.1")["counts"]

    assert (ones, counts["mmu_update"]) == ({"1": counts["mmu_update_requests"]}, ones["1"])


@pytest.mark.parametrize("scenario", TABLE_PAGES)
def test_tables_come_from_where_they_were_taken(scenario: str) -> None:
    """First the BRK window, as long as it is not in what is being mapped; then mapped memory."""
    memory_map = geometry(load(scenario))
    guest, _ = boot_instantly(memory_map, "mapped-only-6.1", xen="4.17", debug=False)

    first, last = guest.start.layout.brk
    from_brk = sum(first <= pfn < last for pfn in guest.hazards.tables)
    assert TABLE_PAGES[scenario] == (from_brk, len(guest.hazards.tables) - from_brk)


def test_hypervisor_does_the_same_in_the_same_order() -> None:
    """4130 records of the dom0 with 256 MiB, literally: addresses, frames, entries, results."""
    packed = (DATA / "trace-256M-directmap.txt.gz").read_bytes()
    recorded = gzip.decompress(packed).decode().splitlines()
    simulated: list[str] = []

    def note(kind: str, *fields: int) -> None:
        simulated.append(TRACE_FORMATS[kind].format(*fields))

    memory_map = geometry(load("dom0-256M-6.1"))
    boot_instantly(memory_map, "mapped-only-6.1", xen="4.17", debug=False, trace=note)

    assert 4130 == len(recorded)
    assert recorded == simulated
