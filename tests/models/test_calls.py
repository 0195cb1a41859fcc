"""Hypercalls of the boot: what is put off, what a refusal does, and what a call is called."""

import pytest

from models.linux.boot.calls import Calls, described
from models.linux.boot.guest import Guest
from models.linux.boot.put_off import Queued
from models.linux.crash import GuestCrash
from models.strategies.catalogue import find_strategy
from models.strategies.recombine import recombine
from models.xen.hypercalls import MmuextOp, MmuUpdate, UpdateVaMapping
from models.xen.words import INVLPG_LOCAL, NEW_BASEPTR, PIN_L1_TABLE
from sim.instant import drain
from tests.models.test_batching import guest_at_start

SAID: list[tuple[Queued, tuple[int, ...], str]] = [
    (MmuUpdate(((0x5008, 0x67),)), (3,), "mmu_update of 5008 to 0000000000000067"),
    (
        MmuUpdate(((0x5008, 0), (0x5010, 1), (0x5018, 2))),
        (),
        "mmu_update of 5008 to 0000000000000000 and 2 more",
    ),
    (
        UpdateVaMapping(0xFFFF880000003000, 0x8061),
        (3,),
        "update_va_mapping of ffff880000003000 to 0000000000008061",
    ),
    (MmuextOp(((PIN_L1_TABLE, 0x1E960, 0),)), (0xBACF7,), "PIN_L1_TABLE of pfn bacf7"),
    (MmuextOp(((PIN_L1_TABLE, 0x1E960, 0),)), (), "PIN_L1_TABLE"),
    (MmuextOp(((INVLPG_LOCAL, 0x3000, 0),)), (), "INVLPG_LOCAL"),
    (MmuextOp(((NEW_BASEPTR, 0x1E960, 0),)), (), "NEW_BASEPTR"),
]


@pytest.mark.parametrize(("call", "pages", "expected"), SAID)
def test_call_is_put_into_words(call: Queued, pages: tuple[int, ...], expected: str) -> None:
    """By what it asks for first; a page is named where the call has only its frame."""
    assert expected == described(call, pages)


def unpinnable(batching: int | str) -> tuple[Guest, int]:
    """A guest, and a page of its own that no table can be: it is mapped writable."""
    guest = guest_at_start(recombine(find_strategy("reserve-hook"), {"batching": batching}))
    return guest, guest.start.layout.image_end - 1


def test_pin_that_is_refused_is_a_bug() -> None:
    """pin_pagetable_pfn: the kernel stops, and nothing is known as pinned."""
    guest, page = unpinnable("none")

    with pytest.raises(GuestCrash, match=r"PIN_L1_TABLE gave -\d+") as caught:
        drain(guest.pin_l1(page))
    assert ("pin", page) == (caught.value.kind, caught.value.pfn)
    assert not guest.tables.pinned


def test_pin_that_is_refused_later_is_a_warning() -> None:
    """With the page that the call was about."""
    guest, page = unpinnable(32)
    guest.calls.enter_lazy_mmu()
    drain(guest.pin_l1(page))
    assert not guest.refused

    drain(guest.calls.leave_lazy_mmu())

    (refused,) = guest.refused
    assert refused.what.startswith(f"PIN_L1_TABLE of pfn {page:x} gave -")


def test_what_is_done_afterwards_waits_for_the_multicall() -> None:
    """And is done at once where nothing waits, in lazy mode and outside it."""
    done: list[str] = []
    guest, _ = unpinnable(32)
    calls: Calls = guest.calls

    calls.afterwards(lambda: done.append("outside"))
    calls.enter_lazy_mmu()
    calls.afterwards(lambda: done.append("nothing waits"))
    assert ["outside", "nothing waits"] == done

    drain(guest.flush_tlb())
    calls.afterwards(lambda: done.append("flushed"))
    assert "flushed" not in done
    drain(calls.flush())
    assert ["outside", "nothing waits", "flushed"] == done
