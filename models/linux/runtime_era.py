"""What differs between the kernels whose run time is modelled, as data."""

from dataclasses import dataclass, replace
from typing import Literal

SetPte = Literal["mmu_update", "update_va_mapping"]


@dataclass(frozen=True)
class RuntimeEra:
    """One kernel version's way of changing page tables under Xen while processes run."""

    release: str
    set_pte: SetPte
    """``mmu_update``: always by machine address, alone or batched (since 3.6). Before that
    ``update_va_mapping`` for the address space that is loaded, and a store for any other."""
    table_pinned_in_one_call: bool
    """RO and PIN of a new L1 go into one multicall (since 3.0), not into two hypercalls."""
    single_multicalls: bool
    """An operation alone is still wrapped in a multicall (until about 3.5)."""
    tries_writable: bool
    """mprotect() gives back write permission at once to pages of one owner (since 6.0)."""
    flushes_after_walk: int = 0
    """The TLB flushes at the end of a walk that extends the direct map; until 4.19 there is also
    one for each of its live L2s and L3s."""


V6_1 = RuntimeEra(
    release="6.1",
    set_pte="mmu_update",
    table_pinned_in_one_call=True,
    single_multicalls=False,
    tries_writable=True,
)
V5_10 = replace(V6_1, release="5.10", tries_writable=False)
V3_10 = replace(V5_10, release="3.10", flushes_after_walk=1)
V2_6_39 = RuntimeEra(
    release="2.6.39",
    set_pte="update_va_mapping",
    table_pinned_in_one_call=False,
    single_multicalls=True,
    tries_writable=False,
    flushes_after_walk=2,
)
V2_6_38 = replace(V2_6_39, release="2.6.38")
_ERAS = {era.release: era for era in (V6_1, V5_10, V3_10, V2_6_39, V2_6_38)}


def era_of(release: str) -> RuntimeEra:
    """The run-time side of a kernel release."""
    return _ERAS[release]
