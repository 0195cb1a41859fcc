"""A page table page that the kernel has within its reach."""

from typing import NamedTuple


class Page(NamedTuple):
    """One page, and where it can be read or written: in the direct map or temporarily."""

    pfn: int
    mfn: int
    va: int
