"""The ``[guest]`` section of a scenario: its record, the memory map, and what must hold of it."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Annotated, Literal

import msgspec

from experiments.errors import InputError
from experiments.scenario.quantities import Bytes, PageCount, format_size
from models.linux.start_state.geometry import Geometry, Range

PAGE_BYTES = 4096
_PAGES = (1 << 52) // PAGE_BYTES
MIB = 1 << 20

# Linux's direct map of x86-64 spans 2^46 bytes (Documentation/arch/x86/x86_64/mm.rst).
DIRECT_MAP_BYTES = 1 << 46

# The kernel's own top-level tables and what lies between them: the L4 and what hangs on it.
_STATIC_BYTES = 8 * PAGE_BYTES
# They lie in the middle of the image where no scenario says otherwise, the BRK area at its end.
_SMALLEST_IMAGE = 64 * PAGE_BYTES

ByteRange = tuple[Bytes, Bytes]
Kind = Literal["dom0", "domU"]
Positive = Annotated[int, msgspec.Meta(ge=1)]


class BrkTables(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``brk_tables``: the pages of the kernel's BRK area that serve as early page tables."""

    start: Bytes
    """The address of the first."""
    pages: Positive
    """How many there are."""


class P2mExtent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of ``p2m``: consecutive frames behind consecutive pages."""

    pfn: PageCount
    """The first page."""
    mfn: PageCount
    """The frame behind it."""
    pages: PageCount
    """How many."""


class AfterMapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of ``after_mapping``: an allocation that is stored to at once."""

    alloc: Annotated[str, msgspec.Meta(min_length=1)]
    """The name of the allocation, as "NODE_DATA"."""
    size: Bytes
    """How much is allocated, from the top, and stored to."""


class Guest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The guest as written in a scenario file."""

    kind: Kind = "domU"
    """What the guest is to Xen."""
    vcpus: Positive = 1
    """How many virtual CPUs it has."""
    strategy: str = "reserve-hook"
    """Used by ``run`` unless ``--strategy`` is given: a name, or ``path/to/file.py:name``."""
    ram: Bytes | None = None
    """RAM from 0 without a hole, the slack not counted; or else ``e820``."""
    e820: tuple[ByteRange, ...] | None = None
    """Usable RAM, the slack included; or else ``ram``."""
    reserved: tuple[ByteRange, ...] | None = None
    """All that memblock keeps from being allocated, RAM or not. The builder's L1s, the p2m list and
    RAM without frames are added. If absent: the image, the builder's tables and the p2m list."""
    kernel_start: Bytes = Bytes(16 * MIB)
    """Where the image begins."""
    kernel_end: Bytes = Bytes(44 * MIB)
    """Where the image and the initrd end."""
    slack: Bytes = Bytes(0)
    """RAM added under the top, reserved and without frames ("XEN EXTRA")."""
    builder_l1_tables: Positive | None = None
    """L1 tables that the domain builder made, from page 0 upwards. If absent: derived."""
    builder_l1_start: Bytes | None = None
    """Where the first of them lies. If absent: derived."""
    static_tables: Bytes | None = None
    """Where the kernel's own top-level tables lie. If absent: derived."""
    brk_tables: BrkTables | None = None
    """Pages for the first tables of 6.1; earlier kernels take a number of their own. If absent: at
    the end of the image."""
    absent_in_builder_map: tuple[ByteRange, ...] = ()
    """Pages below the last of the builder's L1s without an entry, but with a frame if they are RAM.
    Where dom0 of 6.1 names none: the holes of its memory map."""
    without_mfn: tuple[ByteRange, ...] = ()
    """RAM without a machine frame."""
    p2m_pages: tuple[ByteRange, ...] | None = None
    """The pages of the guest's p2m list. If absent: behind the image before 6.1, then in the first
    RAM behind the builder's map."""
    identity: tuple[ByteRange, ...] = ()
    """What dom0 maps with mfn = pfn. Where dom0 names none: the ISA hole."""
    typed_writable: tuple[ByteRange, ...] = ()
    """RAM that the toolstack had mapped writable before the boot."""
    p2m: tuple[P2mExtent, ...] | None = None
    """Which frames stand behind which pages. If absent: page + 4 GiB, or above all that is mapped
    1:1."""
    early_mapping_after: bool = True
    """Does anything map early between the direct map and memblock's next user?"""
    after_mapping: tuple[AfterMapping, ...] = ()
    """Allocations made next, from the top, and stored to."""

    def range_lists(self) -> Iterator[tuple[str, Sequence[ByteRange]]]:
        """Every key that holds a list of ranges, with that list."""
        yield "e820", self.e820 or ()
        yield "reserved", self.reserved or ()
        yield "absent_in_builder_map", self.absent_in_builder_map
        yield "without_mfn", self.without_mfn
        yield "p2m_pages", self.p2m_pages or ()
        yield "identity", self.identity
        yield "typed_writable", self.typed_writable

    def addresses(self) -> Iterator[tuple[str, int]]:
        """Every other key that holds an address or a size in whole pages, with its value."""
        yield "ram", self.ram or 0
        yield "kernel_start", self.kernel_start
        yield "kernel_end", self.kernel_end
        yield "slack", self.slack
        yield "builder_l1_start", self.builder_l1_start or 0
        yield "static_tables", self.static_tables or 0
        yield "brk_tables.start", self.brk_tables.start if self.brk_tables else 0


