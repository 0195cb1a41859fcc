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
from models.xen.pages.page_type import get_page_type, put_page_and_type, put_page_type
from models.xen.pages.references import hand_over, put_page, take_over, take_reference
from models.xen.state import Vcpu, Xen
from models.xen.versions.errno import EACCES, EBUSY, EINVAL, EPERM
from models.xen.words import XEN_HEAP
from sim.effects import STEP, Activity

CACHE_BITS = PAT | PCD | PWT


def get_page_from_l1e(xen: Xen, vcpu: Vcpu, entry: int, owner: int, pg_owner: int) -> Activity:
    """Take the references of an entry: the entry as it will be stored, or a negative errno.

    ``owner``: the domain of the table; ``pg_owner``: the one whose pages may be mapped.

    Source: mm.c:get_page_from_l1e.
    """
    if not entry & PRESENT:
        return entry
    stored: int = yield from _take_references(xen, vcpu, entry, owner, pg_owner)
    return -EINVAL if stored < 0 and xen.abi.collapses_entry_errors else stored


def _take_references(xen: Xen, vcpu: Vcpu, entry: int, owner: int, pg_owner: int) -> Activity:
    """The checks and references of an entry that is present.

    Source: mm.c:get_page_from_l1e.
    """
    abi, frames = xen.abi, xen.frames
    bad_flags = xen.bad_flags[1] if owner == xen.domid else xen.bad_l1_flags(owner)
    if entry & bad_flags:
        yield from xen.warn(vcpu, "bad_flags_l1", flags=flags24(entry & bad_flags))
        return -EINVAL
    mfn = mfn_of(entry)
    index = frames.index(mfn)
    if index < 0 or frames.owner[index] == DOMID_IO:
        return (yield from _map_io(xen, vcpu, entry, owner, pg_owner))

    yield STEP
    held = take_reference(xen, vcpu, index)
    real_owner = frames.owner[index] if held else NO_OWNER
    if real_owner != pg_owner:
        if "real_owner" in abi.text:
            yield from xen.warn(
                vcpu,
                "real_owner",
                owner=owner,
                pg_owner=pg_owner,
                real_owner=-1 if real_owner == NO_OWNER else real_owner,
            )
        return (yield from _could_not_get(xen, vcpu, entry, owner, pg_owner, index, held=held))
    if entry & RW:
        rc: int = yield from get_page_type(xen, vcpu, mfn, index, abi.writable)
        if rc:
            if "no_writable_type" in abi.text:
                yield from xen.warn(vcpu, "no_writable_type")
            return (yield from _could_not_get(xen, vcpu, entry, owner, pg_owner, index))
    if entry & CACHE_BITS or frames.count_info[index] & abi.cache_attributes:
        return (yield from _set_caching(xen, vcpu, entry, index))
    return entry


def _map_io(xen: Xen, vcpu: Vcpu, entry: int, owner: int, pg_owner: int) -> Activity:
    """An entry of a frame that is not RAM: nobody counts it, but it needs the right to.

    Source: mm.c:get_page_from_l1e.
    """
    mfn = mfn_of(entry)
    if pg_owner == DOMID_IO:
        pg_owner = xen.domid
    if not _may_map_io(xen, pg_owner, mfn):
        if mfn == INVALID_MFN:
            return -EINVAL
        yield from xen.warn(vcpu, "io_space", domid=pg_owner, mfn=mfn)
        return -EPERM
    if "io_space_to_other" in xen.abi.text and not _may_map_io(xen, owner, mfn):
        yield from xen.warn(
            vcpu, "io_space_to_other", domid=xen.domid, mfn=mfn, pg_owner=pg_owner, owner=owner
        )
        return -EPERM
    spared = xen.abi.read_only_io_spares_dom0 and xen.privileged
    if entry & RW and mfn in xen.domains[owner].io_read_only and not spared:
        yield from xen.warn(vcpu, "read_only_io", domid=owner, mfn=mfn)
        entry &= ~RW
    return uncached(entry) if xen.abi.mmio_forces_uncached else entry


def _may_map_io(xen: Xen, domid: int, mfn: int) -> bool:
    domain = xen.domains.get(domid)
    return domain is not None and domain.may_map_io(mfn)


