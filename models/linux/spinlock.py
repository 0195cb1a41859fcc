"""A spinlock of the guest kernel's, with the effects that take and release it."""

from sim.effects import Acquire, Release
from sim.locks import SpinLock


class Lock:
    """A spinlock: yield ``to_take`` to wait for it and take it, ``to_release`` to give it back."""

    __slots__ = ("lock", "to_release", "to_take")

    def __init__(self, name: str) -> None:
        self.lock = SpinLock(name)
        self.to_take = Acquire(self.lock)
        self.to_release = Release(self.lock)