def geometry(guest: Guest) -> Geometry:
    """The memory map of a guest that :func:`check_guest` accepts."""
    complete = msgspec.structs.replace(guest, e820=_initial_ram(guest))
    return msgspec.convert(msgspec.to_builtins(complete, enc_hook=int), Geometry)


def check_guest(guest: Guest) -> None:
    """Raise InputError, which names the key, if no machine could be like this."""
    if guest.ram is None and guest.e820 is None:
        raise InputError('guest has no RAM; give ram = "2GiB" or e820 = [["0x0", "0x9f000"], ...]')
    if guest.ram is not None and guest.e820 is not None:
        raise InputError(
            "guest has both ram and e820; give ram for RAM without a hole, or else e820"
        )
    _check_form(guest)
    _check_initial_ram(guest)
    _check_kernel(guest)
    _check_ranges_against_ram(guest)
    _check_builder_map(guest)
    _check_p2m(guest)
    for i, allocation in enumerate(guest.after_mapping):
        if not allocation.size:
            raise InputError(f"guest.after_mapping[{i}].size is 0; an allocation has a size")


def end_of_ram(guest: Guest) -> int:
    """Where the RAM ends that the guest starts with, in bytes; 0 if it has none."""
    return max((end for _, end in _initial_ram(guest)), default=0)


def _initial_ram(guest: Guest) -> Sequence[Range]:
    return ((0, guest.ram + guest.slack),) if guest.ram is not None else guest.e820 or ()


def _ram_below_slack(guest: Guest) -> Sequence[Range]:
    *below, (start, end) = _initial_ram(guest)
    return (*below, (start, end - guest.slack)) if end - guest.slack > start else below


def _check_form(guest: Guest) -> None:
    """No range is empty or reversed, and what is made of pages starts and ends at one."""
    for key, address in guest.addresses():
        if address % PAGE_BYTES:
            raise InputError(f"guest.{key} = {address:#x} is not a multiple of a 4 KiB page")
    for key, ranges in guest.range_lists():
        for start, end in ranges:
            if start >= end:
                raise InputError(
                    f"guest.{key}: {_shown((start, end))} is empty or reversed; "
                    'write ["start", "end"], the end not included'
                )
            if start % PAGE_BYTES or end % PAGE_BYTES:
                raise InputError(
                    f"guest.{key}: {_shown((start, end))} is not made of 4 KiB pages; "
                    "write multiples of 0x1000"
                )


