"""The parts that strategies are composed of: placement, mask, release."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from models.linux.boot.guest import Guest
from models.linux.boot.strategy import Buffer
from models.linux.multicall_buffer import MC_BATCH
from models.linux.start_state.geometry import Range
from sim.effects import Activity

_LOWEST = 0x8000 >> 12


def below_mapped(guest: Guest, end: int) -> Range:  # noqa: ARG001 - a placement's signature
    """The buffer lies in memory that is mapped already, as far as the kernel knows."""
    return _LOWEST, guest.max_pfn_mapped


def top_of_range(guest: Guest, end: int) -> Range:  # noqa: ARG001
    """The buffer lies as high as it can, in what this call is going to map."""
    return _LOWEST, end


@dataclass(frozen=True)
class ReadOnlyBuffer:
    """Leaves of the buffer's pages are read-only, up to the last page taken or to the top."""

    until: Literal["used_end", "top"]

    def leaves(self, guest: Guest, first: int, end: int) -> Iterable[Range]:  # noqa: ARG002
        """The pages whose leaves are read-only now."""
        buffer = guest.tables.buffer
        return ((buffer.start, buffer.used_end if self.until == "used_end" else buffer.top),)

    def alike(self, guest: Guest, first: int, end: int) -> bool:  # noqa: ARG002
        """Yes: the buffer grows only by pages that lie in none of them."""
        return True


@dataclass(frozen=True)
class EarlySlotsOnly:
    """All leaves are written as they are; only temporary mappings of tables are read-only."""

    def leaves(self, guest: Guest, first: int, end: int) -> Iterable[Range]:  # noqa: ARG002
        """None."""
        return ()

    def alike(self, guest: Guest, first: int, end: int) -> bool:  # noqa: ARG002
        """Yes."""
        return True


@dataclass(frozen=True)
class KnownTables:
    """Leaves of the pages that have been published are read-only."""

    def leaves(self, guest: Guest, first: int, end: int) -> Iterable[Range]:
        """Those of the set that lie there, one by one."""
        return ((pfn, pfn + 1) for pfn in guest.tables.known.between(first, end))

    def alike(self, guest: Guest, first: int, end: int) -> bool:  # noqa: ARG002
        """Yes: the set grows only by pages that lie in none of them."""
        return True


class AlwaysWritable:
    """Every temporary mapping is writable."""

    def __call__(self, buffer: Buffer, pfn: int) -> bool:  # noqa: ARG002 - a rule's signature
        """Is one read-only? No."""
        return False

    def alike(self, guest: Guest, first: int, end: int) -> bool:  # noqa: ARG002
        """Yes."""
        return True


always_writable = AlwaysWritable()


def make_left_over_writable(guest: Guest, buffer: Buffer) -> Activity:
    """Each page reserved and not used gets its write permission back, one call a page."""
    for pfn in buffer.left_over:
        guest.tables.known.discard(pfn)
        yield from guest.make_lowmem_page_readwrite(pfn)


def free_left_over_at_once(guest: Guest, buffer: Buffer) -> Activity:
    """The same in multicalls, as many pages in each as the kernel's buffer holds."""
    pfns = list(buffer.left_over)
    for pfn in pfns:
        guest.tables.known.discard(pfn)
    for first in range(0, len(pfns), MC_BATCH):
        yield from guest.make_lowmem_pages_readwrite(pfns[first : first + MC_BATCH])
