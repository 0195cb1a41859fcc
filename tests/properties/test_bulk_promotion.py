"""L1 tables validated and taken apart at once, and entry by entry: the same in every respect.

The entry-by-entry bodies follow Xen's; the vectorised ones are an economy and must not show.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings

from models.machine.entries import (
    ENTRIES,
    GLOBAL,
    INVALID_MFN,
    NX,
    PAGE_SHIFT,
    PRESENT,
    RW,
    USER,
)
from models.machine.frames import NO_OWNER
from models.xen.pages.page_type import get_page_type, put_page_and_type
from models.xen.pages.references import get_page, put_page, take_over
from models.xen.versions.abi import profile_names
from models.xen.words import VALIDATED
from sim.effects import DECLINED, Activity, Bulk, Spend
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
    machines,
)

STATES = [
    *(FrameState(name, 1, 0) for name in LIVE_STATES),
    *(FrameState(name, 0, 0) for name in DEAD_STATES),
    *(FrameState(name, 1, 0) for name in TYPED_STATES),
    *(FrameState(name, count, 0) for name in OTHER_STATES for count in (0, 1)),
    FrameState("many references", 2, 0),
]
TRIALS = settings(max_examples=150, deadline=None)
Watch = Callable[[Bulk], Any]


class Bench:
    """A machine on which the table is validated and taken apart, one of the ways."""

    def __init__(self, machine: Machine, answer: Watch) -> None:
        self.machine = machine
        self.xen = build(machine)
        self.trace: list[tuple[object, ...]] = []
        self.xen.trace = lambda *record: self.trace.append(record)
        self.spent: Counter[str] = Counter()
        self._answer = answer

    def validate(self) -> object:
        """Use the page as an L1 table: a return code, or what it got stuck at."""
        xen = self.xen
        vcpu = xen.vcpus[0]
        index = get_page(xen, vcpu, TABLE, xen.domid)
        rc = self._run(get_page_type(xen, vcpu, TABLE, index, xen.abi.l1))
        if rc != 0:
            put_page(xen, vcpu, index)
        return rc

    def give_back(self) -> None:
        """The guest gives frames back, which from now on live by their mappings alone."""
        frames, abi = self.xen.frames, self.xen.abi
        for mfn in self.machine.given_back:
            index = frames.index(mfn)
            if frames.count_info[index] & abi.general_count > 1:
                take_over(self.xen.vcpus[0], index, typed=False)
                put_page(self.xen, self.xen.vcpus[0], index)

    def take_apart(self) -> object:
        """Give up the only use of the table."""
        xen = self.xen
        index = xen.frames.index(TABLE)
        return self._run(put_page_and_type(xen, xen.vcpus[0], TABLE, index))

    def state(self) -> dict[str, Any]:
        """Everything that anybody could look at."""
        xen = self.xen
        return {
            "frames": all_columns(xen),
            "table": list(xen.frames.words(TABLE)),
            "console": xen.console.lines.copy(),
            "counters": +xen.counters,
            "clock": (xen.clock.now, list(xen.clock.flushed_at)),
            "progress": dict(xen.progress),
            "holds": sorted(xen.vcpus[0].holds),
            "trace": self.trace.copy(),
            "spent": +self.spent,
        }

    def _run(self, activity: Activity) -> object:
        try:
            return drain(self._watched(activity))
        except Stuck as stuck:
            return str(stuck)

    def _watched(self, activity: Activity) -> Activity:
        """The same activity; its bulk work is answered by the bench, and its costs are summed."""
        effect: Any = next(activity)
        while True:
            if isinstance(effect, Spend):
                self.spent[effect.cost] += effect.n
            answer = self._answer(effect) if isinstance(effect, Bulk) else (yield effect)
            try:
                effect = activity.send(answer)
            except StopIteration as end:
                return end.value


def at_once(bulk: Bulk) -> object:
    """The vectorised body, wherever it takes the work."""
    return bulk.all_at_once()


def entry_by_entry(_: Bulk) -> object:
    """The definition."""
    return DECLINED


@TRIALS
@given(machines())
def test_validation_at_once_is_validation_entry_by_entry(machine: Machine) -> None:
    """Return code, words, entries, console, counters, flushes, trace and costs are the same."""
    expected, got = Bench(machine, entry_by_entry), Bench(machine, at_once)

    assert expected.validate() == got.validate()
    assert expected.state() == got.state()


@TRIALS
@given(machines())
def test_teardown_at_once_is_teardown_entry_by_entry(machine: Machine) -> None:
    """Also for frames whose last reference is the mapping that goes."""
    expected, got = Bench(machine, entry_by_entry), Bench(machine, at_once)
    for bench in (expected, got):
        if bench.validate() == 0:
            bench.give_back()

    if VALIDATED & expected.xen.frames.type_info[expected.xen.frames.index(TABLE)]:
        assert expected.take_apart() == got.take_apart()
    assert expected.state() == got.state()


def table_of(
    version: str,
    *runs: tuple[int, int, int, int],
    domid: int = 5,
    flushes: tuple[int, ...] = (),
    frames: tuple[tuple[int, FrameState], ...] = (),
    given_back: tuple[int, ...] = (),
) -> Machine:
    """A machine whose table holds runs of entries: (first slot, first mfn, pages, flags)."""
    entries = [
        (slot + n, entry(mfn + n, flags)) for slot, mfn, pages, flags in runs for n in range(pages)
    ]
    return Machine(
        version,
        debug=True,
        domid=domid,
        flushes=flushes,
        frames=frames,
        entries=tuple(entries),
        given_back=given_back,
    )


def differences(machine: Machine) -> list[str]:
    """In what the two ways differ after a validation and, where it succeeds, a teardown."""
    expected, got = Bench(machine, entry_by_entry), Bench(machine, at_once)
    found = [] if expected.validate() == got.validate() else ["return code of validation"]
    before, after = expected.state(), got.state()
    found += [key for key in before if before[key] != after[key]]
    if not found and (VALIDATED & expected.xen.frames.type_info[expected.xen.frames.index(TABLE)]):
        found += [] if expected.take_apart() == got.take_apart() else ["return code of teardown"]
        before, after = expected.state(), got.state()
        found += [key for key in before if before[key] != after[key]]
    return found


@pytest.mark.parametrize("version", profile_names())
@pytest.mark.parametrize("domid", [0, 5])
@pytest.mark.parametrize("access", [PRESENT | RW, PRESENT], ids=["rw", "ro"])
@pytest.mark.parametrize("state", STATES, ids=lambda state: f"{state.name} {state.count}")
def test_a_frame_in_any_state_is_mapped_the_same_way(
    version: str, domid: int, access: int, state: FrameState
) -> None:
    """One entry, between ordinary ones."""
    machine = table_of(
        version,
        (0, 0x1000, 2, PRESENT | RW),
        (5, 0x9005, 1, access),
        (9, 0x1002, 2, PRESENT),
        domid=domid,
        flushes=(0,),
        frames=((0x9005, state),),
    )

    assert [] == differences(machine)


@pytest.mark.parametrize("version", profile_names())
@pytest.mark.parametrize("access", [PRESENT | RW, PRESENT], ids=["rw", "ro"])
@pytest.mark.parametrize("order", [1, -1], ids=["in a row", "backwards"])
@pytest.mark.parametrize("state", STATES, ids=lambda state: f"{state.name} {state.count}")
def test_frames_that_are_all_in_one_state_are_mapped_the_same_way(
    version: str, access: int, order: int, state: FrameState
) -> None:
    """What is alike may be looked at once; and frames in a row are looked at as such."""
    mfns = range(0x9008, 0x9010)[::order]
    machine = table_of(
        version,
        *((slot, mfn, 1, access) for slot, mfn in enumerate(mfns)),
        flushes=(0,),
        frames=tuple((mfn, state) for mfn in mfns),
    )

    assert [] == differences(machine)


@pytest.mark.parametrize("version", profile_names())
@pytest.mark.parametrize("pages", [1, ENTRIES])
@pytest.mark.parametrize("mfn", [*NO_RAM, 0x1500, 0x15FF, (1 << 32) - 3], ids=hex)
@pytest.mark.parametrize("domid", [0, 5])
def test_rows_that_leave_memory_are_mapped_the_same_way(
    version: str, domid: int, mfn: int, pages: int
) -> None:
    """Or are never in it; the number of a frame has 40 bits."""
    pages = min(pages, INVALID_MFN + 1 - mfn)
    machine = table_of(version, (0, mfn, pages, PRESENT | RW), domid=domid)

    assert [] == differences(machine)


@pytest.mark.parametrize("version", profile_names())
@pytest.mark.parametrize("mfn", [0x1000, 0x1100], ids=["a run", "across runs"])
@pytest.mark.parametrize("odd", [0, NX, USER, RW, GLOBAL, 1 << 32 + PAGE_SHIFT], ids=hex)
def test_row_with_an_odd_entry_is_mapped_the_same_way(version: str, mfn: int, odd: int) -> None:
    """It differs in a flag, or in the highest bits of its address."""
    machine = table_of(version, (0, mfn, ENTRIES, PRESENT | RW))
    slot, word = machine.entries[7]
    entries = (*machine.entries[:7], (slot, word ^ odd), *machine.entries[8:])

    assert [] == differences(replace(machine, entries=entries))


@pytest.mark.parametrize("version", profile_names())
@pytest.mark.parametrize("flushes", [(), (0,), (1,), (0, 1), (0, 1, 0)], ids=str)
@pytest.mark.parametrize("ticks_ago", [0, 1, 2])
def test_stale_translations_are_flushed_the_same_way(
    version: str, flushes: tuple[int, ...], ticks_ago: int
) -> None:
    """A frame that was a table until so many ticks ago becomes writable: who must flush?"""
    machine = table_of(
        version,
        (0, 0x9005, 1, PRESENT | RW),
        flushes=flushes,
        frames=((0x9005, FrameState("L1", 0, ticks_ago)),),
    )

    assert [] == differences(machine)


@pytest.mark.parametrize("version", profile_names())
@pytest.mark.parametrize("domid", [0, 5])
@pytest.mark.parametrize("access", [PRESENT | RW, PRESENT], ids=["rw", "ro"])
@pytest.mark.parametrize("flags", ODD_FLAGS, ids=hex)
@pytest.mark.parametrize("pages", [3, ENTRIES])
def test_entries_with_any_flags_are_stored_the_same_way(
    version: str, domid: int, access: int, flags: int, pages: int
) -> None:
    """A few of them, or a whole table of fresh frames."""
    machine = table_of(version, (0, 0x1000, pages, access | flags), domid=domid)

    assert [] == differences(machine)


@pytest.mark.parametrize("version", profile_names())
@pytest.mark.parametrize(
    "runs",
    [
        [(0, 0x1000, ENTRIES, PRESENT | RW | NX)],
        [(0, 0x1000, ENTRIES, PRESENT | NX)],
        [(0, 0x1100, ENTRIES, PRESENT | RW | USER)],
        [(0, 0x1000, 200, PRESENT | RW | NX), (300, 0x1200, 100, PRESENT | NX)],
        [(n, 0x1000 + n * 3 % ENTRIES, 1, PRESENT | RW) for n in range(ENTRIES)],
        [(0, 0x1400, 100, PRESENT | RW), (100, 0x9001, 0x3F, PRESENT | RW)],
        [(0, 0x9020, 0x20, PRESENT | RW)],
        [],
        [(0, 0x10, ENTRIES, PRESENT | RW)],
        [(0, 0x1000, 100, PRESENT | RW), (100, 0x2000, 100, PRESENT | RW | NX)],
        [(0, 0x10, 3, PRESENT | USER), (7, 0x1000, 1, PRESENT), (9, 0x10, 1, PRESENT | RW)],
    ],
    ids=[
        "fresh",
        "read-only",
        "user",
        "mixed",
        "shuffled",
        "several extents",
        "row across extents",
        "empty",
        "no RAM",
        "RAM and none",
        "no RAM twice",
    ],
)
def test_ordinary_tables_are_done_at_once(
    version: str, runs: list[tuple[int, int, int, int]]
) -> None:
    """What a boot does a thousand times is left to no entry-by-entry body.

    Frames that are not RAM are the hardware domain's to map, as often as it likes.
    """
    declined: list[bool] = []

    def watching(bulk: Bulk) -> object:
        answer = bulk.all_at_once()
        declined.append(answer is DECLINED)
        return answer

    bench = Bench(table_of(version, *runs, domid=0), watching)

    assert (0, 0) == (bench.validate(), bench.take_apart())
    assert [False, False] == declined


@pytest.mark.parametrize("version", profile_names())
@pytest.mark.parametrize("answer", [at_once, entry_by_entry])
def test_writable_entries_take_a_typed_and_a_general_reference(version: str, answer: Watch) -> None:
    """Read-only ones a general one; the frames of absent ones are left alone."""
    bench = Bench(
        table_of(
            version,
            (0, 0x1000, 1, PRESENT | RW | NX),
            (7, 0x1001, 1, PRESENT | NX),
            (9, 0x1002, 1, RW | NX),
        ),
        answer,
    )
    bench.validate()

    xen = bench.xen
    indices = [xen.frames.index(mfn) for mfn in (0x1000, 0x1001, 0x1002)]
    count = (1 << 55) - 1
    assert [1, 0, 0] == [xen.frames.type_info[index] & count for index in indices]
    assert [2, 2, 1] == [xen.frames.count_info[index] & xen.abi.general_count for index in indices]


@pytest.mark.parametrize("version", profile_names())
@pytest.mark.parametrize("answer", [at_once, entry_by_entry])
def test_refused_table_leaves_no_reference_behind(version: str, answer: Watch) -> None:
    """The 501st entry maps a live page table writable: the 500 before it are given back."""
    live_l1 = (0x9005, FrameState("L1", 1, 0))
    machine = table_of(
        version,
        (0, 0x1000, 500, PRESENT | RW | NX),
        (500, 0x9005, 1, PRESENT | RW | NX),
        frames=(live_l1,),
    )
    bench = Bench(machine, answer)
    before = all_columns(build(machine))

    assert bench.validate() != 0
    # Types stay what they became; counts go back to what they were.
    count = (1 << 55) - 1
    held = [(mfn, word & count, count_info) for mfn, word, count_info, _, _ in before]
    assert held == [
        (mfn, word & count, count_info) for mfn, word, count_info, _, _ in all_columns(bench.xen)
    ]


@pytest.mark.parametrize("version", profile_names())
@pytest.mark.parametrize("answer", [at_once, entry_by_entry])
def test_frame_given_back_is_free_when_the_table_goes(version: str, answer: Watch) -> None:
    """Its mapping was the last to hold it."""
    machine = table_of(version, (0, 0x1000, 1, PRESENT | RW | NX), given_back=(0x1000,))
    bench = Bench(machine, answer)
    bench.validate()
    bench.give_back()
    bench.take_apart()

    frames = bench.xen.frames
    assert NO_OWNER == frames.owner[frames.index(0x1000)]
