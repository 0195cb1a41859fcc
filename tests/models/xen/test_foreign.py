"""Calls in the name of another domain: who may, whose pages, whose tables."""

import pytest

from models.machine.entries import PRESENT, RW, USER
from models.machine.frames import DOMID_IO
from models.xen import words as xen_words
from models.xen.checks.invariants import check
from models.xen.hypercalls import MmuextOp, MmuUpdate, UpdateVaMapping
from models.xen.state import Xen
from models.xen.versions.abi import profile_names
from tests.models.xen.machines import (
    EARLY,
    FOREIGN,
    L1,
    LATE,
    NEIGHBOUR,
    VA,
    entry,
    lines,
    machine,
    run,
    words,
)

EPERM, ESRCH, EBUSY, EINVAL = 1, 3, 16, 22
WRITABLE = entry(FOREIGN, PRESENT | RW | USER)


def _map(xen: Xen, value: int, foreign: int, *, table: int = L1) -> object:
    return run(xen, MmuUpdate((((table << 12) + 8, value),), foreign=foreign))


@pytest.mark.parametrize("version", profile_names())
def test_dom0_maps_pages_of_a_domain_that_it_names(version: str) -> None:
    """The page is referred to like one of its own, and given back with the entry."""
    xen = machine(version)

    assert 0 == _map(xen, WRITABLE, NEIGHBOUR)
    assert (f"{xen.abi.writable | xen_words.VALIDATED | 1:016x}", 2) == words(xen, FOREIGN)
    check(xen)
    assert 0 == _map(xen, 0, xen_words.DOMID_SELF)
    assert 1 == words(xen, FOREIGN)[1]


@pytest.mark.parametrize(
    ("version", "errno"), [("4.1", EINVAL), ("4.2dev", EBUSY), ("4.17", EBUSY)]
)
def test_page_of_another_domain_is_refused_unless_it_is_named(version: str, errno: int) -> None:
    """And nothing is left of the attempt."""
    xen = machine(version)
    before = words(xen, FOREIGN)

    assert -errno == _map(xen, WRITABLE, xen_words.DOMID_SELF)
    assert before == words(xen, FOREIGN)


@pytest.mark.parametrize("version", profile_names())
def test_unknown_domain(version: str) -> None:
    """There is none of that number."""
    xen = machine(version)
    expected = "Unknown domain '99'" if version in EARLY else "Unknown domain d99"

    assert -ESRCH == run(xen, MmuextOp(((xen_words.TLB_FLUSH_LOCAL, 0, 0),), foreign=99))
    assert [expected] == lines(xen)


@pytest.mark.parametrize("version", profile_names())
def test_own_number_is_no_foreign_domain(version: str) -> None:
    """A domain is DOMID_SELF to itself."""
    xen = machine(version)

    assert -ESRCH == _map(xen, 0, 0)
    assert ["Cannot specify itself as foreign domain"] == lines(xen)


@pytest.mark.parametrize("version", EARLY)
def test_early_versions_ask_for_the_right_to_name_a_domain(version: str) -> None:
    """Before they look at anything else."""
    xen = machine(version, domid=5)

    assert -ESRCH == _map(xen, WRITABLE, NEIGHBOUR)
    assert ["Cannot set foreign dom"] == lines(xen)


@pytest.mark.parametrize("version", LATE)
def test_later_versions_ask_for_the_right_to_its_pages(version: str) -> None:
    """DOMID_IO is nobody's: naming it is allowed, and mapping what is not I/O memory is not."""
    xen = machine(version, domid=5)

    assert -EPERM == _map(xen, WRITABLE, NEIGHBOUR)
    assert -EPERM == run(xen, UpdateVaMapping(VA, WRITABLE, foreign=NEIGHBOUR))
    assert -EPERM == run(xen, MmuextOp(((0, FOREIGN, 0),), foreign=NEIGHBOUR))
    assert [] == lines(xen)
    assert -EBUSY == _map(xen, WRITABLE, DOMID_IO)


@pytest.mark.parametrize("version", profile_names())
def test_update_va_mapping_of_another_domains_page(version: str) -> None:
    """update_va_mapping_otherdomain."""
    xen = machine(version)

    assert 0 == run(xen, UpdateVaMapping(VA, WRITABLE, foreign=NEIGHBOUR))
    assert 2 == words(xen, FOREIGN)[1]
    assert -ESRCH == run(xen, UpdateVaMapping(VA, WRITABLE, foreign=99))


@pytest.mark.parametrize("version", profile_names())
def test_dom0_builds_tables_for_a_domain(version: str) -> None:
    """It pins one of the other's pages, and changes it by machine address."""
    xen = machine(version)
    theirs = (NEIGHBOUR + 1) << 16 | NEIGHBOUR

    assert 0 == run(xen, MmuextOp(((xen_words.PIN_L1_TABLE, FOREIGN, 0),), foreign=NEIGHBOUR))
    assert 0 == _map(xen, entry(FOREIGN, PRESENT | USER), theirs, table=FOREIGN)
    check(xen)
    # Its own pages are not the neighbour's.
    assert 0 != _map(xen, entry(L1, PRESENT | USER), theirs, table=FOREIGN)
    assert 0 == run(xen, MmuextOp(((xen_words.UNPIN_TABLE, FOREIGN, 0),), foreign=NEIGHBOUR))
    assert 1 == words(xen, FOREIGN)[1]


@pytest.mark.parametrize(
    ("version", "errno"), [("4.1", EINVAL), ("4.2dev", EINVAL), ("4.17", ESRCH)]
)
def test_unknown_owner_of_tables(version: str, errno: int) -> None:
    """No such domain could have any."""
    xen = machine(version)

    assert -errno == _map(xen, 0, (99 + 1) << 16 | xen_words.DOMID_SELF)


@pytest.mark.parametrize("version", LATE)
@pytest.mark.parametrize(
    "command", [xen_words.NEW_BASEPTR, xen_words.TLB_FLUSH_ALL, xen_words.FLUSH_CACHE]
)
def test_commands_about_the_vcpu_itself_are_for_the_caller(version: str, command: int) -> None:
    """Not even dom0 may load another domain's base pointer, or flush for it."""
    xen = machine(version)

    assert -EPERM == run(xen, MmuextOp(((command, FOREIGN, 0),), foreign=NEIGHBOUR))
