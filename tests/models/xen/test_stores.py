"""What becomes of a guest's stores: through a translation, emulated, or a fault."""

import pytest

from models.machine.entries import PRESENT, RW, USER
from models.xen import words as xen_words
from models.xen.accesses import fault, store
from models.xen.calls.emulation import emulate_store
from models.xen.checks.invariants import InvariantViolation, check
from models.xen.gate import hypercall
from models.xen.hypercalls import Emulation, UpdateVaMapping
from models.xen.state import Xen
from models.xen.versions.abi import profile_names
from models.xen.versions.panic import DomainCrash
from models.xen.words import UVMF_ALL, UVMF_INVLPG
from sim.effects import STEP, Activity
from sim.explore.program import Program
from sim.explore.searches.depth_first import explore
from sim.explore.searches.few_switches import explore_few_switches
from sim.instant import drain
from tests.models.xen.machines import (
    DATA,
    L1,
    L2,
    OTHER,
    VA,
    entry,
    lines,
    machine,
    mmuext,
    run,
    update,
    words,
)

READ_ONLY = PRESENT | USER
L1_VA = VA + 0x1000
"""Where the L1 itself is mapped, read-only."""


def _with_mapped_table(version: str) -> Xen:
    xen = machine(version)
    assert 0 == update(xen, L1, 1, entry(L1, READ_ONLY))
    return xen


def _emulate(
    xen: Xen, va: int, value: int, size: int = 8, expected: int | None = None
) -> Emulation:
    outcome = drain(emulate_store(xen, xen.vcpus[0], va, value, size=size, expected=expected))
    assert isinstance(outcome, Emulation)
    return outcome


@pytest.mark.parametrize("version", profile_names())
def test_store_to_a_table_is_checked_and_made(version: str) -> None:
    """The new entry takes its references, like one that a hypercall writes."""
    xen = _with_mapped_table(version)

    assert Emulation.FIXED is _emulate(xen, L1_VA + 16, entry(OTHER, PRESENT | RW | USER))
    assert 2 == words(xen, OTHER)[1]
    check(xen)


@pytest.mark.parametrize("version", profile_names())
@pytest.mark.parametrize(("size", "offset"), [(1, 0), (2, 6), (4, 4)])
def test_part_of_an_entry_is_merged_with_the_rest(version: str, size: int, offset: int) -> None:
    """Only the bytes that are stored change."""
    xen = _with_mapped_table(version)
    xen.frames.words(L1)[9] = 0x7766554433221100 & ~PRESENT
    mask = (1 << 8 * size) - 1 << 8 * offset

    assert Emulation.FIXED is _emulate(xen, L1_VA + 72 + offset, 0, size)
    assert 0x7766554433221100 & ~mask == xen.frames.words(L1)[9]


@pytest.mark.parametrize("version", profile_names())
@pytest.mark.parametrize(
    ("offset", "size", "expected", "text"),
    [
        (0, 3, None, "bad write size (addr={va:x}, bytes=3)"),
        (0, 16, None, "bad write size (addr={va:x}, bytes=16)"),
        (0, 16, 0, "bad cmpxchg size (addr={va:x}, bytes=16)"),
        (2, 4, None, "bad access (cr2={va:x}, addr={va:x}, bytes=4)"),
        (4, 8, None, "bad access (cr2={va:x}, addr={va:x}, bytes=8)"),
    ],
)
def test_odd_stores_are_not_emulated(
    version: str, offset: int, size: int, expected: int | None, text: str
) -> None:
    """The guest gets the fault."""
    xen = _with_mapped_table(version)
    prefix = "ptwr_emulate: " if version in ("4.1", "4.2dev") else ""

    assert Emulation.FAULT is _emulate(xen, L1_VA + offset, 0, size, expected)
    assert [prefix + text.format(va=L1_VA + offset)] == lines(xen)


@pytest.mark.parametrize("version", profile_names())
def test_compare_and_exchange_of_something_else_changes_nothing(version: str) -> None:
    """The references of the new entry are taken, and given back."""
    xen = _with_mapped_table(version)
    before = words(xen, OTHER)[1], list(xen.frames.words(L1))

    assert Emulation.CMPXCHG_FAILED is _emulate(
        xen, L1_VA + 16, entry(OTHER, PRESENT | RW | USER), expected=0x1234
    )
    assert before == (words(xen, OTHER)[1], list(xen.frames.words(L1)))


@pytest.mark.parametrize("version", profile_names())
def test_only_l1_tables_are_emulated(version: str) -> None:
    """A store to an L2 is a fault, though it is mapped read-only just the same."""
    xen = machine(version)
    update(xen, L1, 1, entry(L2, READ_ONLY))

    assert Emulation.FAULT is _emulate(xen, L1_VA, 0)


