"""What the steps of an operation touch, as the accessors record it."""

from typing import Any

import pytest

from models.machine.entries import PRESENT, RW, USER
from models.xen.abi import profile_names
from models.xen.calls import MmuUpdate
from models.xen.hypervisor import hypercall
from models.xen.state import Xen
from sim.explore.schedule import execute
from sim.footprint import Access, Kind, Recorder
from tests.models.xen.machines import DATA, L1, OTHER, entry, machine, run

MAP_OTHER = MmuUpdate((((L1 << 12) + 8, entry(OTHER, PRESENT | RW | USER)),))


def _footprints(xen: Xen) -> list[dict[Any, Kind]]:
    """What each step of mapping OTHER writable writes or adds to."""
    recorder = Recorder()
    xen.frames.record(recorder)
    execution = execute([hypercall(xen, xen.vcpus[0], MAP_OTHER)], lambda _: 0, recorder=recorder)
    assert (0,) == execution.results
    return [_changes(footprint) for footprint in execution.footprints]


def _changes(footprint: tuple[Access, ...]) -> dict[Any, Kind]:
    return {access.word: access.kind for access in footprint if access.kind is not Kind.READ}


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
    xen.frames.record(recorder)
    index = xen.frames.index(DATA)
    value = xen.frames.type_info[index]

    assert (Access(Kind.READ, ("type_info", index), value, value),) == recorder.take()
