"""Runs of alike hypercalls and emulated stores, made in a stretch and one by one: the same.

The stretch is an economy for a CPU that nobody watches, and must not show.
"""

from typing import Any

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from models.machine.entries import ENTRIES, PAGE_SHIFT, PRESENT, RW, USER
from models.xen.accesses import fault, store_each
from models.xen.gate import update_each
from models.xen.hypercalls import Emulation
from models.xen.state import Xen
from models.xen.versions.abi import profile_names
from models.xen.words import COUNT, VALIDATED
from sim.effects import Activity
from sim.instant import Stuck, drain
from tests.properties.l1_machines import (
    DEAD_STATES,
    LIVE_STATES,
    NO_RAM,
    ODD_FLAGS,
    OTHER_STATES,
    TABLE,
    TYPED_STATES,
    FrameState,
    Machine,
    all_columns,
    build,
    entry,
)
from tests.properties.watched import Watch

VA = 0x40_0000
"""Where the table is mapped, read-only."""
L4, L3, L2, L1 = range(0x1500, 0x1504)
"""Frames of the tables that map it."""
STATES = [
    *(FrameState(name, count, 0) for name in LIVE_STATES for count in (1, 2)),
    *(FrameState(name, 0, ticks) for name in DEAD_STATES for ticks in (0, 1000)),
    *(FrameState(name, 1, 0) for name in TYPED_STATES),
    *(FrameState(name, count, 0) for name in OTHER_STATES for count in (0, 1)),
]
TRIALS = settings(max_examples=200, deadline=None)

_ordinary = st.sampled_from([0, PRESENT, PRESENT | RW, PRESENT | RW | USER])
_entries = st.one_of(
    st.builds(entry, st.integers(0x1000, 0x1005), _ordinary),
    st.builds(entry, st.integers(0x1000, 0x1005), _ordinary),
    st.builds(entry, st.sampled_from(NO_RAM), st.just(PRESENT | RW)),
    st.builds(entry, st.just(0x1003), st.sampled_from(ODD_FLAGS).map(lambda odd: odd | PRESENT)),
    st.just(0),
)


@st.composite
def runs_of_entries(draw: st.DrawFn) -> tuple[int, list[int]]:
    """A slot, and what is to be written from there on: rows of frames, or some of many kinds."""
    pages = draw(st.sampled_from([1, 2, 3, 5, 511, 512]))
    slot = draw(st.integers(0, ENTRIES - pages))
    if draw(st.booleans()):
        first, flags = draw(st.sampled_from([0x1000, 0x1200, 0x1001])), draw(_ordinary)
        return slot, [entry(first + number, flags) for number in range(pages)]
    few = draw(st.lists(_entries, min_size=min(pages, 5), max_size=min(pages, 5)))
    return slot, [*few, *[0] * (pages - len(few))]


@st.composite
def pages_to_write(draw: st.DrawFn, of_the_table: st.SearchStrategy[FrameState]) -> Machine:
    """A machine whose page is in some state, and so are a few of those that are to be mapped."""
    states = draw(st.dictionaries(st.integers(0x1000, 0x1004), st.sampled_from(STATES), max_size=2))
    states[TABLE] = draw(of_the_table)
    return Machine(
        draw(st.sampled_from(profile_names())),
        draw(st.booleans()),
        draw(st.sampled_from([0, 5])),
        tuple(draw(st.lists(st.integers(0, 1), max_size=3))),
        tuple(sorted(states.items())),
        draw(st.sampled_from([(), (), ((1, entry(0x1004, PRESENT)),)]))
        if states[TABLE].name in ("L1", "writable")
        else (),
    )