@pytest.mark.parametrize("version", profile_names())
def test_store_through_a_writable_mapping_is_not_seen_by_anybody(version: str) -> None:
    """The word is simply there, and the CPU has the translation."""
    xen = machine(version)

    assert drain(store(xen, xen.vcpus[0], VA + 8, 5)) is True
    assert 5 == xen.frames.words(DATA)[1]
    assert [DATA] == [translation.mfn for translation in xen.clock.loaded[0].values()]


@pytest.mark.parametrize("version", profile_names())
def test_stale_translation_may_be_used_or_gone(version: str) -> None:
    """Until it is flushed, a store goes through what the CPU has loaded, or faults."""
    outcomes: set[tuple[object, int]] = set()

    def build() -> list[Activity]:
        xen = machine(version)
        vcpu = xen.vcpus[0]
        drain(store(xen, vcpu, VA, 1))
        run(xen, UpdateVaMapping(VA, entry(DATA, READ_ONLY)))

        def program() -> Activity:
            yield STEP
            done = yield store(xen, vcpu, VA, 2)
            outcomes.add((done, xen.frames.words(DATA)[0]))

        return [program()]

    for execution in explore(Program(build)):
        assert execution.failure is None
    assert {(True, 2), (False, 1)} == outcomes


@pytest.mark.parametrize("version", profile_names())
def test_store_may_land_after_another_cpu_has_taken_its_mapping_away(version: str) -> None:
    """The CPU has walked before; only a flush would have waited for the store."""
    worlds: list[Xen] = []

    def build() -> list[Activity]:
        xen = machine(version, vcpus=2)
        worlds[:] = [xen]

        def unmap_and_write() -> Activity:
            yield from hypercall(xen, xen.vcpus[0], UpdateVaMapping(VA, entry(DATA, READ_ONLY)))
            yield STEP
            xen.frames.words(DATA)[0] = 7

        return [unmap_and_write(), store(xen, xen.vcpus[1], VA, 2)]

    ends = {
        (execution.results[1], worlds[0].frames.words(DATA)[0])
        for execution in explore_few_switches(Program(build, preempts=False), 2)
    }
    assert {(False, 7), (True, 7), (True, 2)} == ends


@pytest.mark.parametrize("version", profile_names())
def test_store_to_what_was_not_mapped_is_not_emulated(version: str) -> None:
    """Though by the time of the fault another CPU may have mapped an L1 there, read-only."""
    xen = _with_mapped_table(version)

    def storing(*, present: bool) -> Activity:
        return (yield fault(xen, xen.vcpus[0], L1_VA + 16, 0, present=present))

    assert Emulation.FAULT is drain(storing(present=False))
    assert Emulation.FIXED is drain(storing(present=True))


@pytest.mark.parametrize("version", profile_names())
def test_flushed_translation_is_gone(version: str) -> None:
    """The store faults."""
    xen = machine(version)
    drain(store(xen, xen.vcpus[0], VA, 1))
    run(xen, UpdateVaMapping(VA, entry(DATA, READ_ONLY), UVMF_INVLPG | UVMF_ALL))

    assert drain(store(xen, xen.vcpus[0], VA, 2)) is False
    assert 1 == xen.frames.words(DATA)[0]


@pytest.mark.parametrize("version", profile_names())
def test_type_change_flushes_the_stale_translation(version: str) -> None:
    """A page made read-only without a flush is flushed when it becomes a table."""
    xen = machine(version, vcpus=2)
    for vcpu in xen.vcpus:
        drain(store(xen, vcpu, VA, 0))
    run(xen, UpdateVaMapping(VA, entry(DATA, READ_ONLY)))
    assert 0 == mmuext(xen, xen_words.PIN_L1_TABLE, DATA)

    assert [{}, {}] == xen.clock.loaded
    check(xen)


def test_stale_translation_of_a_table_is_seen_by_the_checker() -> None:
    """Had nobody flushed, the guest could write its table unseen."""
    xen = machine("4.17", vcpus=2)
    run(xen, UpdateVaMapping(VA, entry(DATA, READ_ONLY)))
    mmuext(xen, xen_words.PIN_L1_TABLE, DATA)
    xen.clock.load(1, VA, DATA, writable=True)

    with pytest.raises(InvariantViolation, match="stale translation"):
        check(xen)


@pytest.mark.parametrize(
    ("version", "text"),
    [
        ("4.1", "d0:v0: unhandled page fault (ec=0003)"),
        ("4.17", "d0v0 Unhandled: vec 14, #PF[0003]"),
    ],
)
def test_fault_without_a_handler_is_the_guests_end(version: str, text: str) -> None:
    """A store to a read-only page that is no L1, before the kernel has named its handlers."""
    xen = machine(version)
    run(xen, UpdateVaMapping(VA, entry(DATA, READ_ONLY)))
    xen.vcpus[0].handles_faults = False

    with pytest.raises(DomainCrash, match="no handler"):
        drain(store(xen, xen.vcpus[0], VA, 1))
    assert [text] == [line.text for line in xen.console.lines]
