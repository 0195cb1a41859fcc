"""Updates that are put off: the kernel's multicall buffer, as lazy MMU mode fills it.

Nothing in here reaches the hypervisor; :class:`models.linux.boot.calls.Calls` fills the buffer and
flushes it. Source: Linux 2.6.39 arch/x86/xen/multicalls.c (MC_BATCH, MC_ARGS, __xen_mc_entry,
xen_mc_extend_args).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from models.linux.multicall_buffer import OPERATION_BYTES, argument_bytes
from models.machine.entries import ENTRIES, PAGE_SHIFT, PRESENT, mfn_of
from models.machine.frames import FrameTable
from models.xen.hypercalls import MmuextOp, MmuUpdate, UpdateVaMapping

_ARGUMENT_BYTES = 16
"""Room for arguments, for each entry."""

Queued = UpdateVaMapping | MmuextOp | MmuUpdate


@dataclass
class Entry:
    """One entry of the buffer."""

    call: Queued
    pages: list[int]
    """The tables (pfns) that it is about."""
    closes: list[int] = field(default_factory=list)
    """Tables (pfns) that nobody can write to any more when it has been done."""


class MulticallBuffer:
    """Entries that wait, and what they will change."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.room = max(size * _ARGUMENT_BYTES, OPERATION_BYTES)
        """Bytes for arguments (MC_ARGS); at least one operation fits."""
        self.entries: list[Entry] = []
        self.bytes = 0
        self._touched: set[int] = set()

    def fits(self, call: Queued) -> bool:
        """Is there room for one more call, as an entry of its own or in the last one?"""
        needed = argument_bytes(call)
        # Versions since about 3.2 never fill the last byte: 31 updates there.
        if self.bytes + needed > self.room:
            return False
        return len(self.entries) < self.size or self._extends(call)

    def add(self, call: Queued, pages: Iterable[int]) -> None:
        """Put a call in; updates that follow each other share an entry."""
        if self._extends(call):
            last = self.entries[-1]
            assert isinstance(last.call, MmuUpdate)
            assert isinstance(call, MmuUpdate)
            last.call = MmuUpdate(last.call.requests + call.requests, foreign=call.foreign)
            last.pages.extend(pages)
        else:
            self.entries.append(Entry(call, list(pages)))
        self.bytes += argument_bytes(call)
        if isinstance(call, MmuUpdate):
            self._touched.update(pointer for pointer, _ in call.requests)
        elif isinstance(call, UpdateVaMapping):
            self._touched.add(call.va)

    def take(self) -> list[Entry]:
        """All that waits; the buffer is empty then."""
        taken, self.entries, self.bytes = self.entries, [], 0
        self._touched = set()
        return taken

    def touches(self, pointers: Iterable[int]) -> bool:
        """Will an entry at one of these addresses, machine or virtual, be another one?"""
        return not self._touched.isdisjoint(pointers)

    def touches_table(self, mfn: int) -> bool:
        """Will an entry of this table be another one?"""
        return any(pointer >> PAGE_SHIFT == mfn for pointer in self._touched)

    def is_about(self, pfn: int) -> bool:
        """Does something that waits pin or enter this page?"""
        return any(
            pfn in entry.pages
            for entry in self.entries
            if not isinstance(entry.call, UpdateVaMapping)
        )

    def _extends(self, call: Queued) -> bool:
        if not self.entries or not isinstance(call, MmuUpdate):
            return False
        last = self.entries[-1].call
        return isinstance(last, MmuUpdate) and last.foreign == call.foreign


def way_to(frames: FrameTable, l4: int, va: int) -> Iterator[int]:
    """An address itself, and those of the entries that a walk from ``l4`` (mfn) to it meets."""
    yield va
    table = l4
    for shift in (39, 30, 21, 12):
        slot = va >> shift & ENTRIES - 1
        yield table << PAGE_SHIFT | slot << 3
        entry = frames.words(table)[slot]
        if not entry & PRESENT:
            return
        table = mfn_of(entry)
