"""Entries of L1 tables: the references that a mapping takes and gives back.

Source: xen/arch/x86/mm.c, get_page_from_l1e and put_page_from_l1e; adjust_guest_l1e.
"""

from models.machine.entries import (
    GLOBAL,
    GUEST_KERNEL,
    INVALID_MFN,
    PAT,
    PCD,
    PRESENT,
    PWT,
    RW,
    USER,
    flags24,
    mfn_of,
)
from models.machine.frames import DOMID_IO, NO_OWNER
from models.xen.errno import EBUSY, EINVAL, EPERM
from models.xen.page_type import get_page_type, put_page_type
from models.xen.references import put_page, take_reference
from models.xen.state import Vcpu, Xen
from sim.effects import STEP, Activity

CACHE_BITS = PAT | PCD | PWT


def get_page_from_l1e(xen: Xen, vcpu: Vcpu, entry: int) -> Activity:
    """Take the references of an entry: the entry as it will be stored, or a negative errno."""
    if not entry & PRESENT:
        return entry
    abi, frames, domid = xen.abi, xen.frames, xen.domain.domid
    if entry & xen.bad_flags[1]:
        yield from xen.warn(vcpu, "bad_flags_l1", flags=flags24(entry & xen.bad_flags[1]))
        return -EINVAL
    mfn = mfn_of(entry)
    index = frames.index(mfn)
    if index < 0 or frames.owner[index] == DOMID_IO:
        if xen.domain.may_map_io(mfn):
            return uncached(entry) if abi.mmio_forces_uncached else entry
        if mfn == INVALID_MFN:
            return -EINVAL
        yield from xen.warn(vcpu, "io_space", domid=domid, mfn=mfn)
        return -EPERM

    yield STEP
    held = take_reference(xen, index)
    owner = frames.owner[index]
    if not held or owner != domid:
        if "real_owner" in abi.text:
            yield from xen.warn(
                vcpu, "real_owner", domid=domid, real_owner=-1 if owner == NO_OWNER else owner
            )
        if held:
            yield STEP
            put_page(xen, index)
        return (yield from _could_not_get(xen, vcpu, mfn, entry))
    if entry & RW:
        rc: int = yield from get_page_type(xen, vcpu, mfn, index, abi.writable)
        if rc:
            if "no_writable_type" in abi.text:
                yield from xen.warn(vcpu, "no_writable_type")
            yield STEP
            put_page(xen, index)
            return (yield from _could_not_get(xen, vcpu, mfn, entry))
        if entry & CACHE_BITS == PAT:
            # The CPU has no self-snoop: remember that somebody may write past the cache.
            frames.type_info[index] |= abi.non_coherent
    return entry


def put_page_from_l1e(xen: Xen, vcpu: Vcpu, entry: int) -> Activity:
    """Give back the references of an entry."""
    if not entry & PRESENT:
        return
    mfn = mfn_of(entry)
    index = xen.frames.index(mfn)
    if index < 0 or xen.frames.owner[index] == DOMID_IO:
        return
    if entry & RW:
        yield from put_page_type(xen, vcpu, mfn, index)
    yield STEP
    put_page(xen, index)


def adjust_l1e(entry: int) -> int:
    """An entry as Xen stores it for a 64-bit guest, which runs in ring 3."""
    if entry & PRESENT:
        if not entry & USER:
            entry |= GUEST_KERNEL | USER
        if not entry & GUEST_KERNEL:
            entry |= GLOBAL | USER
    return entry


def warn_global_kernel(xen: Xen, vcpu: Vcpu, entry: int) -> Activity:
    """A kernel's own page must not be global: a warning, no refusal."""
    if entry & PRESENT and entry & (GUEST_KERNEL | GLOBAL) == GUEST_KERNEL | GLOBAL:
        yield from xen.warn(vcpu, "global_kernel", mfn=mfn_of(entry))


def uncached(entry: int) -> int:
    """An entry of a frame that is not RAM, forced off write-back caching."""
    bits = entry & CACHE_BITS
    if bits == 0:
        return entry | PWT | PCD
    if bits == PWT:
        return entry | PCD
    if bits == PWT | PAT:
        return (entry | PCD) & ~PAT
    return entry


def _could_not_get(xen: Xen, vcpu: Vcpu, mfn: int, entry: int) -> Activity:
    yield from xen.warn(
        vcpu,
        "getting_mfn",
        mfn=mfn,
        pfn=xen.m2p.pfn(mfn),
        entry=entry,
        owner=xen.domain.domid,
    )
    return -EBUSY
