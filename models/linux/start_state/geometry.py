"""The guest's memory map as it stands when the direct map is about to be built.

Everything is in bytes unless a name says pages; ranges are half-open. Nothing is checked here:
who makes a ``Geometry`` answers for its consistency.
"""

from typing import Literal, TypeAlias

import msgspec

Range: TypeAlias = tuple[int, int]


class Extent(msgspec.Struct, frozen=True):
    """A run of guest pages whose machine frames are consecutive as well."""

    pfn: int
    mfn: int
    pages: int


class BrkWindow(msgspec.Struct, frozen=True):
    """The part of the kernel's BRK area that is set aside for early page tables."""

    start: int
    pages: int


class Allocation(msgspec.Struct, frozen=True):
    """A boot-time allocation that the kernel stores to right after it was made."""

    name: str = msgspec.field(name="alloc")
    size: int


class Geometry(msgspec.Struct, frozen=True, kw_only=True):
    """All that the construction of the direct map depends on, for one guest.

    The initial RAM is ``e820``; its last ``slack`` bytes are reserved ("XEN EXTRA"). ``None``
    means that the value is derived from the others, as the domain builder and the kernel's
    early set-up would have made it.
    """

    kind: Literal["dom0", "domU"]
    e820: tuple[Range, ...]
    """Usable RAM: sorted, disjoint."""

    kernel_end: int
    """End of the image and whatever else the builder's map holds below its own tables."""

    kernel_start: int = 16 << 20

    reserved: tuple[Range, ...] | None = None
    """What memblock keeps from being allocated."""

    slack: int = 0

    builder_l1_tables: int | None = None
    """How many L1 tables the domain builder made; they map pfn 0 upwards."""

    builder_l1_start: int | None = None
    """Where the first of them lies."""

    static_tables: int | None = None
    """Where the top-level tables inside the kernel image lie."""

    brk_tables: BrkWindow | None = None

    absent_in_builder_map: tuple[Range, ...] = ()
    """Pages below the builder's last L1 whose entries are empty."""

    without_mfn: tuple[Range, ...] = ()
    """RAM without a machine frame behind it."""

    p2m_pages: tuple[Range, ...] | None = None
    """The pages of the guest's own p2m list, which it maps read-only."""

    identity: tuple[Range, ...] = ()
    """No RAM: the host's own addresses, which dom0 maps with mfn = pfn."""

    typed_writable: tuple[Range, ...] = ()
    """RAM that the toolstack had mapped writable: its type word starts as writable, count 0."""

    p2m: tuple[Extent, ...] | None = None
    """Which machine frame stands behind which page."""

    added: tuple[Range, ...] = ()
    """No RAM yet: memory that the domain gets later. It has its frames from the beginning, and
    ``p2m`` is ``None``."""

    early_mapping_after: bool = True
    """Whether anything is mapped early between the direct map and memblock's next user."""

    after_mapping: tuple[Allocation, ...] = ()
    """Top-down allocations that follow the direct map and are then stored to."""
