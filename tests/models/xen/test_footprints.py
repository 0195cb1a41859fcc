"""What the steps of an operation touch, as the accessors record it."""

from typing import Any

import pytest

from models.machine.entries import PRESENT, RW, USER
from models.xen.accesses import store
from models.xen.gate import hypercall
from models.xen.hypercalls import MmuextOp, MmuUpdate
from models.xen.state import Xen
from models.xen.versions.abi import profile_names
from models.xen.words import MACHPHYS_UPDATE, PIN_L4_TABLE, TLB_FLUSH_LOCAL
from sim.effects import Activity
from sim.explore.execution import InTurn, execute
from sim.footprint import Access, Kind, Recorder
from tests.models.xen.machines import DATA, L1, L4, OTHER, VA, entry, machine, mmuext, run

MAP_OTHER = MmuUpdate((((L1 << 12) + 8, entry(OTHER, PRESENT | RW | USER)),))


def _footprints(xen: Xen) -> list[dict[Any, Kind]]:
    """What each step of mapping OTHER writable writes or adds to."""
    recorder = Recorder()
    xen.record(recorder)
    execution = execute([hypercall(xen, xen.vcpus[0], MAP_OTHER)], InTurn(), recorder=recorder)
    assert (0,) == execution.results
    return [_changes(step.accesses) for step in execution.steps]


def _changes(footprint: tuple[Access, ...]) -> dict[Any, Kind]:
    """The words; that an entry was stored is told once more to those who scan its page."""
    changes = (Kind.WRITE, Kind.ADD)
    return {access.word: access.kind for access in footprint if access.kind in changes}


@pytest.mark.parametrize("version", profile_names())
def test_every_step_changes_one_word_at_most(version: str) -> None:
    """References, types, the lock, the entry: nobody else sees two of them change at once."""
    assert all(len(changes) <= 1 for changes in _footprints(machine(version)))


@pytest.mark.parametrize("version", ["4.1", "4.17"])
def test_steps_of_an_update(version: str) -> None:
    """The table's reference and lock, the new page's references, the entry, and all back."""
    xen = machine(version)
    table, page = (xen.frames.index(mfn) for mfn in (L1, OTHER))
    taken = [("type_info", page)] if version == "4.1" else [("type_info", page)] * 2

    assert [
        ("count_info", table),
        ("type_info", table),
        ("count_info", page),
        *taken,
        (f"mfn {L1:x}", 1),
        ("type_info", table),
        ("count_info", table),
    ] == [word for changes in _footprints(xen) for word in changes]


def test_references_are_added() -> None:
    """Taking and dropping one is an addition; the lock and a new type are writes."""
    kinds = {
        word: kind for changes in _footprints(machine("4.1")) for word, kind in changes.items()
    }

    assert {"count_info": {Kind.ADD}, "type_info": {Kind.WRITE}} == {
        name: {kind for word, kind in kinds.items() if word[0] == name}
        for name in ("count_info", "type_info")
    }


@pytest.mark.parametrize("version", profile_names())
def test_recording_changes_nothing(version: str) -> None:
    """The same call with and without."""
    plain, recorded = machine(version), machine(version)
    run(plain, MAP_OTHER)
    _footprints(recorded)

    assert plain.frames.type_array.tolist() == recorded.frames.type_array.tolist()
    assert plain.frames.count_array.tolist() == recorded.frames.count_array.tolist()
    assert list(plain.frames.words(L1)) == list(recorded.frames.words(L1))


def test_reading_is_recorded_with_the_value() -> None:
    """A word that a step only looks at is in its footprint, too."""
    xen = machine("4.17")
    recorder = Recorder()
    xen.record(recorder)
    index = xen.frames.index(DATA)
    value = xen.frames.type_info[index]

    (access,) = recorder.take()

    assert (Kind.READ, ("type_info", index), value, value) == access[:4]


def _touched(xen: Xen, activity: Activity) -> tuple[set[Any], set[Any]]:
    """All words that an activity looks at, and those that it changes."""
    recorder = Recorder()
    xen.record(recorder)
    execution = execute([activity], InTurn(), recorder=recorder)
    assert execution.failure is None
    accesses = [access for step in execution.steps for access in step.accesses]
    return (
        {access.word for access in accesses},
        {access.word for access in accesses if access.kind is not Kind.READ},
    )


@pytest.mark.parametrize("pcpu", [0, 1])
def test_flush_meets_a_store_on_its_own_cpu_only(pcpu: int) -> None:
    """There it decides whether the store can go through a translation loaded before."""
    stored = machine("4.17", vcpus=2)
    touched, _ = _touched(stored, store(stored, stored.vcpus[0], VA, 7))
    flushed = machine("4.17", vcpus=2)
    flush = hypercall(flushed, flushed.vcpus[pcpu], MmuextOp(((TLB_FLUSH_LOCAL, 0, 0),)))
    _, changed = _touched(flushed, flush)

    assert (pcpu == 0) is bool(touched & changed)


def test_flushes_meet_the_stamps_of_pages() -> None:
    """Whoever drops the last type reference notes which CPUs have flushed since."""
    xen = machine("4.17")
    _, changed = _touched(xen, hypercall(xen, xen.vcpus[0], MmuextOp(((TLB_FLUSH_LOCAL, 0, 0),))))
    unmapping = machine("4.17")
    unmap = hypercall(unmapping, unmapping.vcpus[0], MmuUpdate(((L1 << 12, 0),)))
    touched, _ = _touched(unmapping, unmap)

    assert ("flushed at", 0) in changed & touched


def test_machine_to_phys_and_linear_counts_are_recorded() -> None:
    """An update of the one, and an entry of a table that points to another of its level."""
    xen = machine("4.17")
    _, changed = _touched(
        xen, hypercall(xen, xen.vcpus[0], MmuUpdate(((OTHER << 12 | MACHPHYS_UPDATE, 5),)))
    )
    linear = machine("4.17")
    assert 0 == mmuext(linear, PIN_L4_TABLE, OTHER)
    link = MmuUpdate((((L4 << 12) + 8 * 300, entry(OTHER, PRESENT)),))
    _, linked = _touched(linear, hypercall(linear, linear.vcpus[0], link))

    assert ("m2p", OTHER) in changed
    assert {("linear count", linear.frames.index(table)) for table in (L4, OTHER)} <= linked
