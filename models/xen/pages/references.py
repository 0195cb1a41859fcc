"""General references: who may hold a page at all.

These functions are the bodies of single atomic steps; the activity that calls one yields the
step before it.

Every reference belongs to something: to an entry of a table, a pin, a base pointer, a
half-done table, or to an operation that is in progress. The last are listed in ``Vcpu.holds``
(twice the frame's index, one more for a typed reference), so that the counts of a machine can
be recounted at any moment: what an operation takes it holds, until it gives it back or hands
it over to one of the others.
"""

from models.machine.entries import PAGE_SHIFT
from models.machine.frames import DOMID_IO, DOMID_XEN, NO_OWNER, NOT_RAM
from models.xen.state import Vcpu, Xen
from sim.effects import Activity

_XEN_DIRECT_MAP = 0xFFFF_8300_0000_0000  # DIRECTMAP_VIRT_START of 64-bit Xen
_DOMAINS = 0x7_0000_0000
_SPECIAL = {DOMID_IO: "d[IO]", DOMID_XEN: "d[XEN]", NO_OWNER: "NULL"}


def hand_over(vcpu: Vcpu, index: int, *, general: bool = True, typed: bool = True) -> None:
    """References of the operation in progress belong to an entry, a pin, a base from here on."""
    if general:
        vcpu.holds.remove(index << 1)
    if typed:
        vcpu.holds.remove(index << 1 | 1)


def take_over(vcpu: Vcpu, index: int, *, general: bool = True, typed: bool = True) -> None:
    """References of an entry, a pin, a base belong to the operation in progress from here on."""
    if general:
        vcpu.holds.append(index << 1)
    if typed:
        vcpu.holds.append(index << 1 | 1)


def take_reference(xen: Xen, vcpu: Vcpu, index: int) -> bool:
    """Take a general reference whoever owns the page; False if the page is free or saturated.

    Source: mm.c:page_get_owner_and_reference.
    """
    counts = xen.frames.count_info
    word = counts[index]
    if (word + 2) & xen.abi.general_count <= 2:
        return False
    counts[index] = word + 1
    vcpu.holds.append(index << 1)
    return True


def get_page(xen: Xen, vcpu: Vcpu, mfn: int, owner: int) -> int:
    """Take a reference to a page of a domain; its index, or NOT_RAM if that is refused.

    A refusal over the owner is told by :func:`explain_refusal`. Source: mm.c:get_page.
    """
    frames = xen.frames
    index = frames.index(mfn)
    if index < 0 or frames.owner[index] != owner:
        return NOT_RAM
    word = frames.count_info[index] + 1
    if word + 1 & xen.abi.general_count <= 2:
        return NOT_RAM
    frames.count_info[index] = word
    vcpu.holds.append(index << 1)
    return index


def explain_refusal(xen: Xen, vcpu: Vcpu, mfn: int, wanted: int) -> None:
    """Print what get_page prints when a page is not the domain's.

    Source: mm.c:get_page.
    """
    index = xen.frames.index(mfn)
    if index < 0:
        return
    count_info = xen.frames.count_info[index]
    uncounted = (count_info + 2) & xen.abi.general_count <= 2
    owner = NO_OWNER if uncounted else xen.frames.owner[index]
    xen.console.say(
        vcpu.number,
        "wrong_owner",
        mfn=mfn,
        wanted_text=_domain_text(wanted),
        domain_va=_domain_va(wanted),
        owner_text=_owner_text(xen, owner),
        count_info=count_info,
        type_info=xen.frames.type_info[index],
    )


def get_page_or_say(xen: Xen, vcpu: Vcpu, mfn: int, owner: int) -> Activity:
    """As :func:`get_page`, with the messages of get_page_from_pagenr (get_page_from_mfn).

    Source: mm.c:get_page_from_pagenr (get_page_from_mfn).
    """
    index = get_page(xen, vcpu, mfn, owner)
    if index < 0:
        yield from say_no_page_ref(xen, vcpu, mfn, owner)
    return index


def say_no_page_ref(xen: Xen, vcpu: Vcpu, mfn: int, owner: int) -> Activity:
    """The messages of get_page_from_pagenr (get_page_from_mfn) for a page that is refused.

    Source: mm.c:get_page_from_pagenr (include/asm-x86/mm.h:get_page_from_mfn).
    """
    explain_refusal(xen, vcpu, mfn, owner)
    yield from xen.warn(vcpu, "no_page_ref", mfn=mfn)


def say_no_page(xen: Xen, vcpu: Vcpu, mfn: int, owner: int) -> Activity:
    """What a refused page of a hypercall's argument is told with, before the call's own line.

    Later versions look the page up by another function, which is silent on frames that are
    not RAM (get_page_from_gfn, 4.2 and later).

    Source: p2m.c:get_page_from_gfn.
    """
    explain_refusal(xen, vcpu, mfn, owner)
    if xen.abi.tells_refused_pages:
        yield from xen.warn(vcpu, "no_page_ref", mfn=mfn)


def put_page(xen: Xen, vcpu: Vcpu, index: int) -> None:
    """Drop a general reference; the page becomes free with the last one.

    A free page's type word is used for other things; here it reads as zero.
    Source: mm.c:put_page; page_alloc.c:free_heap_pages.
    """
    frames = xen.frames
    vcpu.holds.remove(index << 1)
    word = frames.count_info[index] - 1
    frames.count_info[index] = word
    if not word & xen.abi.general_count:
        frames.owner[index] = NO_OWNER
        frames.count_info[index] = xen.abi.free_page
        frames.type_info[index] = 0


def _owner_text(xen: Xen, owner: int) -> str:
    if xen.abi.names_vcpu:
        return _domain_text(owner)
    return f"{0 if owner == NO_OWNER else _domain_va(owner):016x}"


def _domain_text(domid: int) -> str:
    return _SPECIAL.get(domid, f"d{domid}")


def entry_va(table: int, slot: int) -> int:
    """Where Xen sees an entry of a table: its own direct map of all memory."""
    return _XEN_DIRECT_MAP + (table << PAGE_SHIFT) + 8 * slot


def _domain_va(domid: int) -> int:
    """An address that stands for a domain's structure; where it really is cannot be known."""
    return _XEN_DIRECT_MAP + _DOMAINS + (domid << PAGE_SHIFT)
