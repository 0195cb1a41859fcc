"""The parts that strategies are composed of: placement, mask, release."""

from dataclasses import dataclass
from typing import Literal

from models.linux.geometry import Range
from models.linux.guest import Guest
from models.linux.strategy import Buffer
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
    """Leaves of the buffer's pages are read-only, up to the last page taken or to the top.

    Through temporary mappings tables are writable (``early="writable"``), or only the one
    taken last, which is being filled.
    """

    until: Literal["used_end", "top"]
    early: Literal["writable", "last_page"] = "last_page"

    def leaves(self, buffer: Buffer) -> Range:
        """The pages whose leaves are read-only now."""
        return buffer.start, buffer.used_end if self.until == "used_end" else buffer.top

    def early_slot(self, buffer: Buffer, pfn: int) -> bool:
        """A temporary mapping is read-only for all but the page being filled."""
        return self.early == "last_page" and pfn != buffer.used_end - 1


def make_left_over_writable(guest: Guest, buffer: Buffer) -> Activity:
    """Each page reserved and not used gets its write permission back, one call a page."""
    for pfn in buffer.left_over:
        yield from guest.make_lowmem_page_readwrite(pfn)
