"""What a failure means: which table maps the page how, since when, and why nobody changed that."""

from experiments.record.observer import Observer
from models.linux.boot.guest import Guest
from models.linux.boot.obstacles import Obstacle, Refused, find_obstacle
from models.linux.crash import GuestCrash
from models.machine.entries import ENTRIES, PRESENT, RW

_SHOWN = 3
"""Refusals that are explained one by one."""


def explain_crash(guest: Guest, observer: Observer, crash: GuestCrash) -> str:
    """Why the kernel stopped."""
    said = _crash(guest, observer, crash)
    if crash.kind == "oops" and crash.pfn is None and guest.refused:
        said += f" It was to be mapped, but {_refusals(guest)}"
    return said


def explain_refusals(guest: Guest) -> str:
    """What a kernel that is up has lost."""
    return f"the boot went on, but {_refusals(guest)}"


def _crash(guest: Guest, observer: Observer, crash: GuestCrash) -> str:
    if crash.why:
        return f"{crash.message}: {crash.why}"
    if crash.pfn is None or crash.kind == "bug":
        return f"{crash.message}."
    obstacle = find_obstacle(guest, crash.pfn) if crash.kind == "pin" else None
    if obstacle is not None and obstacle.place == "own leaf":
        what = f"pfn {obstacle.table:x}, a live page table,"
        if obstacle.table == crash.pfn:
            what = "itself"
        return (
            f"{crash.message}: pfn {crash.pfn:x} was to become a page table, but it maps {what} "
            "writable: when that leaf was written, nobody looked whether its page was a table. "
            "Xen refuses a table through which another could be written."
        )
    if crash.kind == "pin" and crash.pfn in guest.tables.pinned:
        return (
            f"{crash.message}: pfn {crash.pfn:x} is a page table and pinned already. Two vCPUs "
            "have taken the same page, and Xen pins none twice."
        )
    region = crash.pfn >> 9
    table = guest.hazards.leaf_tables.get(region)
    if table is None:
        return f"{crash.message}: no table maps the page."
    leaf = guest.frames.words(table)[crash.pfn & (ENTRIES - 1)]
    table_pfn = guest.xen.m2p.pfn(table)
    filled_ns = observer.filled_at.get(region)
    when = (
        "by the domain builder"
        if filled_ns is None
        else f"{filled_ns / 1e6:.3f} ms after the start"
    )
    mapped = "writable" if leaf & RW else "read-only"
    if not leaf & PRESENT:
        mapped = "not at all"
    where = (
        f"the table pfn {table_pfn:x} (mfn {table:x}), which maps pages {region << 9:x} to "
        f"{(region << 9) + ENTRIES - 1:x}, was filled {when} and maps pfn {crash.pfn:x} {mapped}"
    )
    if crash.kind == "oops":
        return (
            f"{crash.message}: {where}. The page is no page table, so the hypervisor emulates "
            "nothing and the guest gets the fault."
        )
    reach = guest.lookup_address(guest.va(crash.pfn))
    hidden = (
        "; that table is not hooked yet, so the kernel's walk found no way to it and left the "
        "entry as it was"
        if reach is None
        else ""
    )
    return (
        f"{crash.message}: pfn {crash.pfn:x} was to become a page table, but {where}{hidden}. "
        "Xen refuses a table that somebody can still write to."
    )


def _refusals(guest: Guest) -> str:
    """What was refused inside multicalls, why, and what is missing now."""
    refused = guest.refused
    said = "; ".join(_refusal(one) for one in refused[:_SHOWN])
    if len(refused) > _SHOWN:
        said += f"; and {len(refused) - _SHOWN} more"
    regions = {region for one in refused for region in one.unmapped}
    unmapped = sorted(
        region for region in regions if guest.lookup_address(guest.va(region << 9)) is None
    )
    ending = "Of a refusal inside a multicall the kernel only warns"
    if unmapped:
        pages = f"pages {unmapped[0] << 9:x} to {(unmapped[-1] << 9) + ENTRIES - 1:x}"
        if len(unmapped) <= unmapped[-1] - unmapped[0]:
            pages = f"{len(unmapped) * ENTRIES} pages from {unmapped[0] << 9:x} on"
        ending += f": {pages} stay without a map, and the first touch of one is a fault"
    return f"{said}. {ending}."


def _refusal(refused: Refused) -> str:
    if refused.obstacle is None or refused.page is None:
        return f"{refused.what}: the entry stays as it was"
    return f"{refused.what}: {_why(refused.obstacle, refused.page)}"


def _why(obstacle: Obstacle, page: int) -> str:
    """Through what a table could still be written when ``page`` was refused."""
    table = "itself" if obstacle.table == obstacle.mapped_by else f"pfn {obstacle.table:x}"
    below = "" if obstacle.mapped_by == page else f" below pfn {page:x}"
    match obstacle.place:
        case "temporary mapping":
            return (
                f"pfn {obstacle.table:x} was still mapped writable at a temporary address when "
                "it was to become a page table"
            )
        case "own leaf":
            also = ", its own root," if obstacle.table == page != obstacle.mapped_by else ""
            return (
                f"the table pfn {obstacle.mapped_by:x}{below} maps {table}{also} writable, and "
                "nobody had looked for that page among the leaves"
            )
        case "other leaf":
            hidden = "" if obstacle.reachable else ", where no walk finds the leaf"
            return (
                f"the table pfn {obstacle.mapped_by:x} still maps pfn {obstacle.table:x} "
                f"writable{hidden}"
            )
