"""A guest whose tables are shadowed: no types, no pins, and every store to a table is seen."""

import pytest

from models.machine.entries import PRESENT, RW, USER
from models.xen import words as xen_words
from models.xen.accesses import store
from models.xen.checks.invariants import check, require_at_rest
from models.xen.hypercalls import UpdateVaMapping
from models.xen.state import Xen
from models.xen.versions.paging import Paging
from sim.instant import drain
from tests.models.xen.machines import (
    DATA,
    L1,
    L2,
    L3,
    L4,
    OTHER,
    SPARE,
    entry,
    machine,
    mmuext,
    update,
    words,
)
from tests.models.xen.machines import run as call

WRITABLE = PRESENT | RW | USER
L1_VA, SPARE_VA = 0x1000, 0x2000


@pytest.fixture
def xen() -> Xen:
    """A tree in use whose L1 maps itself writable, and a page that is no table yet."""
    machine_ = machine("4.2dev", paging=Paging.SHADOW, live=False)
    machine_.frames.words(L1)[1] = entry(L1, WRITABLE)
    machine_.frames.words(L1)[2] = entry(SPARE, WRITABLE)
    assert 0 == mmuext(machine_, xen_words.NEW_BASEPTR, L4)
    machine_.counters.clear()
    return machine_


def write(xen: Xen, va: int, value: int) -> bool:
    """A store by the guest."""
    made = drain(store(xen, xen.vcpus[0], va, value))
    assert isinstance(made, bool)
    return made


def shadow_work(xen: Xen) -> tuple[int, int]:
    """Stores that have faulted, and entries brought into shadows."""
    return xen.counters["shadow", "write_faults"], xen.counters["shadow", "entries"]


def test_loading_a_base_shadows_the_whole_tree() -> None:
    """Four tables of 512 entries, and no page gets a type."""
    xen = machine("4.2dev", paging=Paging.SHADOW)

    assert {L4: 4, L3: 3, L2: 2, L1: 1} == xen.shadows
    assert (0, 4 * 512) == shadow_work(xen)
    assert {("0000000000000000", 2)} == {words(xen, L4)}
    assert {("0000000000000000", 1)} == {words(xen, mfn) for mfn in (L3, L2, L1, DATA)}
    check(xen)
    require_at_rest(xen)


@pytest.mark.parametrize("command", [xen_words.PIN_L1_TABLE, xen_words.UNPIN_TABLE])
def test_pins_are_ignored(xen: Xen, command: int) -> None:
    """Of a table that is mapped writable, and of a page that was never pinned."""
    assert 0 == mmuext(xen, command, L1)

    assert ("0000000000000000", 1) == words(xen, L1)
    assert [] == xen.console.lines


def test_store_to_a_table_in_use_faults_and_is_made(xen: Xen) -> None:
    """One fault, one entry brought into the shadow; the new mapping can be used at once."""
    assert write(xen, L1_VA + 8 * 3, entry(OTHER, WRITABLE))

    assert entry(OTHER, WRITABLE) == xen.frames.words(L1)[3]
    assert (1, 1) == shadow_work(xen)
    assert write(xen, 0x3000, 7)
    assert (7, (1, 1)) == (xen.frames.words(OTHER)[0], shadow_work(xen))


def test_page_is_watched_from_the_moment_that_it_is_a_table(xen: Xen) -> None:
    """It is filled by ordinary stores, then entered, then each store to it faults."""
    assert write(xen, SPARE_VA, entry(DATA, WRITABLE))
    assert (0, 0) == shadow_work(xen)

    assert 0 == update(xen, L2, 1, entry(SPARE, WRITABLE))
    assert (0, 1 + 512) == shadow_work(xen)
    assert write(xen, SPARE_VA + 8, entry(DATA, WRITABLE))
    assert (1, 1 + 512 + 1) == shadow_work(xen)


def test_store_that_the_guest_itself_forbids_is_the_guests_fault(xen: Xen) -> None:
    """Its own leaf is read-only: no shadow is the reason."""
    assert 0 == call(xen, UpdateVaMapping(L1_VA, entry(L1, PRESENT | USER)))
    before = shadow_work(xen)

    assert not write(xen, L1_VA, 0)
    assert before == shadow_work(xen)


def test_update_va_mapping_brings_its_entry_into_the_shadow(xen: Xen) -> None:
    """Xen makes the change itself, so nothing faults."""
    assert 0 == call(xen, UpdateVaMapping(0x3000, entry(OTHER, WRITABLE)))

    assert entry(OTHER, WRITABLE) == xen.frames.words(L1)[3]
    assert (0, 1) == shadow_work(xen)


def test_another_base_takes_the_place_of_the_first(xen: Xen) -> None:
    """One reference goes, one comes; any page will do, and becomes a table by that."""
    assert 0 == mmuext(xen, xen_words.NEW_BASEPTR, SPARE)

    assert (SPARE, 4) == (xen.vcpus[0].cr3, xen.shadows[SPARE])
    assert (1, 2) == (words(xen, L4)[1], words(xen, SPARE)[1])
    check(xen)
    require_at_rest(xen)


def test_base_that_is_not_the_guests_is_refused(xen: Xen) -> None:
    """Shadows do not make other guests' pages its own."""
    assert -22 == mmuext(xen, xen_words.NEW_BASEPTR, 0x200)

    assert L4 == xen.vcpus[0].cr3
    check(xen)
