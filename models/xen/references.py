"""General references: who may hold a page at all.

These functions are the bodies of single atomic steps; the activity that calls one yields the
step before it.
"""

from models.machine.entries import PAGE_SHIFT
from models.machine.frames import DOMID_IO, DOMID_XEN, NO_OWNER, NOT_RAM
from models.xen.abi import ALLOCATED
from models.xen.state import Vcpu, Xen
from sim.effects import Activity

_XEN_DIRECT_MAP = 0xFFFF_8300_0000_0000  # DIRECTMAP_VIRT_START of 64-bit Xen
_DOMAINS = 0x7_0000_0000


def take_reference(xen: Xen, index: int) -> bool:
    """Take a general reference whoever owns the page; False if the page is free or saturated.

    Source: mm.c:page_get_owner_and_reference.
    """
    counts = xen.frames.count_info
    word = counts[index]
    if (word + 2) & xen.abi.general_count <= 2:
        return False
    counts[index] = word + 1
    return True


def get_page(xen: Xen, mfn: int) -> int:
    """Take a reference to a page of the domain; its index, or NOT_RAM if that is refused.

    A refusal over the owner is told by :func:`explain_refusal`. Source: mm.c:get_page.
    """
    frames = xen.frames
    index = frames.index(mfn)
    if index < 0 or frames.owner[index] != xen.domain.domid:
        return NOT_RAM
    word = frames.count_info[index] + 1
    if word + 1 & xen.abi.general_count <= 2:
        return NOT_RAM
    frames.count_info[index] = word
    return index


def explain_refusal(xen: Xen, vcpu: Vcpu, mfn: int) -> None:
    """Print what get_page prints when a page is not the domain's."""
    index = xen.frames.index(mfn)
    if index < 0:
        return
    owner = xen.frames.owner[index]
    count_info = xen.frames.count_info[index]
    xen.console.inform(
        vcpu.number,
        "wrong_owner",
        mfn=mfn,
        domid=xen.domain.domid,
        domain_va=_domain_va(xen.domain.domid),
        owner_text=_owner_text(xen, owner),
        count_info=count_info,
        type_info=xen.frames.type_info[index],
    )


def get_page_or_say(xen: Xen, vcpu: Vcpu, mfn: int) -> Activity:
    """As :func:`get_page`, with the messages of get_page_from_pagenr (get_page_from_mfn)."""
    index = get_page(xen, mfn)
    if index < 0:
        yield from say_no_page_ref(xen, vcpu, mfn)
    return index


def say_no_page_ref(xen: Xen, vcpu: Vcpu, mfn: int) -> Activity:
    """The messages of get_page_from_pagenr (get_page_from_mfn) for a page that is refused."""
    explain_refusal(xen, vcpu, mfn)
    yield from xen.warn(vcpu, "no_page_ref", mfn=mfn)


def say_no_page(xen: Xen, vcpu: Vcpu, mfn: int) -> Activity:
    """What a refused page of a hypercall's argument is told with, before the call's own line.

    Later versions look the page up by another function, which is silent on frames that are
    not RAM (get_page_from_gfn, 4.2 and later).
    """
    explain_refusal(xen, vcpu, mfn)
    if xen.abi.tells_refused_pages:
        yield from xen.warn(vcpu, "no_page_ref", mfn=mfn)


def put_page(xen: Xen, index: int) -> None:
    """Drop a general reference; the page becomes free with the last one.

    Source: mm.c:put_page.
    """
    counts = xen.frames.count_info
    word = counts[index] - 1
    counts[index] = word
    if not word & xen.abi.general_count:
        xen.frames.owner[index] = NO_OWNER
        counts[index] = word & ~ALLOCATED


def _owner_text(xen: Xen, owner: int) -> str:
    if not xen.abi.names_vcpu:
        return f"{0 if owner == NO_OWNER else _domain_va(owner):016x}"
    special = {DOMID_IO: "d[IO]", DOMID_XEN: "d[XEN]", NO_OWNER: "NULL"}
    return special.get(owner, f"d{owner}")


def entry_va(table: int, slot: int) -> int:
    """Where Xen sees an entry of a table: its own direct map of all memory."""
    return _XEN_DIRECT_MAP + (table << PAGE_SHIFT) + 8 * slot


def _domain_va(domid: int) -> int:
    """An address that stands for a domain's structure; where it really is cannot be known."""
    return _XEN_DIRECT_MAP + _DOMAINS + (domid << PAGE_SHIFT)