def _check_initial_ram(guest: Guest) -> None:
    ram = _initial_ram(guest)
    key = "e820" if guest.e820 is not None else "ram"
    if not ram or ram == ((0, 0),):
        raise InputError(f"guest.{key} is empty; a guest has RAM")
    for earlier, later in pairwise(ram):
        if later[0] < earlier[0]:
            raise InputError(
                f"guest.e820 is not sorted: {_shown(later)} stands behind {_shown(earlier)}"
            )
        if later[0] < earlier[1]:
            raise InputError(f"guest.e820: {_shown(earlier)} and {_shown(later)} overlap")
    if ram[-1][1] > DIRECT_MAP_BYTES:
        raise InputError(
            f"guest.{key} ends at {ram[-1][1]:#x}; Linux's direct map holds "
            f"{format_size(DIRECT_MAP_BYTES)} at most"
        )
    last = ram[-1][1] - ram[-1][0]
    if guest.slack > last or (guest.slack == last and len(ram) == 1):
        raise InputError(
            f"guest.slack = {format_size(guest.slack)} leaves nothing of the last range of RAM, "
            f"{_shown(ram[-1])}"
        )


def _check_kernel(guest: Guest) -> None:
    if guest.kernel_end <= guest.kernel_start:
        raise InputError(
            f"guest.kernel_end = {guest.kernel_end:#x} is not above guest.kernel_start = "
            f"{guest.kernel_start:#x}"
        )
    if guest.kernel_end - guest.kernel_start < _SMALLEST_IMAGE:
        raise InputError(
            f"guest.kernel_end = {guest.kernel_end:#x} makes an image of "
            f"{format_size(guest.kernel_end - guest.kernel_start)}; the kernel's own page tables "
            f"and its BRK area need {format_size(_SMALLEST_IMAGE)}"
        )
    ram = _ram_below_slack(guest)
    around = next((end for start, end in ram if start <= guest.kernel_start < end), None)
    if around is None:
        raise InputError(
            f"guest.kernel_start = {guest.kernel_start:#x} is not in RAM; the guest needs RAM for "
            f"its kernel, {_shown((guest.kernel_start, guest.kernel_end))}"
        )
    needed = _needed_by_kernel(guest)
    if around < needed:
        raise InputError(
            f"guest is too small for its kernel: RAM ends at {format_size(around)}, but the image "
            f"(to {format_size(guest.kernel_end)}) and the page tables of the domain builder "
            f"need {format_size(needed)}"
        )


