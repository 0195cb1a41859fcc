"""The multicall buffer of one CPU of a running kernel, and when it is flushed.

Calls that were put off wait here, with what is to be done when they have been made. Source: Linux
6.1 arch/x86/xen/multicalls.c (__xen_mc_entry, xen_mc_extend_args, xen_mc_callback, xen_mc_flush).
"""

from collections.abc import Callable
from dataclasses import dataclass

from models.xen.hypercalls import (
    MmuextOp,
    MmuUpdate,
    Unknown,
    UpdateVaMapping,
)
from sim.effects import Activity

MC_BATCH = 32
"""Entries of the buffer, and callbacks."""
MC_ARGS = 512
"""Bytes for arguments. They are never filled to the last (xen_mc_extend_args compares with ``>=``),
so that 31 mmu_update requests go into a batch, not 32."""
REQUEST_BYTES, OPERATION_BYTES = 16, 24
"""An mmu_update request, an mmuext operation; update_va_mapping's arguments stand in the entry."""

Queued = MmuUpdate | MmuextOp | UpdateVaMapping | Unknown
Callback = Callable[[], Activity]


def argument_bytes(call: Queued) -> int:
    """What the arguments of a call take in the buffer."""
    if isinstance(call, MmuUpdate):
        return REQUEST_BYTES * len(call.requests)
    return OPERATION_BYTES * len(call.operations) if isinstance(call, MmuextOp) else 0


@dataclass
class _Entry:
    """One hypercall that waits; ``parts`` are its requests or operations."""

    kind: type
    parts: list[tuple[int, ...]]
    single: UpdateVaMapping | Unknown | None = None

    def call(self) -> Queued:
        """The hypercall, as it is made."""
        call: MmuUpdate | MmuextOp
        if self.single is not None:
            return self.single
        call = self.kind(tuple(self.parts))
        return call


class MulticallBuffer:
    """Entries, the bytes that their arguments take, and callbacks."""

    def __init__(self, most_entries: int = MC_BATCH) -> None:
        """``most_entries``: also of callbacks; the room for arguments is in proportion."""
        self._most_entries = most_entries
        # One operation always fits.
        self._most_bytes = max(most_entries * MC_ARGS // MC_BATCH, OPERATION_BYTES + 1)
        self.entries: list[_Entry] = []
        self.callbacks: list[Callback] = []
        self.bytes = 0

    def has_room(self, size: int) -> bool:
        """Is there room for one more entry with arguments of this size?"""
        return len(self.entries) < self._most_entries and self.bytes + size < self._most_bytes

    def has_room_for_callback(self) -> bool:
        """Is there room for one more callback?"""
        return len(self.callbacks) < self._most_entries

    def extends(self, kind: type, size: int) -> bool:
        """Can the last entry take more arguments? It must be of the same kind."""
        return (
            bool(self.entries)
            and self.entries[-1].kind is kind
            and self.bytes + size < self._most_bytes
        )

    def add(self, call: Queued, size: int) -> None:
        """Put a call in, as an entry of its own."""
        if isinstance(call, UpdateVaMapping | Unknown):
            self.entries.append(_Entry(type(call), [], call))
        else:
            self.entries.append(_Entry(type(call), list(_parts(call))))
        self.bytes += size

    def extend(self, call: MmuUpdate | MmuextOp, size: int) -> None:
        """Add to the arguments of the last entry."""
        self.entries[-1].parts.extend(_parts(call))
        self.bytes += size

    @property
    def requests(self) -> int:
        """How many requests and operations wait."""
        return sum(1 if entry.single is not None else len(entry.parts) for entry in self.entries)

    def take(self) -> tuple[list[Queued], list[Callback]]:
        """All that waits; the buffer is empty then."""
        calls = [entry.call() for entry in self.entries]
        callbacks = self.callbacks
        self.entries, self.callbacks, self.bytes = [], [], 0
        return calls, callbacks


def _parts(call: MmuUpdate | MmuextOp) -> tuple[tuple[int, ...], ...]:
    return call.requests if isinstance(call, MmuUpdate) else call.operations
