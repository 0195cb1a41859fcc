"""How a fault that nobody handles ends a booting guest."""

from typing import TYPE_CHECKING

from models.linux.crash import GuestCrash
from models.machine.entries import PRESENT, mfn_of

if TYPE_CHECKING:
    from models.linux.boot.guest import Guest


def oops(guest: "Guest", va: int, value: int = 0) -> GuestCrash:
    """A fault that nobody handles: of a store of ``value``, or of a load."""
    leaf = guest.lookup_address(va & ~0xFFF)
    entry = 0 if leaf is None else leaf[0]
    present = bool(entry & PRESENT)
    pfn = guest.pfn_of(mfn_of(entry)) if present else None
    why = "is mapped read-only and is no L1 table" if present else "is not mapped"
    crash = GuestCrash("oops", f"a store to {va:016x}: the page {why}", pfn=pfn)
    if pfn == guest.start.bm_pte:
        # The hypervisor makes such stores, if what is to be stored is allowed.
        target = guest.pfn_of(mfn_of(value))
        crash = GuestCrash(
            "oops", f"Xen refused to map pfn {target:x} at a temporary address", pfn=target
        )
        crash.why = (
            f"pfn {target:x} is a live page table, and the entry {value:016x} would make it "
            "writable. Entries of a live table are stored by Xen, which lets nothing pass "
            "through which a table could be written; the guest gets the fault."
        )
    crash.vcpu = guest.vcpu.number
    crash.console = [
        f"BUG: unable to handle kernel paging request at {va:016x}",
        f"Oops: {0x3 if present else 0x2:04x} [#1] SMP",
    ]
    return crash
