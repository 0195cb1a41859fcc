"""The checker finds what is wrong with a machine, whoever spoilt it and whenever."""

from collections.abc import Callable

import pytest

from models.machine.entries import PRESENT, RW, USER
from models.xen import words as xen_words
from models.xen.checks.invariants import Checker, InvariantViolation, check, require_at_rest
from models.xen.state import Xen
from models.xen.versions.abi import profile_names
from models.xen.words import PARTIAL, PINNED, VALIDATED
from tests.models.xen.machines import (
    DATA,
    FOREIGN,
    L1,
    L2,
    L3,
    L4,
    OTHER,
    VA,
    entry,
    machine,
    mmuext,
    update,
)

Spoil = Callable[[Xen], None]


def _type(xen: Xen, mfn: int, change: int) -> None:
    xen.frames.type_info[xen.frames.index(mfn)] ^= change


def _one_use_more(xen: Xen) -> None:
    xen.frames.type_info[xen.frames.index(DATA)] += 1


def _one_reference_less(xen: Xen) -> None:
    xen.frames.count_info[xen.frames.index(DATA)] -= 1


def _writable_entry_of_a_table(xen: Xen) -> None:
    xen.frames.words(L1)[1] = entry(L2, PRESENT | RW | USER)


def _entry_of_data_in_a_table(xen: Xen) -> None:
    index = xen.frames.index(OTHER)
    xen.frames.words(L2)[1] = entry(OTHER, PRESENT | RW | USER)
    xen.frames.type_info[index] = xen.abi.writable | VALIDATED | 1
    xen.frames.count_info[index] += 1


def _writable_entry_of_itself(xen: Xen) -> None:
    xen.frames.words(L4)[300] = entry(L4, PRESENT | RW | USER)


def _pin_without_a_table(xen: Xen) -> None:
    index = xen.frames.index(OTHER)
    xen.frames.type_info[index] = xen.abi.l1 | PINNED | 1
    xen.frames.count_info[index] += 1


def _half_done_data(xen: Xen) -> None:
    index = xen.frames.index(OTHER)
    xen.frames.type_info[index] = xen.abi.writable | PARTIAL | 1
    xen.frames.count_info[index] += 1


def _dead_table_still_valid(xen: Xen) -> None:
    xen.frames.type_info[xen.frames.index(OTHER)] = xen.abi.l1 | VALIDATED


def _lock_alone(xen: Xen) -> None:
    xen.frames.type_info[xen.frames.index(OTHER)] = (
        xen.abi.writable | VALIDATED | xen.abi.locked | 1
    )


def _stale_translation(xen: Xen) -> None:
    xen.clock.load(0, VA + 0x5000, L1, writable=True)


SPOILT: dict[str, Spoil] = {
    "(1)": _one_use_more,
    "(2)": _one_reference_less,
    "(1) ": _writable_entry_of_a_table,
    "(8)": _entry_of_data_in_a_table,
    "(8) ": _writable_entry_of_itself,
    "(4)": _pin_without_a_table,
    "(5)": _half_done_data,
    "(6)": _dead_table_still_valid,
    "(7)": _lock_alone,
    "(12)": _stale_translation,
}


@pytest.mark.parametrize("version", profile_names())
@pytest.mark.parametrize("number", SPOILT)
def test_checker_finds(version: str, number: str) -> None:
    """A single thing that is wrong, and names the invariant that it breaks."""
    xen = machine(version)
    check(xen)
    SPOILT[number](xen)

    with pytest.raises(InvariantViolation, match=rf"\({number.strip(' ()')}\)"):
        check(xen)


@pytest.mark.parametrize("number", SPOILT)
def test_checker_that_looked_before_finds_the_same(number: str) -> None:
    """It counts only what has changed since."""
    xen = machine("4.17")
    checker = Checker(xen)
    checker.look()
    SPOILT[number](xen)

    with pytest.raises(InvariantViolation, match=rf"\({number.strip(' ()')}\)"):
        checker.look()


def test_writable_entry_counted_for_a_table_is_found() -> None:
    """Even if somebody had counted it: the type of the page is wrong."""
    xen = machine("4.17")
    _writable_entry_of_a_table(xen)
    index = xen.frames.index(L2)
    xen.frames.type_info[index] += 1
    xen.frames.count_info[index] += 1

    with pytest.raises(InvariantViolation, match=r"\(3\)"):
        check(xen)


def test_linear_counts_are_recounted() -> None:
    """A table that maps another of its level, read-only, is known as such."""
    xen = machine("4.17")
    assert 0 == mmuext(xen, xen_words.PIN_L4_TABLE, OTHER)
    assert 0 == update(xen, OTHER, 300, entry(L4, PRESENT | USER))
    check(xen)
    xen.linear_counts.clear()

    with pytest.raises(InvariantViolation, match=r"\(11\)"):
        check(xen)


def test_linear_counts_without_entries_are_found() -> None:
    """A table that is said to be mapped by another of its level, and is not."""
    xen = machine("4.17")
    xen.linear_counts.update({0: 1, 1: -1})

    with pytest.raises(InvariantViolation, match=r"\(11\)"):
        check(xen)


def test_reference_held_by_nobody_is_found() -> None:
    """What an operation has taken it must hold, until it gives it back."""
    xen = machine("4.17")
    vcpu = xen.vcpus[0]
    vcpu.holds.append(xen.frames.index(DATA) << 1)

    with pytest.raises(InvariantViolation, match=r"\(2\)"):
        check(xen)
    with pytest.raises(InvariantViolation, match="still holds"):
        require_at_rest(xen)


def test_table_that_is_owed_is_no_rest() -> None:
    """A vCPU has a teardown before it."""
    xen = machine("4.17")
    xen.vcpus[0].old_guest_table = L3

    with pytest.raises(InvariantViolation, match="has left"):
        require_at_rest(xen)


def test_locked_page_is_no_rest() -> None:
    """Somebody has not given its lock back."""
    xen = machine("4.17")
    _type(xen, DATA, xen.abi.locked)

    with pytest.raises(InvariantViolation, match="locked"):
        require_at_rest(xen)


def test_pages_of_others_are_left_alone() -> None:
    """What holds a page of Xen's own is not known."""
    xen = machine("4.17")
    xen.frames.owner[xen.frames.index(FOREIGN)] = 99
    xen.frames.count_info[xen.frames.index(FOREIGN)] += 5

    check(xen)