def _set_caching(xen: Xen, vcpu: Vcpu, entry: int, index: int) -> Activity:
    """Look after an entry's caching: refused for Xen's own pages, else remembered somewhere.

    Source: mm.c:get_page_from_l1e.
    """
    abi, frames = xen.abi, xen.frames
    count_info = frames.count_info[index]
    # PAT, PCD, PWT as a number: pte_flags_to_cacheattr.
    wanted = (entry >> 5 & 4) | (entry >> 3 & 3)
    base = abi.cache_attributes & -abi.cache_attributes
    now = (count_info & abi.cache_attributes) // base if base else 0
    if wanted == now:
        return entry
    if count_info & XEN_HEAP:
        if entry & RW:
            yield from put_page_and_type(xen, vcpu, mfn_of(entry), index)
        else:
            yield STEP
            put_page(xen, vcpu, index)
        yield from xen.warn(vcpu, "xen_heap_caching")
        return -EACCES
    if base:
        yield STEP
        kept = frames.count_info[index] & ~abi.cache_attributes
        frames.count_info[index] = kept | wanted * base
    elif entry & RW and entry & CACHE_BITS == PAT:
        # The CPU has no self-snoop: remember that somebody may write past the cache.
        yield STEP
        frames.type_info[index] |= abi.non_coherent
    return entry


def put_page_from_l1e(xen: Xen, vcpu: Vcpu, entry: int) -> Activity:
    """Give back the references of an entry, which the operation has taken over.

    Source: mm.c:put_page_from_l1e.
    """
    index = _counted(xen, entry)
    if index < 0:
        return
    if entry & RW:
        yield from put_page_type(xen, vcpu, mfn_of(entry), index)
    yield STEP
    put_page(xen, vcpu, index)


def hand_over_l1e(xen: Xen, vcpu: Vcpu, entry: int) -> None:
    """The references of an entry are the table's from here on."""
    index = _counted(xen, entry)
    if index >= 0:
        hand_over(vcpu, index, typed=bool(entry & RW))


def take_over_l1e(xen: Xen, vcpu: Vcpu, entry: int) -> None:
    """The references of an entry are the operation's from here on."""
    index = _counted(xen, entry)
    if index >= 0:
        take_over(vcpu, index, typed=bool(entry & RW))


def _counted(xen: Xen, entry: int) -> int:
    """The index of the frame that an entry holds references to; -1 if there is none.

    Source: mm.c:is_iomem_page.
    """
    if not entry & PRESENT:
        return -1
    index = xen.frames.index(mfn_of(entry))
    return index if index >= 0 and xen.frames.owner[index] != DOMID_IO else -1


def adjust_l1e(entry: int) -> int:
    """An entry as Xen stores it for a 64-bit guest, which runs in ring 3.

    Source: mm.c:adjust_guest_l1e (pv/mm.h).
    """
    if entry & PRESENT:
        if not entry & USER:
            entry |= GUEST_KERNEL | USER
        if not entry & GUEST_KERNEL:
            entry |= GLOBAL | USER
    return entry


def warn_global_kernel(xen: Xen, vcpu: Vcpu, entry: int) -> Activity:
    """A kernel's own page must not be global: a warning, no refusal.

    Printing raises a softirq. Every other line is printed where the work ends anyway; this one
    makes a validation above it stop at its next look for a reason to.

    Source: mm.c:adjust_guest_l1e (pv/mm.h).
    """
    if entry & PRESENT and entry & (GUEST_KERNEL | GLOBAL) == GUEST_KERNEL | GLOBAL:
        yield from xen.warn(vcpu, "global_kernel", mfn=mfn_of(entry))
        vcpu.softirq = xen.abi.printing_preempts


def uncached(entry: int) -> int:
    """An entry of a frame that is not RAM, forced off write-back caching.

    Source: mm.c:get_page_from_l1e.
    """
    bits = entry & CACHE_BITS
    if bits == 0:
        return entry | PWT | PCD
    if bits == PWT:
        return entry | PCD
    if bits == PWT | PAT:
        return (entry | PCD) & ~PAT
    return entry


def _could_not_get(
    xen: Xen,
    vcpu: Vcpu,
    entry: int,
    owner: int,
    pg_owner: int,
    index: int,
    *,
    held: bool = True,
) -> Activity:
    """The end of a refusal: its last line, and the reference given back.

    Source: mm.c:get_page_from_l1e, could_not_pin.
    """
    mfn = mfn_of(entry)
    yield from xen.warn(
        vcpu,
        "getting_mfn",
        mfn=mfn,
        pfn=xen.m2p.pfn(mfn),
        entry=entry,
        owner=owner,
        pg_owner=pg_owner,
    )
    if held:
        yield STEP
        put_page(xen, vcpu, index)
    return -EBUSY
