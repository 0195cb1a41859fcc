"""The hypercalls of the MMU, as a guest writes them down, and how observers hear of them.

msgspec's records are made in a third of the time of a named tuple, and a boot makes one for each
call.
"""

from enum import Enum
from typing import NamedTuple, TypeAlias

import msgspec

from models.xen.words import DOMID_SELF
from sim.effects import Activity, Note, Spend, Trap


class Emulation(Enum):
    """What became of a store that faulted."""

    FIXED = "fixed"
    FAULT = "#PF"
    CMPXCHG_FAILED = "CMPXCHG_FAILED"
    RETRY = "retry"
    """Nothing was stored, but the CPU will get through now."""


class MmuUpdate(msgspec.Struct, frozen=True, gc=False):
    """``(pointer | command, value)`` requests; ``done`` of the same call were made before."""

    requests: tuple[tuple[int, int], ...]
    done: int = 0
    final: int | None = None
    """A continuation that only finishes a teardown, and then returns this."""
    foreign: int = DOMID_SELF
    """The domain whose pages are mapped; above bit 16, one more than that of the tables."""


class MmuextOp(msgspec.Struct, frozen=True, gc=False):
    """``(command, first argument, second argument)`` operations."""

    operations: tuple[tuple[int, int, int], ...]
    done: int = 0
    final: int | None = None
    foreign: int = DOMID_SELF
    """The domain whose pages are meant."""


class UpdateVaMapping(msgspec.Struct, frozen=True, gc=False):
    """A new entry for a virtual address of the current address space, and what to flush."""

    va: int
    entry: int
    flags: int = 0
    foreign: int = DOMID_SELF
    """The domain whose page is mapped (update_va_mapping_otherdomain)."""


class Multicall(msgspec.Struct, frozen=True, gc=False):
    """Several calls in one; ``results`` of those that are done already."""

    calls: tuple["Call", ...]
    results: tuple[int, ...] = ()


class Unknown(msgspec.Struct, frozen=True, gc=False):
    """A hypercall number that Xen does not know."""

    number: int


Call = MmuUpdate | MmuextOp | UpdateVaMapping | Multicall | Unknown


Costs: TypeAlias = tuple[Spend, ...]
"""What a call that was made at once has spent beside the way in."""


class Restart(msgspec.Struct, frozen=True, gc=False):
    """A hypercall was interrupted: the guest enters it again with these arguments."""

    call: Call


class Called(NamedTuple):
    """The note of an entry into the hypervisor: made when it begins and when it has ended."""

    call: object
    """A hypercall, or one of the following."""
    result: object = None
    ended: bool = False


class EmulatedStore(NamedTuple):
    """A store that the hypervisor made for the guest."""

    kind: str
    """``ptwr`` or ``shadow``."""
    va: int
    value: int


class Violation(NamedTuple):
    """A touch of memory that the second table of nested paging did not hold."""

    address: int
    """In the guest's memory."""


_NAMES: dict[type, str] = {
    UpdateVaMapping: "update_va_mapping",
    MmuUpdate: "mmu_update",
    MmuextOp: "mmuext_op",
    Multicall: "multicall",
    Unknown: "unknown",
}
DIRECT = {kind: ("hypercalls_direct", name) for kind, name in _NAMES.items()}
"""What calls are counted under that a guest makes directly ..."""
INSIDE = {kind: ("hypercalls_inside_multicall", name) for kind, name in _NAMES.items()}
"""... and as entries of a multicall."""
CONTINUED = {kind: ("hypercalls_continued", name) for kind, name in _NAMES.items()}
"""... and for each time that one was entered again."""


def told(call: object, entered: Trap) -> Activity:
    """Observers hear of the call when it is made and when it has ended."""
    yield Note(Called(call))
    result = yield entered
    yield Note(Called(call, result, ended=True))
    return result
