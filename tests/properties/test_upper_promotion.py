"""L2 and L3 tables validated at once, and entry by entry: the same in every respect."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.machine.entries import (
    ACCESSED,
    AVAIL,
    ENTRIES,
    GLOBAL,
    NX,
    PAGE_SHIFT,
    PCD,
    PRESENT,
    PSE,
    PWT,
    RW,
    USER,
)
from models.xen.pages.page_type import get_page_type
from models.xen.pages.references import get_page, put_page
from models.xen.state import Progress
from models.xen.versions.abi import profile_names
from models.xen.words import COUNT
from sim.effects import DECLINED, Activity, Spend, Unbroken
from sim.instant import Stuck, drain
from sim.oracle import RecordingOracle, ScriptedOracle
from tests.properties.l1_machines import (
    DEAD_STATES,
    LIVE_STATES,
    NO_RAM,
    OTHER_STATES,
    TABLE,
    TYPED_STATES,
    FrameState,
    Machine,
    all_columns,
    build,
    entry,
)

TRIALS = settings(max_examples=150, deadline=None)
_FLAGS = st.sampled_from([PRESENT | RW, PRESENT, PRESENT | RW | USER | ACCESSED, PRESENT | RW | NX])
_ODD = st.sampled_from([PWT, PCD, PSE, GLOBAL, AVAIL])
_NAMES = [*LIVE_STATES, *DEAD_STATES, *TYPED_STATES, *OTHER_STATES]
_TROUBLES = ["frame", "flags", "twice", "no RAM", "itself"]


@st.composite
def upper_machines(draw: st.DrawFn, level: int) -> Machine:
    """An L2 or L3 whose entries lead to live tables of the level below, with a thing or two amiss.

    There are so few entries that one is soon among them that is looked at last.
    """
    size = draw(st.integers(0, 24))
    slots = draw(st.lists(st.integers(0, ENTRIES - 1), min_size=size, max_size=size, unique=True))
    first = draw(st.sampled_from([0x1000, 0x11F8]))
    step = draw(st.sampled_from([1, 3]))
    mfns = [first + n * step for n in range(size)]
    below = f"L{level - 1}"
    frames = {mfn: FrameState(below, draw(st.integers(1, 3)), 0) for mfn in mfns}
    entries = {slot: entry(mfn, draw(_FLAGS)) for slot, mfn in zip(slots, mfns, strict=True)}
    for slot in draw(st.lists(st.sampled_from(slots), max_size=2)) if slots else []:
        match draw(st.sampled_from(_TROUBLES)):
            case "frame":
                state = FrameState(draw(st.sampled_from(_NAMES)), draw(st.integers(0, 1)), 0)
                frames[entries[slot] >> PAGE_SHIFT & 0xFFFF] = state
            case "flags":
                entries[slot] |= draw(_ODD)
            case "twice":
                entries[slot] = entries[draw(st.sampled_from(slots))] ^ RW
            case "no RAM":
                entries[slot] = entry(draw(st.sampled_from(NO_RAM)), PRESENT | RW)
            case _:
                entries[slot] = entry(TABLE, PRESENT)
    for slot in draw(st.lists(st.integers(0, ENTRIES - 1), max_size=2)):
        if slot not in entries:
            entries[slot] = entry(draw(st.integers(0x1000, 0x15FF)), RW)  # absent
    known = {mfn: state for mfn, state in frames.items() if 0x1000 <= mfn < 0x1600}
    return Machine(
        draw(st.sampled_from(profile_names())),
        draw(st.booleans()),
        draw(st.sampled_from([0, 5])),
        tuple(draw(st.lists(st.integers(0, 1), max_size=2))),
        tuple(sorted(known.items())),
        tuple(sorted(entries.items())),
    )


class Bench:
    """A machine on which the table is validated, one of the ways."""

    def __init__(self, machine: Machine, level: int, *, at_once: bool) -> None:
        self.xen = build(machine)
        for mfn, state in machine.frames:
            if state.name == "partial L2":  # left half done before its first entry
                self.xen.progress[mfn] = Progress()
        self.level = level
        self.spent: Counter[str] = Counter()
        self.done_at_once = 0
        self._at_once = at_once
        self._trace: list[tuple[object, ...]] = []
        self.xen.trace = lambda *record: self._trace.append(record)
        self._oracle = RecordingOracle(ScriptedOracle())

    def validate(self, *, preemptible: bool) -> object:
        """Use the page as a table of the level: a return code, or what it got stuck at."""
        xen = self.xen
        vcpu = xen.vcpus[0]
        index = get_page(xen, vcpu, TABLE, xen.domid)
        want = xen.abi.table_types[self.level]
        activity = get_page_type(xen, vcpu, TABLE, index, want, preemptible=preemptible)
        try:
            rc = drain(self._watched(activity), self._oracle)
        except Stuck as stuck:
            return str(stuck)
        if rc < 0 and vcpu.old_guest_table != TABLE:
            put_page(xen, vcpu, index)
        return rc

    def state(self) -> dict[str, Any]:
        """Everything that anybody could look at."""
        xen = self.xen
        return {
            "frames": all_columns(xen),
            "table": list(xen.frames.words(TABLE)),
            "console": xen.console.lines,
            "counters": +xen.counters,
            "clock": (xen.clock.now, list(xen.clock.flushed_at)),
            "progress": xen.progress,
            "linear": {key: count for key, count in xen.linear_counts.items() if count},
            "vcpu": xen.vcpus[0],
            "trace": self._trace,
            "spent": +self.spent,
            "tape": str(self._oracle.tape),
        }

    def _watched(self, activity: Activity) -> Activity:
        answer: Any = None
        while True:
            try:
                effect = activity.send(answer)
            except StopIteration as end:
                return end.value
            if isinstance(effect, Unbroken):
                answer = effect.all_at_once() if self._at_once else DECLINED
                self.done_at_once += answer is not DECLINED
                continue
            if isinstance(effect, Spend):
                self.spent[effect.cost] += effect.n
            answer = yield effect


def differences(machine: Machine, level: int, *, preemptible: bool) -> list[str]:
    """In what the two ways differ."""
    slow, fast = (Bench(machine, level, at_once=at_once) for at_once in (False, True))
    codes = slow.validate(preemptible=preemptible), fast.validate(preemptible=preemptible)
    found = [] if codes[0] == codes[1] else [f"return codes {codes}"]
    expected, got = slow.state(), fast.state()
    return found + [key for key in expected if expected[key] != got[key]]


@TRIALS
@given(machine=upper_machines(2), preemptible=st.booleans())
def test_l2_at_once_is_l2_entry_by_entry(machine: Machine, *, preemptible: bool) -> None:
    """Return code, words, entries, console, counters, flushes, trace, costs and questions."""
    assert [] == differences(machine, 2, preemptible=preemptible)


@TRIALS
@given(machine=upper_machines(3), preemptible=st.booleans())
def test_l3_at_once_is_l3_entry_by_entry(machine: Machine, *, preemptible: bool) -> None:
    """The same of a table of L2s."""
    assert [] == differences(machine, 3, preemptible=preemptible)


def full_table(version: str, level: int, state: FrameState, odd: int = 0) -> Machine:
    """A table with an entry in each slot; the one in the middle leads to a frame in this state."""
    frames = {0x1000 + n: FrameState(f"L{level - 1}", 1, 0) for n in range(ENTRIES)}
    entries = {n: entry(0x1000 + n, PRESENT | RW) for n in range(ENTRIES)}
    frames[0x1100] = state
    entries[0x100] |= odd
    return Machine(
        version,
        debug=True,
        domid=5,
        flushes=(),
        frames=tuple(sorted(frames.items())),
        entries=tuple(sorted(entries.items())),
    )


@pytest.mark.parametrize("version", profile_names())
@pytest.mark.parametrize("level", [2, 3])
def test_full_table_is_validated_at_once(version: str, level: int) -> None:
    """Each table below is referred to once more, and each entry has the flag of user mode."""
    machine = full_table(version, level, FrameState(f"L{level - 1}", 1, 0))
    bench = Bench(machine, level, at_once=True)

    assert 0 == bench.validate(preemptible=True)
    assert 1 == bench.done_at_once
    words = bench.xen.frames.type_info
    below = [words[bench.xen.frames.index(0x1000 + n)] for n in range(ENTRIES)]
    assert {2} == {word & COUNT for word in below}
    assert all(word & USER for word in bench.xen.frames.words(TABLE))
    assert [] == differences(machine, level, preemptible=True)


@pytest.mark.parametrize("version", profile_names())
@pytest.mark.parametrize("level", [2, 3])
@pytest.mark.parametrize("count", [0, 1])
@pytest.mark.parametrize("name", sorted({*_NAMES}))
def test_one_frame_in_any_state_among_tables(
    version: str, level: int, count: int, name: str
) -> None:
    """It is taken, refused, validated or stopped at in the same way."""
    machine = full_table(version, level, FrameState(name, count, 0))

    assert [] == differences(machine, level, preemptible=True)


@pytest.mark.parametrize("version", profile_names())
@pytest.mark.parametrize("level", [2, 3])
@pytest.mark.parametrize("odd", [PWT, PCD, PSE, GLOBAL, AVAIL, ACCESSED])
def test_one_entry_with_an_odd_flag(version: str, level: int, odd: int) -> None:
    """Refused or not, it is so either way."""
    machine = full_table(version, level, FrameState(f"L{level - 1}", 1, 0), odd)

    assert [] == differences(machine, level, preemptible=False)
