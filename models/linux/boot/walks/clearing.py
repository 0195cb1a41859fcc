"""Entries behind what is mapped, which the kernel clears one by one, empty as they are.

Source: Linux arch/x86/mm/init_64.c (phys_pud_init, phys_pmd_init: set_pmd(pmd, __pmd(0)) ...).
"""

from collections.abc import Hashable
from dataclasses import dataclass

from models.linux.boot.guest import Guest
from models.linux.boot.walks.repetition import NotAlike, is_unwatched, repeat, undisturbed
from sim.effects import Activity


def clear_entries(guest: Guest, table: int, slots: range) -> Activity:
    """Clear consecutive entries of a table above L1 (mfn), each by a hypercall."""

    def clear(number: int) -> Activity:
        return guest.calls.set_entry(table, slots[number], 0)

    done = 0
    entries = guest.frames.arrays.get(table)
    if is_unwatched(guest) and (entries is None or not entries[slots.start : slots.stop].any()):
        done = yield from repeat(guest, Empty(table, slots.start), len(slots), clear)
    for number in range(done, len(slots)):
        yield from clear(number)


@dataclass(frozen=True)
class Empty:
    """Consecutive empty entries of one table, numbered from 0."""

    table: int
    """The table (mfn)."""
    first: int
    """The slot of the first."""

    def __str__(self) -> str:
        return f"entries of mfn {self.table:x} that are cleared as that in slot {self.first} is"

    def at_rest(self, guest: Guest) -> Hashable:
        """The table, and what has been printed."""
        return undisturbed(guest, self.table)

    def come_to(self, guest: Guest, number: int) -> int:
        """What the entry is."""
        return guest.frames.words(self.table)[self.first + number]

    def moved(self, what: object, number: int) -> object:  # noqa: ARG002 - a run's method
        """Nothing is told of an entry."""
        raise NotAlike(f"{self}: {what!r} was told of the first")

    def write(self, guest: Guest, times: int, flushes: int) -> None:
        """They are empty already."""