def _needed_by_kernel(guest: Guest) -> int:
    """Where the domain builder's map ends.

    It holds the image, the builder's tables (one L1 for 2 MiB, an L2, L3 and L4) and at least
    512 KiB to spare, rounded up to 4 MiB. With older kernels it holds the p2m list as well: whether
    there is room for that is found out when the guest is built. Source: Xen 4.17
    dom0_build.c:dom0_construct, xg_dom_x86.c:alloc_pgtables_pv.
    """
    spare = 512 << 10
    if guest.builder_l1_tables is not None:
        return guest.kernel_end + (guest.builder_l1_tables + 3) * PAGE_BYTES + spare
    content = guest.kernel_end + spare
    end = _rounded_up(content, 4 * MIB)
    return _rounded_up(content + (end // (2 * MIB) + 3) * PAGE_BYTES, 4 * MIB)


def _check_builder_map(guest: Guest) -> None:
    """What the kernel uses before it has a direct map lies in RAM, and in the builder's map."""
    places = {}
    if guest.brk_tables is not None:
        start = guest.brk_tables.start
        places["brk_tables"] = (start, start + guest.brk_tables.pages * PAGE_BYTES)
    if guest.builder_l1_start is not None:
        pages = guest.builder_l1_tables or 1
        start = guest.builder_l1_start
        places["builder_l1_start"] = (start, start + pages * PAGE_BYTES)
    if guest.static_tables is not None:
        places["static_tables"] = (guest.static_tables, guest.static_tables + _STATIC_BYTES)
    for key, place in places.items():
        gap = _first_gap([place], _ram_below_slack(guest))
        if gap is not None:
            raise InputError(f"guest.{key}: {_shown(place)} lies outside RAM at {_shown(gap)}")
    if guest.builder_l1_tables is None:
        return
    mapped = guest.builder_l1_tables * 2 * MIB
    places["kernel_end"] = (guest.kernel_start, guest.kernel_end)
    for key, place in places.items():
        if place[1] > mapped:
            raise InputError(
                f"guest.{key}: {_shown(place)} does not lie in what the domain builder's "
                f"{guest.builder_l1_tables} L1 tables map, {_shown((0, mapped))}; "
                "raise builder_l1_tables"
            )


def _check_ranges_against_ram(guest: Guest) -> None:
    ram = _initial_ram(guest)
    inside = {
        "without_mfn": guest.without_mfn,
        "p2m_pages": guest.p2m_pages or (),
        "typed_writable": guest.typed_writable,
    }
    for key, ranges in inside.items():
        gap = _first_gap(ranges, ram)
        if gap is not None:
            raise InputError(f"guest.{key} lies outside RAM at {_shown(gap)}")
    for single in guest.identity:
        both = _first_overlap(single, ram)
        if both is not None:
            raise InputError(
                f"guest.identity: {_shown(both)} is RAM; only what is no RAM is mapped 1:1"
            )


def _check_p2m(guest: Guest) -> None:
    """Every page of RAM has a frame, and no frame is given twice."""
    if guest.p2m is None:
        return
    if not all(extent.pages for extent in guest.p2m):
        raise InputError("guest.p2m holds an extent of 0 pages")
    for x in guest.p2m:
        if max(x.pfn, x.mfn) + x.pages > _PAGES:
            raise InputError(
                f"guest.p2m: {x.pages:#x} pages from pfn {x.pfn:#x} and mfn {x.mfn:#x} on reach "
                f"beyond x86's 52 bits of address"
            )
    pages = sorted((x.pfn * PAGE_BYTES, (x.pfn + x.pages) * PAGE_BYTES) for x in guest.p2m)
    frames = sorted((x.mfn * PAGE_BYTES, (x.mfn + x.pages) * PAGE_BYTES) for x in guest.p2m)
    for what, runs in (("pfn", pages), ("mfn", frames)):
        for earlier, later in pairwise(runs):
            if later[0] < earlier[1]:
                raise InputError(f"guest.p2m has {what} {later[0] // PAGE_BYTES:#x} twice")
    # An extent may span identity ranges, which take precedence over it.
    moved = [
        (x.mfn * PAGE_BYTES, (x.mfn + x.pages) * PAGE_BYTES) for x in guest.p2m if x.mfn != x.pfn
    ]
    for single in guest.identity:
        both = _first_overlap(single, moved)
        if both is not None:
            raise InputError(
                f"guest.p2m has mfn {both[0] // PAGE_BYTES:#x}, which guest.identity maps 1:1"
            )
    for single in guest.without_mfn:
        both = _first_overlap(single, pages)
        if both is not None:
            raise InputError(
                f"guest.p2m has a frame for {_shown(both)}, which guest.without_mfn leaves without"
            )
    gap = _first_gap(_ram_below_slack(guest), [*pages, *guest.without_mfn])
    if gap is not None:
        raise InputError(
            f"guest.p2m has no frame for {_shown(gap)}; add an extent, or list it in "
            "guest.without_mfn"
        )


def _first_gap(ranges: Iterable[Range], cover: Iterable[Range]) -> Range | None:
    """The first part of ``ranges`` that ``cover`` leaves out."""
    cover = sorted(cover)
    for start, end in ranges:
        reached = start
        for covered_start, covered_end in cover:
            if covered_start > reached:
                break
            reached = max(reached, covered_end)
        if reached < end:
            behind = (s for s, _ in cover if s > reached)
            return reached, min(next(behind, end), end)
    return None


def _first_overlap(single: Range, ranges: Iterable[Range]) -> Range | None:
    """The first part of ``single`` that one of ``ranges`` holds too."""
    for start, end in ranges:
        if start < single[1] and single[0] < end:
            return max(start, single[0]), min(end, single[1])
    return None


def _rounded_up(size: int, unit: int) -> int:
    return -(-size // unit) * unit


def _shown(bounds: Range) -> str:
    return f"[{bounds[0]:#x}, {bounds[1]:#x})"
