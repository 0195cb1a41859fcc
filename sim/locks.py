"""Locks as the interpreters see them.

A lock has no state of its own beside the model's: the page lock of the hypervisor is a bit
of a frame's type word, a guest's spinlock is a word of the guest. An interpreter only asks
whether a lock is busy, takes it when it is not, and makes its CPU wait when it is.

Locks are unfair: of those that wait for one, whichever tries first after its release has it, and
only who has a CPU can try. A :class:`TicketLock` is handed on in the order of asking instead.
"""

from collections.abc import Hashable
from typing import Protocol


class Lock(Protocol):
    """What an interpreter needs of a lock."""

    @property
    def key(self) -> Hashable:
        """Equal for two objects that stand for the same lock; printed in reports."""

    @property
    def brief(self) -> bool:
        """Held for a moment only: the time inside is charged at once, at the release."""

    def busy(self) -> bool:
        """Does somebody hold it?"""

    def take(self) -> bool:
        """Take it, given that it is not busy. False: there is nothing here to be locked."""

    def release(self) -> None:
        """Give it back."""


class SpinLock:
    """A lock word of its own, for guest kernels."""

    brief = False

    def __init__(self, name: str) -> None:
        self.key: Hashable = name
        self.locked = False

    def busy(self) -> bool:
        """Is the word set?"""
        return self.locked

    def take(self) -> bool:
        """Set the word."""
        self.locked = True
        return True

    def release(self) -> None:
        """Clear the word."""
        self.locked = False


class TicketLock:
    """A fair lock: whoever finds it busy draws a ticket, and they are served in turn.

    Somebody whose turn has come and who has no CPU keeps all behind it waiting. An interpreter
    that knows no tickets takes it as an unfair lock, whose orders include the fair one.

    Source: Linux 314cdbefd1fd (2.6.25), include/asm-x86/spinlock_64.h.
    """

    brief = False

    def __init__(self, name: str) -> None:
        self.key: Hashable = name
        self._next_ticket = 0
        self._served = 0

    @property
    def locked(self) -> bool:
        """Does somebody hold it, or is it about to be somebody's?"""
        return self._next_ticket != self._served

    def busy(self) -> bool:
        """Would a newcomer have to wait?"""
        return self.locked

    def draw_ticket(self) -> int:
        """Queue up behind all that wait."""
        ticket = self._next_ticket
        self._next_ticket += 1
        return ticket

    def serves(self, ticket: int) -> bool:
        """Has this ticket's turn come? It has the lock then."""
        return self._served == ticket

    def take(self) -> bool:
        """Take it, given that nobody has or wants it."""
        self.draw_ticket()
        return True

    def release(self) -> None:
        """Let the next one have it."""
        self._served += 1
