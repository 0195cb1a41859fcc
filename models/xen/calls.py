"""The hypercalls of the MMU, as a guest writes them down."""

from typing import NamedTuple


class MmuUpdate(NamedTuple):
    """``(pointer | command, value)`` requests; ``done`` of the same call were made before."""

    requests: tuple[tuple[int, int], ...]
    done: int = 0
    final: int | None = None
    """A continuation that only finishes a teardown, and then returns this."""


class MmuextOp(NamedTuple):
    """``(command, first argument, second argument)`` operations."""

    operations: tuple[tuple[int, int, int], ...]
    done: int = 0
    final: int | None = None


class UpdateVaMapping(NamedTuple):
    """A new entry for a virtual address of the current address space, and what to flush."""

    va: int
    entry: int
    flags: int = 0


class Multicall(NamedTuple):
    """Several calls in one; ``results`` of those that are done already."""

    calls: tuple["Call", ...]
    results: tuple[int, ...] = ()


class Unknown(NamedTuple):
    """A hypercall number that Xen does not know."""

    number: int


Call = MmuUpdate | MmuextOp | UpdateVaMapping | Multicall | Unknown


class Restart(NamedTuple):
    """A hypercall was interrupted: the guest enters it again with these arguments."""

    call: Call
