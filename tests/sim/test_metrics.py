"""Accounts of time: copied, subtracted and added."""

import pytest

from sim.metrics import ACCOUNTS, Accounts


@pytest.fixture
def accounts() -> Accounts:
    """Figures that are all different."""
    return Accounts(1, 20, 300, 4000, 50000, 600000, {"pin": 6, "flush": 7})


def test_headings_are_those_of_a_run_record() -> None:
    """Wall time apart, which is no sum over vCPUs."""
    assert ("guest", "hypervisor", "tlb", "lock_wait", "steal", "idle") == ACCOUNTS


def test_copy_does_not_follow_the_original(accounts: Accounts) -> None:
    """A figure taken at a phase's beginning stays as it was."""
    copy = accounts.copy()
    accounts.guest += 5
    accounts.by_cost["pin"] += 5

    assert Accounts(1, 20, 300, 4000, 50000, 600000, {"pin": 6, "flush": 7}) == copy


def test_since_is_what_was_added(accounts: Accounts) -> None:
    """Heading by heading and cost by cost; a new cost counts from zero."""
    earlier = accounts.copy()
    accounts.add(Accounts(hypervisor=9, steal=8, by_cost={"flush": 2, "new": 3}))

    assert Accounts(0, 9, 0, 0, 8, 0, {"pin": 0, "flush": 2, "new": 3}) == accounts.since(earlier)


def test_add_sums_headings_and_costs(accounts: Accounts) -> None:
    """Figures of several vCPUs become those of the run."""
    accounts.add(Accounts(1, 1, 1, 1, 1, 1, {"flush": 1, "new": 2}))

    assert Accounts(2, 21, 301, 4001, 50001, 600001, {"pin": 6, "flush": 8, "new": 2}) == accounts


def test_add_leaves_the_other_alone(accounts: Accounts) -> None:
    """The vCPU's own figures can still be read."""
    other = Accounts(guest=1, by_cost={"new": 2})
    accounts.add(other)

    assert Accounts(guest=1, by_cost={"new": 2}) == other