class Bench(Watch):
    """A machine, and what work on it comes to."""

    def __init__(self, machine: Machine, *, at_once: bool) -> None:
        super().__init__(at_once=at_once)
        self.xen = build(machine)

    def run(self, activity: Activity) -> object:
        """What the activity returns, or what it got stuck at."""
        try:
            return drain(self.over(activity))
        except Stuck as stuck:
            return str(stuck)

    def state(self) -> dict[str, Any]:
        """Everything that anybody could look at."""
        xen = self.xen
        vcpu = xen.vcpus[0]
        return {
            "frames": all_columns(xen),
            "table": list(xen.frames.words(TABLE)),
            "console": xen.console.lines.copy(),
            "counters": +xen.counters,
            "clock": (xen.clock.now, list(xen.clock.flushed_at)),
            "vcpu": (vcpu.first_line, vcpu.done, vcpu.holds, vcpu.old_guest_table),
            "spent": +self.spent,
        }


@given(
    machine=pages_to_write(st.sampled_from(STATES)),
    run=runs_of_entries(),
    mfn=st.sampled_from([TABLE, TABLE, TABLE, NO_RAM[0]]),
)
@TRIALS
def test_updates_of_consecutive_entries(
    machine: Machine, run: tuple[int, list[int]], mfn: int
) -> None:
    """One mmu_update each, whatever the page is and whatever is written."""
    slot, entries = run
    benches = [Bench(machine, at_once=at_once) for at_once in (False, True)]
    results = [
        bench.run(
            update_each(bench.xen, bench.xen.vcpus[0], mfn, slot, np.array(entries, np.uint64))
        )
        for bench in benches
    ]

    event("in a stretch" if benches[1].made_at_once else "item by item")
    assert results[0] == results[1]
    assert benches[0].state() == benches[1].state()


@given(
    machine=pages_to_write(st.just(FrameState("L1", 1, 0)) | st.sampled_from(STATES)),
    run=runs_of_entries(),
)
@TRIALS
def test_emulated_stores_to_consecutive_entries(
    machine: Machine, run: tuple[int, list[int]]
) -> None:
    """The first that is refused ends them."""
    slot, entries = run
    benches = [Bench(machine, at_once=at_once) for at_once in (False, True)]
    results = []
    for bench in benches:
        map_read_only(bench.xen)
        results.append(bench.run(stores(bench.xen, VA + 8 * slot, entries)))

    event("in a stretch" if benches[1].made_at_once else "item by item")
    assert results[0] == results[1]
    assert benches[0].state() == benches[1].state()


def map_read_only(xen: Xen) -> None:
    """Put the table under the loaded L4; these tables count nothing here."""
    frames = xen.frames
    for table, slot, below, flags in (
        (L4, VA >> 39, L3, RW),
        (L3, VA >> 30, L2, RW),
        (L2, VA >> 21, L1, RW),
        (L1, VA >> PAGE_SHIFT, TABLE, 0),
    ):
        frames.words(table)[slot & ENTRIES - 1] = entry(below, PRESENT | USER | flags)
    for vcpu in xen.vcpus:
        vcpu.cr3 = L4


def stores(xen: Xen, va: int, entries: list[int]) -> Activity:
    """A guest's stores: True if all of them were made."""
    vcpu = xen.vcpus[0]
    faulted = []

    def store_one(number: int) -> Activity:
        outcome = yield fault(xen, vcpu, va + 8 * number, entries[number])
        if outcome is Emulation.FIXED:
            return None
        faulted.append(number)
        return "faulted"

    values = np.array(entries, np.uint64)
    yield from store_each(xen, vcpu, va, values, store_one)
    return not faulted


@pytest.mark.parametrize("version", profile_names())
def test_fresh_row_is_mapped_in_a_stretch(version: str) -> None:
    """What a boot does for each 2 MiB must not be left to the item-by-item body."""
    machine = Machine(version, True, 5, (), ((TABLE, FrameState("L1", 1, 0)),), ())  # noqa: FBT003
    bench = Bench(machine, at_once=True)
    map_read_only(bench.xen)
    row = [entry(0x1000 + number, PRESENT | RW) for number in range(ENTRIES)]

    assert bench.run(stores(bench.xen, VA, row)) is True
    assert (0, ENTRIES) == (bench.declined, bench.spent["ptwr_emulation"])
    word = bench.xen.frames.type_info[bench.xen.frames.index(0x1000)]
    assert (bench.xen.abi.writable | VALIDATED, 1) == (word & ~COUNT, word & COUNT)
