"""Several vCPUs that build one direct map: orders chosen by hand, on the smallest machine."""

from collections.abc import Callable, Sequence

import pytest

from experiments.scenario.scenario import load
from experiments.subjects.crews import fresh
from models.linux.boot.crew import Crew, CrewPlan
from models.linux.boot.guest import Guest
from models.linux.boot.parallel_boot import lost_regions
from models.linux.crash import GuestCrash
from models.machine.entries import ENTRIES
from models.xen.checks.invariants import check, require_at_rest
from sim.explore.execution import Execution, InTurn, execute
from tests.models.linux.guests import small_guest

EARLIER, LATER = 0xC03, 0xC04
"""The pages that the tiny machine's buffer gives first, at 12 MiB and 12 KiB."""

Turn = tuple[int, Callable[[Guest], bool]]
"""A vCPU, and until when it is its turn."""


def in_turns(strategy: str, turns: Sequence[Turn], *settings: str) -> tuple[Guest, Execution]:
    """Run the tiny machine's two vCPUs in turns, then whoever can go on, the first one first."""
    guest, activities = fresh(load("parallel-boot-tiny", settings), strategy)
    left = list(turns)

    class Turns(InTurn):
        """Follows the turns."""

        def pick(self, ready: Sequence[int]) -> int:
            while left and left[0][1](guest):
                left.pop(0)
            wanted = left[0][0] if left else 0
            return wanted if wanted in ready else ready[0]

    return guest, execute(activities, Turns(), preempts=False)


def shared_out(guest: Guest) -> bool:
    """The pieces are there to be taken."""
    return guest.crew is not None and guest.crew.pieces > 0


def taken(pages: int) -> Callable[[Guest], bool]:
    """So many pages have been taken from the buffer."""

    def so_many(guest: Guest) -> bool:
        buffer = guest.tables.buffer
        return buffer.used_end - buffer.start == pages

    return so_many


def first_piece_taken(guest: Guest) -> bool:
    """The piece without tables' pages is somebody's: the first vCPU's, whose turn it is."""
    return shared_out(guest) and len(guest.crew._job.queues[0]) == 1  # type: ignore[union-attr]


def pinned_and_not_entered(guest: Guest) -> bool:
    """An L1 is a table for Xen, and no walk leads to it yet."""
    return any(guest.lookup_address(guest.va(pfn)) is None for pfn in guest.tables.pinned)


def leaves_chosen(guest: Guest) -> bool:
    """The second vCPU has asked which leaves are read-only, and has not stored them."""
    return guest.crew is not None and guest.crew.members[1].mask_lookups == ENTRIES


PINNED_BEFORE_TAKEN: Sequence[Turn] = ((0, first_piece_taken), (1, pinned_and_not_entered))
PINNED_BEFORE_STORED: Sequence[Turn] = (
    (0, first_piece_taken),
    (1, leaves_chosen),
    (0, lambda guest: LATER in guest.tables.pinned),
)


def test_table_taken_after_another_vcpu_has_mapped_it_is_refused() -> None:
    """tables-high: the other's L1 is pinned and not hooked, so no walk finds the writable leaf."""
    guest, execution = in_turns("tables-high", PINNED_BEFORE_TAKEN)

    assert isinstance(execution.failure, GuestCrash)
    assert ("pin", LATER, 0) == (
        execution.failure.kind,
        execution.failure.pfn,
        execution.failure.vcpu,
    )
    (line, _) = guest.xen.console.lines
    assert "Bad type (saw 7400000000000001 != exp 1000000000000000)" in line.text


@pytest.mark.parametrize("turns", [PINNED_BEFORE_TAKEN, PINNED_BEFORE_STORED])
@pytest.mark.parametrize("strategy", ["reserve-hook", "publish-free", "ro-window", "tables-low"])
def test_in_the_same_orders_these_boot(strategy: str, turns: Sequence[Turn]) -> None:
    """Their leaves of the buffer are read-only from the beginning, or were there before."""
    guest, execution = in_turns(strategy, turns)

    assert (None, False, []) == (execution.failure, execution.deadlock, guest.refused)
    assert [] == lost_regions(guest)
    check(guest.xen)
    require_at_rest(guest.xen)


def test_alone_each_of_these_machines_boots() -> None:
    """One vCPU after the other is the order of a single one: tables-high survives it."""
    guest, execution = in_turns("tables-high", ())

    assert (None, []) == (execution.failure, lost_regions(guest))


def test_patching_by_machine_address_finds_the_other_vcpus_leaf() -> None:
    """patch-alias knows which table maps the page, whoever has filled it."""
    _, execution = in_turns("patch-alias", PINNED_BEFORE_TAKEN)

    assert execution.failure is None


@pytest.mark.parametrize("strategy", ["tables-high", "patch-alias", "deferred-ro-early"])
def test_leaf_that_is_stored_after_the_page_was_taken_is_refused(strategy: str) -> None:
    """It was chosen before: now it is the vCPU that maps the live table whose pin is refused."""
    _, execution = in_turns(strategy, PINNED_BEFORE_STORED)

    assert isinstance(execution.failure, GuestCrash)
    assert ("pin", EARLIER, 1) == (
        execution.failure.kind,
        execution.failure.pfn,
        execution.failure.vcpu,
    )


FIRST_TAKES_THEN_SECOND: Sequence[Turn] = (
    (0, taken(1)),
    (1, taken(2)),
)


@pytest.mark.parametrize("allocator", ["lock", "reserve"])
def test_page_is_mapped_before_another_is_taken(allocator: str) -> None:
    """Only the page taken last may be written at a temporary address: there is one at a time."""
    _, execution = in_turns(
        "reserve-hook", FIRST_TAKES_THEN_SECOND, f"workload.allocator={allocator}"
    )

    assert execution.failure is None


def test_lock_that_is_given_back_too_early_makes_the_page_read_only() -> None:
    """Another page is the last one then, and the first vCPU cannot clear its own."""
    _, execution = in_turns(
        "reserve-hook", FIRST_TAKES_THEN_SECOND, "workload.allocator=short-lock"
    )

    assert isinstance(execution.failure, GuestCrash)
    assert ("oops", EARLIER, 0) == (
        execution.failure.kind,
        execution.failure.pfn,
        execution.failure.vcpu,
    )


@pytest.mark.parametrize(
    ("vcpus", "step_pages", "first", "end", "pieces"),
    [
        (1, None, 0, 5000, [(0, 5000)]),
        (2, None, 0, 2048, [(0, 1024), (1024, 2048)]),
        # 5000 pages are 9.8 regions of 2 MiB: shares of five.
        (2, None, 0, 5000, [(0, 2560), (2560, 5000)]),
        # There is less than a share for each.
        (4, None, 0, 1024, [(0, 512), (512, 1024)]),
        (2, 1024, 512, 3000, [(512, 1024), (1024, 2048), (2048, 3000)]),
    ],
)
def test_range_is_cut_where_an_l1_ends(
    vcpus: int, step_pages: int | None, first: int, end: int, pieces: list[tuple[int, int]]
) -> None:
    """Equal shares, or pieces of a size at its multiples."""
    crew = Crew(small_guest(vcpus), CrewPlan(piece_pages=step_pages))

    assert pieces == crew.cut(first, end)


def test_each_vcpu_has_temporary_addresses_of_its_own() -> None:
    """Eight each, one after the other, in the same table."""
    first, second, third = Crew(small_guest(3), CrewPlan()).members

    assert (0, 8, 16) == tuple(member.early.unused() for member in (first, second, third))
    assert 24 == len(first.early.slots)
    assert first.early.slots is third.early.slots
