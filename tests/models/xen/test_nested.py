"""Nested paging: what the CPU loads, what the second table holds, and what costs."""

from collections.abc import Iterator

import pytest

from models.machine.entries import PAGE_SHIFT, PRESENT, PSE, RW, USER
from models.machine.frames import FrameTable
from models.xen.accesses import load_fault, store
from models.xen.checks.invariants import check
from models.xen.gate import (
    Xen,
    flush_tlb,
    hypercall,
    invlpg,
    new_xen,
)
from models.xen.hypercalls import Emulation, MmuextOp, Multicall
from models.xen.versions.abi import find_abi
from models.xen.versions.paging import Paging
from models.xen.words import FRESH_COUNT_INFO, PIN_L1_TABLE
from sim.instant import drain

L4, L3, L2, L1 = range(4)
DATA = 512 * 3 + 5
TABLE = PRESENT | RW | USER
LARGE_VA, SMALL_VA = DATA << PAGE_SHIFT, 1 << 30


@pytest.fixture
def xen() -> Iterator[Xen]:
    """4 MiB of guest memory from each of two addresses; tables in the first, data in the second.

    ``LARGE_VA`` leads to the data by a leaf of 2 MiB, ``SMALL_VA`` by an L1.
    """
    frames = FrameTable([(0, 1024), (1536, 1024)], fresh=FRESH_COUNT_INFO, owner=1)
    extents = [(0, 1024, 0), (1536, 1024, 1536)]
    abi = find_abi("4.17")
    machine = new_xen(abi, frames, extents, domid=1, debug=True, paging=Paging.NESTED)
    for table, slot, value in (
        (L4, 0, L3 << PAGE_SHIFT | TABLE),
        (L3, 0, L2 << PAGE_SHIFT | TABLE),
        (L3, 1, L2 + 10 << PAGE_SHIFT | TABLE),
        (L2, 3, 1536 << PAGE_SHIFT | PRESENT | RW | PSE),
        (L2 + 10, 0, L1 << PAGE_SHIFT | TABLE),
        (L1, 0, DATA << PAGE_SHIFT | PRESENT | RW),
        (L1, 1, DATA << PAGE_SHIFT | PRESENT),
        (L1, 2, 5000 << PAGE_SHIFT | PRESENT | RW),
    ):
        frames.words(table)[slot] = value
    machine.vcpus[0].cr3 = L4
    machine.second_table.add(0)
    yield machine
    check(machine)


def write(xen: Xen, va: int, value: int = 1) -> object:
    """A store by the guest."""
    return drain(store(xen, xen.vcpus[0], va, value))


def work(xen: Xen) -> tuple[int, int]:
    """Walks of both tables, and faults of the second."""
    return xen.counters["nested", "walks"], xen.counters["nested", "ept_violations"]


@pytest.mark.parametrize("va", [LARGE_VA, SMALL_VA])
def test_first_touch_of_a_piece_faults_once_and_a_page_is_walked_for_once(
    xen: Xen, va: int
) -> None:
    """Whatever the size of the leaf."""
    assert write(xen, va + 16, 42)
    assert (42, (1, 1)) == (xen.frames.words(DATA)[2], work(xen))

    assert write(xen, va + 24, 43)
    assert (43, (1, 1)) == (xen.frames.words(DATA)[3], work(xen))


def test_second_page_of_a_piece_is_walked_for_and_no_fault(xen: Xen) -> None:
    """The second table holds the piece already."""
    write(xen, LARGE_VA)

    assert write(xen, LARGE_VA + 4096)
    assert (2, 1) == work(xen)


def test_flushed_page_is_walked_for_again(xen: Xen) -> None:
    """By INVLPG or with all others, by the guest's own instructions."""
    vcpu = xen.vcpus[0]
    write(xen, LARGE_VA)

    drain(invlpg(xen, vcpu, LARGE_VA))
    write(xen, LARGE_VA)
    drain(flush_tlb(xen, vcpu))
    write(xen, LARGE_VA)

    assert (3, 1) == work(xen)


def test_change_of_a_leaf_is_seen_after_a_flush_only(xen: Xen) -> None:
    """Nobody but the guest looks after its translations."""
    write(xen, SMALL_VA, 1)
    xen.frames.words(L1)[0] = DATA + 1 << PAGE_SHIFT | PRESENT | RW
    write(xen, SMALL_VA, 2)
    assert (2, 0) == (xen.frames.words(DATA)[0], xen.frames.words(DATA + 1)[0])

    drain(invlpg(xen, xen.vcpus[0], SMALL_VA))
    write(xen, SMALL_VA, 3)
    assert (2, 3) == (xen.frames.words(DATA)[0], xen.frames.words(DATA + 1)[0])


@pytest.mark.parametrize("va", [SMALL_VA + 4096, SMALL_VA + 8192, SMALL_VA + 12288, 1 << 39])
def test_store_without_a_writable_mapping_of_memory_is_the_guests_fault(xen: Xen, va: int) -> None:
    """Read-only, no memory behind it, an empty leaf, an empty L4 slot."""
    assert not write(xen, va)


def test_read_only_page_can_be_loaded(xen: Xen) -> None:
    """A store to it would fault; a load walks."""
    outcome = drain(load_fault(xen, xen.vcpus[0], SMALL_VA + 4096))

    assert Emulation.RETRY is outcome
    assert (1, 1) == work(xen)


def test_hypercalls_for_page_tables_do_not_exist(xen: Xen) -> None:
    """Neither alone nor among others."""
    pin = MmuextOp(((PIN_L1_TABLE, L1, 0),))

    assert -38 == drain(hypercall(xen, xen.vcpus[0], pin))
    assert (-38, -38) == drain(hypercall(xen, xen.vcpus[0], Multicall((pin, pin))))
