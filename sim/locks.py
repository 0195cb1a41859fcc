"""Locks as the interpreters see them.

A lock has no state of its own beside the model's: the page lock of the hypervisor is a bit
of a frame's type word, a guest's spinlock is a word of the guest. An interpreter only asks
whether a lock is busy, takes it when it is not, and makes its CPU wait when it is.
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
