"""What differs between the kernels whose boot is modelled, as data."""

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

Access: TypeAlias = Literal["early", "early-new", "direct"]
"""How a table is reached while the direct map is built: every one through a temporary mapping
(``early``), only those just taken (``early-new``), or all of them where the direct map has them
(``direct``)."""


@dataclass(frozen=True)
class Kernel:
    """One kernel version's way of building the direct map under Xen."""

    release: str
    page_offset_slot: int
    """L4 slot of the direct map: 272 up to 4.19, 273 since (room for the LDT)."""
    p2m_in_builder_map: bool
    """The domain builder puts the p2m list inside the initial map; later it has its own slot."""
    extra_identity_l1s: int
    """L1s of its own by which the kernel extends the builder's map (xen_map_identity_early)."""
    single_multicalls: bool
    """An operation alone is still wrapped in a multicall (until about 3.5)."""
    isa_stays_mapped: bool
    """dom0's holes are mapped 1:1 at set-up (xen_ident_map_ISA); later their entries are zapped."""
    p2m_read_only: bool
    """Leaves of the p2m list's pages are made read-only (xen_make_pte_init)."""
    access: Access = "direct"
    """How it reaches tables; unless a strategy has its own way."""
    brk_pages: int = 0
    """BRK pages set aside for the first tables (INIT_PGT_BUF_SIZE)."""
    takes_given_brk: bool = False
    """A scenario's BRK window is this kernel's own; others take of it what they set aside."""
    step_shift: int = 0
    """By how many bits the step of the walk grows."""
    grows_when_total_reaches_step: bool = True
    """The step grows once as much is mapped; before 3.14, when a pass maps more than all before."""
    extends_brk: bool = True
    """With no mapped memory yet and the BRK window used up, BRK is extended; else a panic."""
    starts_at_end_of_ram: bool = False
    """Where no 2 MiB are free the walk starts at the end of RAM; earlier kernels start at 2 MiB."""
    flushes_while_walking: bool = False
    """The walkers end with TLB flushes (until 4.19)."""


V2_6_38 = Kernel(
    release="2.6.38",
    page_offset_slot=272,
    p2m_in_builder_map=True,
    extra_identity_l1s=4,
    single_multicalls=True,
    isa_stays_mapped=True,
    p2m_read_only=False,
    access="early-new",
    flushes_while_walking=True,
)
"""Live tables are reached by their addresses in the direct map."""

V2_6_39 = replace(
    V2_6_38,
    release="2.6.39",
    access="early",  # map_low_page maps live tables, too
)

V3_10 = Kernel(
    release="3.10",
    page_offset_slot=272,
    p2m_in_builder_map=True,
    extra_identity_l1s=0,
    single_multicalls=False,
    isa_stays_mapped=True,
    p2m_read_only=False,
    brk_pages=5,
    step_shift=5,
    grows_when_total_reaches_step=False,
    extends_brk=False,
    flushes_while_walking=True,
)

V5_10 = Kernel(
    release="5.10",
    page_offset_slot=273,
    p2m_in_builder_map=False,
    extra_identity_l1s=0,
    single_multicalls=False,
    isa_stays_mapped=True,
    p2m_read_only=True,
    brk_pages=12,
    step_shift=8,
)

V6_1 = replace(
    V5_10,
    release="6.1",
    isa_stays_mapped=False,
    brk_pages=16,
    takes_given_brk=True,
    starts_at_end_of_ram=True,
)
