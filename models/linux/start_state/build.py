"""The guest as it is when its kernel begins to build the direct map.

The domain builder maps the first megabytes; the kernel grafts that map into its own top-level
tables and has them pinned. Here the tables are written as they stood then, and pinned through
the hypervisor itself, so that every count in the start state is one that Xen took.
Source: Xen tools/libxc/xc_dom_x86.c (libxenguest), pv/dom0_build.c; Linux
arch/x86/xen/mmu.c:xen_setup_kernel_pagetable.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from models.linux.release import Kernel
from models.linux.start_state.e820 import E820
from models.linux.start_state.geometry import Extent, Geometry, Range
from models.linux.start_state.memblock import Memblock
from models.linux.start_state.p2m import TABLE_FLAGS, P2m, large_leaves
from models.machine.entries import ENTRIES, NX, PAGE_SHIFT, RW
from models.machine.frames import NOT_RAM, FrameTable
from models.xen.gate import Xen, hypercall, new_xen
from models.xen.hypercalls import MmuextOp
from models.xen.versions.abi import Abi
from models.xen.versions.paging import Paging
from models.xen.words import (
    FRESH_COUNT_INFO,
    NEW_BASEPTR,
    PIN_L1_TABLE,
    PIN_L4_TABLE,
    VALIDATED,
)
from sim.instant import drain

_EXECUTABLE = (1 << 64) - 1 & ~NX  # the builder does not use NX
_ROUND = 1024  # 4 MiB: the builder's map ends on such a boundary ...
_PAD = 128  # ... with at least 512 KiB to spare
_ISA_HOLE = (0xA0, 0x100)
_FIRST_FRAME = 0x100000
"""Where the guest's frames begin if the scenario does not say: the host's memory above 4 GiB.

Or above whatever dom0 maps 1:1, so that no frame of its own is among that.
"""

# Pages of the kernel image, counted from where its top-level tables lie.
_INIT_L4, _IDENT_L3, _IDENT_L2, _KERNEL_L3, _KERNEL_L2, _FIXMAP_L2, _BM_PTE, _IDENT_L1S = (
    0, 2, 3, 4, 5, 6, 7, 8,
)  # fmt: skip

_KERNEL_SLOTS = ENTRIES // 2
_KERNEL_L3_SLOT, _FIXMAP_L3_SLOT, _BM_L2_SLOT = 510, 511, 505
EARLY_SLOT_BASE = 0xFFFF_FFFF_C000_0000 + (_BM_L2_SLOT << 21)
"""Virtual address of the first early_ioremap slot."""


class CannotBuild(ValueError):
    """The memory map leaves no room for the guest's own start state."""


@dataclass(frozen=True)
class Layout:
    """Where the pages of the start state are (pfns)."""

    builder_map_pages: int
    """The builder maps [0, this), or gives it frames at least."""
    first_l1: int
    static_tables: int
    p2m_pages: tuple[Range, ...]
    brk: Range
    reserved: tuple[Range, ...]
    image_end: int
    """End of image and initrd: what the old kernels took for the end of mapped memory."""


@dataclass
class StartState:
    """A guest, ready to build its direct map."""

    geometry: Geometry
    kernel: Kernel
    e820: E820
    layout: Layout
    memblock: Memblock
    p2m: P2m
    frames: FrameTable
    xen: Xen
    init_l4: int
    """mfn of the kernel's L4."""
    ident_l3: int
    ident_l2: int
    bm_pte: int
    """pfn of the L1 of the early_ioremap slots."""
    builder_l1s: list[int]
    """pfns of the L1s that map [0, ...) already, by region."""
    static_pfns: list[int]
    """pfns of the tables above and beside them."""


def build(
    geometry: Geometry,
    kernel: Kernel,
    abi: Abi,
    *,
    debug: bool,
    pcpus: int,
    vcpus: int = 1,
    paging: Paging = Paging.DIRECT,
) -> StartState:
    """Make the machine, the hypervisor and the guest's start state.

    The guest boots on its first vCPU; the others are not up yet.
    """
    e820 = E820(geometry.e820)
    native = paging is Paging.NESTED
    if native:
        layout = plan_native_layout(geometry, e820)
    else:
        layout = plan_layout(geometry, kernel, e820)
        _check_room_for_p2m(geometry, kernel, e820, layout)
    zapped = _zapped(geometry, kernel, e820, layout)
    identity = _identity(geometry, kernel, e820, layout, zapped)
    extents = _frame_extents(geometry, e820, layout, identity)
    if native:
        # The guest's own numbers: nobody but the second table knows the machine's.
        extents = [Extent(extent.pfn, extent.pfn, extent.pages) for extent in extents]
    p2m = P2m(extents, identity)
    domid = 0 if geometry.kind == "dom0" else 1
    frames = FrameTable(
        [(extent.mfn, extent.pages, extent.pfn) for extent in extents],
        fresh=FRESH_COUNT_INFO,
        owner=domid,
    )
    m2p = [(extent.mfn, extent.pages, extent.pfn) for extent in extents]
    xen = new_xen(
        abi, frames, m2p, domid=domid, debug=debug, pcpus=pcpus, vcpus=vcpus, paging=paging
    )
    xen.dirty_pcpus = {xen.vcpus[0].pcpu}
    if native:
        state = _write_native_tables(geometry, kernel, e820, layout, p2m, frames, xen)
    else:
        state = _write_tables(geometry, kernel, e820, layout, p2m, frames, xen, zapped)
    for first, last in geometry.typed_writable:
        for pfn in range(first >> PAGE_SHIFT, last >> PAGE_SHIFT):
            index = frames.index(p2m.mfn(pfn) or NOT_RAM)
            if index != NOT_RAM and not frames.type_info[index]:
                frames.type_info[index] = abi.writable | VALIDATED
    xen.counters.clear()
    return state


def plan_layout(geometry: Geometry, kernel: Kernel, e820: E820) -> Layout:
    """Where everything goes, from what the scenario says and the rules of the time."""
    image_end = -(-geometry.kernel_end >> PAGE_SHIFT)
    p2m_list = -(-_frames_at_start(geometry, e820) * 8 >> PAGE_SHIFT)
    end = image_end + (p2m_list if kernel.p2m_in_builder_map else 0)
    builder_l1s, tables_end = _builder_tables(end + 1)
    if geometry.builder_l1_tables is not None:
        builder_l1s = geometry.builder_l1_tables - kernel.extra_identity_l1s
        tables_end = end + 2 + builder_l1s + _l2s(builder_l1s) + 2
    first_l1 = end + 2
    if geometry.builder_l1_start is not None:
        first_l1 = geometry.builder_l1_start >> PAGE_SHIFT
    map_end = builder_l1s * ENTRIES
    static = (geometry.kernel_start + geometry.kernel_end) // 2 >> PAGE_SHIFT
    if geometry.static_tables is not None:
        static = geometry.static_tables >> PAGE_SHIFT
    brk = (image_end - kernel.brk_pages, image_end)
    if geometry.brk_tables is not None:
        first = geometry.brk_tables.start >> PAGE_SHIFT
        pages = geometry.brk_tables.pages
        brk = (first, first + (pages if kernel.takes_given_brk else min(pages, kernel.brk_pages)))

    if geometry.p2m_pages is not None:
        p2m_pages = _pfns(geometry.p2m_pages)
    elif kernel.p2m_in_builder_map:
        p2m_pages = ((image_end, image_end + p2m_list),)
    else:
        p2m_pages = _place_p2m(geometry, e820, map_end, p2m_list)
    if geometry.reserved is not None:
        reserved = (*_pfns(geometry.reserved), (first_l1, first_l1 + builder_l1s))
    else:
        reserved = (
            (0, 16),
            (geometry.kernel_start >> PAGE_SHIFT, image_end),
            (end, tables_end),
        )
    reserved += (*p2m_pages, *_without_frames(geometry, e820))
    return Layout(map_end, first_l1, static, p2m_pages, brk, reserved, image_end)


def plan_native_layout(geometry: Geometry, e820: E820) -> Layout:
    """The same for a kernel that brings its own first tables: no builder's map, no p2m list.

    All below the end of the image has frames, RAM or not.
    """
    first, end = geometry.kernel_start >> PAGE_SHIFT, -(-geometry.kernel_end >> PAGE_SHIFT)
    static = (first + end) // 2
    if geometry.static_tables is not None:
        static = geometry.static_tables >> PAGE_SHIFT
    reserved = (
        _pfns(geometry.reserved) if geometry.reserved is not None else ((0, 16), (first, end))
    )
    slack = geometry.slack >> PAGE_SHIFT
    reserved += ((e820.max_pfn - slack, e820.max_pfn), *_pfns(geometry.without_mfn))
    return Layout(end, 0, static, (), (end, end), reserved, end)


def _check_room_for_p2m(geometry: Geometry, kernel: Kernel, e820: E820, layout: Layout) -> None:
    """The builder's map with the p2m list in it lies in one piece of RAM."""
    if not kernel.p2m_in_builder_map or geometry.builder_l1_tables is not None:
        return
    first = geometry.kernel_start >> PAGE_SHIFT
    hole = next(iter(e820.holes(first, layout.builder_map_pages)), None)
    if hole is not None:
        raise CannotBuild(
            f"image, p2m list and the page tables of the domain builder need RAM up to "
            f"{layout.builder_map_pages << PAGE_SHIFT:#x}, but there is none at "
            f"{hole[0] << PAGE_SHIFT:#x} (kernel {kernel.release} has its p2m list there)"
        )


def _without_frames(geometry: Geometry, e820: E820) -> list[Range]:
    """RAM without machine frames: the slack, and what is said to be so."""
    without = Memblock([], _pfns(geometry.without_mfn))
    without.reserve(e820.max_pfn - (geometry.slack >> PAGE_SHIFT), e820.max_pfn)
    return without.reserved


def _frames_at_start(geometry: Geometry, e820: E820) -> int:
    """How many pages the domain was made of, for which its p2m list has entries.

    dom0's kernel has taken those in the holes out and added RAM elsewhere, without frames yet, to
    which they will move. Source: Linux 6.1 arch/x86/xen/setup.c:xen_memory_setup.
    """
    without = sum(last - first for first, last in _without_frames(geometry, e820))
    pages = sum(last - first for first, last in e820.pages()) - without
    if geometry.kind == "dom0":
        slack = geometry.slack >> PAGE_SHIFT
        holes = sum(last - first for first, last in e820.holes(0, e820.max_pfn))
        pages += min(without - slack, holes)
    return pages


def _place_p2m(geometry: Geometry, e820: E820, low: int, pages: int) -> tuple[Range, ...]:
    """The p2m list, the leaves that map it and two levels above them: from page ``low`` on.

    dom0's builder maps whole 2 MiB of it without leaves. Source: Xen tools/libs/guest/xg_dom_x86.c,
    pv/dom0_build.c; Linux xen_page_tables.
    """
    leaves = bool(pages % ENTRIES) if geometry.kind == "dom0" else -(-pages // ENTRIES)
    left = pages + leaves + 2
    taken = Memblock([], [(0, low), *_without_frames(geometry, e820)])
    taken.reserve(e820.max_pfn, e820.max_pfn + 1)
    placed = []
    for (_, gone), (back, _) in pairwise(taken.reserved):
        for first, last in e820.parts(gone, back):
            if left:
                placed.append((first, min(last, first + left)))
                left -= min(last - first, left)
    return tuple(placed)


def _builder_tables(start_info_end: int) -> tuple[int, int]:
    """(L1s, end of the boot stack): the map covers its own tables and stack, padded."""
    l1s = 0
    while True:
        end = start_info_end + l1s + _l2s(l1s) + 3  # L1s, L2s, one L3 and L4, the stack
        rounded = -(-end // _ROUND) * _ROUND
        if rounded - end < _PAD:
            rounded += _ROUND
        if rounded // ENTRIES == l1s:
            return l1s, end
        l1s = rounded // ENTRIES


def _l2s(l1s: int) -> int:
    """How many L2s so many L1s take."""
    return -(-l1s // ENTRIES)


def _pfns(ranges: Iterable[Range]) -> tuple[Range, ...]:
    return tuple((first >> PAGE_SHIFT, -(-last >> PAGE_SHIFT)) for first, last in ranges)


def _zapped(geometry: Geometry, kernel: Kernel, e820: E820, layout: Layout) -> list[Range]:
    """Pages of the builder's map whose entries the kernel's set-up has emptied again.

    A later dom0 takes everything that is no RAM out of its map (xen_memory_setup); an older one
    maps it 1:1.
    """
    given = list(_pfns(geometry.absent_in_builder_map))
    if geometry.kind == "domU":
        return given
    if kernel.isa_stays_mapped:
        return [part for absent in given for part in e820.parts(*absent)]
    return given or _builder_holes(e820, layout)


def _builder_holes(e820: E820, layout: Layout) -> list[Range]:
    """Holes of the memory map that the builder, who knows of none, has mapped."""
    return e820.holes(e820.pages()[0][0], min(layout.builder_map_pages, e820.max_pfn))


def _identity(
    geometry: Geometry, kernel: Kernel, e820: E820, layout: Layout, zapped: list[Range]
) -> list[Range]:
    """What dom0 maps with the host's own frame numbers: given, and what is no RAM in its map."""
    given = _pfns(geometry.identity)
    if geometry.kind == "domU":
        return list(given)
    mapped = [_ISA_HOLE, *_builder_holes(e820, layout), *_pfns(geometry.absent_in_builder_map)]
    covered = Memblock([], given)
    for first, last in mapped if kernel.isa_stays_mapped else zapped:
        for hole in e820.holes(first, last):
            covered.reserve(*hole)
    return covered.reserved


def _frame_extents(
    geometry: Geometry, e820: E820, layout: Layout, identity: list[Range]
) -> list[Extent]:
    """Which pages have frames of the domain, and which ones.

    A page whose entry is empty may well have one.
    """
    holes = sorted((*identity, *_without_frames(geometry, e820)))
    if geometry.p2m is not None:
        given = list(geometry.p2m)
    else:
        # The builder populates from pfn 0 upwards, whatever the e820 will say.
        end = e820.max_pfn - (geometry.slack >> PAGE_SHIFT)
        populated = Memblock([])
        populated.reserve(0, min(layout.builder_map_pages, end))
        for first, last in e820.pages():
            populated.reserve(first, min(last, end))
        for first, last in _pfns(geometry.added):
            populated.reserve(first, last)
        base = max([_FIRST_FRAME, *(-(-last // ENTRIES) * ENTRIES for _, last in identity)])
        given = [Extent(first, base + first, last - first) for first, last in populated.reserved]
    extents = []
    for extent in given:
        position, end = extent.pfn, extent.pfn + extent.pages
        for gone, back in (*holes, (end, end)):
            if gone <= end and back >= position:
                if gone > position:
                    mfn = extent.mfn + position - extent.pfn
                    extents.append(Extent(position, mfn, gone - position))
                position = max(position, back)
    return extents


def _write_tables(
    geometry: Geometry,
    kernel: Kernel,
    e820: E820,
    layout: Layout,
    p2m: P2m,
    frames: FrameTable,
    xen: Xen,
    zapped: list[Range],
) -> StartState:
    """The tables of the start state, written and handed to the hypervisor."""
    static = layout.static_tables
    map_l1s = layout.builder_map_pages // ENTRIES
    l1s = [layout.first_l1 + number for number in range(map_l1s)]
    l1s += [static + _IDENT_L1S + number for number in range(kernel.extra_identity_l1s)]
    tables = [static + offset for offset in (_INIT_L4, _IDENT_L3, _IDENT_L2, _KERNEL_L3,
                                             _KERNEL_L2, _FIXMAP_L2, _BM_PTE)]  # fmt: skip
    # The kernel's own L2 has the first GiB; the builder's L2s go on from there.
    further_l2s = [layout.first_l1 + map_l1s + number for number in range(1, _l2s(len(l1s)))]
    tables += further_l2s

    def frame(pfn: int) -> int:
        mfn = p2m.mfn(pfn)
        if mfn is None:
            raise CannotBuild(f"page {pfn:#x}, a page table of the start state, has no frame")
        return mfn

    for region, table in enumerate(l1s):
        leaves, _ = p2m.leaves(region * ENTRIES, (region + 1) * ENTRIES)
        leaves &= np.uint64(_EXECUTABLE)
        for first, last in zapped:
            low, high = max(first - region * ENTRIES, 0), min(last - region * ENTRIES, ENTRIES)
            if low < high:
                leaves[low:high] = 0
        frames.array(frame(table))[:] = leaves
    for table in (*l1s, *tables):
        if table >> 9 >= len(l1s):
            raise CannotBuild(
                f"page {table:#x}, a page table of the start state, lies behind what the domain "
                f"builder's {len(l1s)} L1 tables map"
            )
        leaves_above = frames.words(frame(l1s[table >> 9]))
        if not leaves_above[table & 511]:
            raise CannotBuild(f"page {table:#x}, a page table of the start state, is not mapped")
        # A kernel whose tables are shadowed leaves them writable (XENFEAT_writable_page_tables).
        if xen.paging is Paging.DIRECT:
            leaves_above[table & 511] &= ~RW
    for page in range(*layout.brk):
        if page >> 9 >= len(l1s) or not frames.words(frame(l1s[page >> 9]))[page & 511] & RW:
            raise CannotBuild(
                f"page {page:#x} of the BRK window is not mapped writable when the kernel begins"
            )

    l4, l3, l2 = (
        frames.words(frame(static + offset)) for offset in (_INIT_L4, _IDENT_L3, _IDENT_L2)
    )
    kernel_l3, kernel_l2, fixmap_l2 = (
        frames.words(frame(static + offset)) for offset in (_KERNEL_L3, _KERNEL_L2, _FIXMAP_L2)
    )

    def entry(offset: int) -> int:
        return frame(static + offset) << PAGE_SHIFT | TABLE_FLAGS

    l4[kernel.page_offset_slot] = entry(_IDENT_L3)
    l4[ENTRIES - 1] = entry(_KERNEL_L3)
    l3[0] = entry(_IDENT_L2)
    kernel_l3[_KERNEL_L3_SLOT] = entry(_KERNEL_L2)
    kernel_l3[_FIXMAP_L3_SLOT] = entry(_FIXMAP_L2)
    fixmap_l2[_BM_L2_SLOT] = entry(_BM_PTE)
    for number, table in enumerate(further_l2s, 1):
        l3[number] = frame(table) << PAGE_SHIFT | TABLE_FLAGS
    l2s = [l2, *(frames.words(frame(table)) for table in further_l2s)]
    for region, table in enumerate(l1s):
        l2s[region // ENTRIES][region % ENTRIES] = frame(table) << PAGE_SHIFT | TABLE_FLAGS
        if region < _KERNEL_SLOTS:
            kernel_l2[region] = frame(table) << PAGE_SHIFT | TABLE_FLAGS

    vcpu = xen.vcpus[0]
    for command, pfn in (
        (PIN_L1_TABLE, static + _BM_PTE),
        (PIN_L4_TABLE, static + _INIT_L4),
        (NEW_BASEPTR, static + _INIT_L4),
    ):
        rc = drain(hypercall(xen, vcpu, MmuextOp(((command, frame(pfn), 0),))))
        if rc:
            # A release build says nothing.
            lines = [line.text for line in xen.console.lines] or [f"Xen gave {rc} for pfn {pfn:x}"]
            raise CannotBuild(
                f"the tables of the start state collide with something: {'; '.join(lines)}"
            )
    return StartState(
        geometry=geometry,
        kernel=kernel,
        e820=e820,
        layout=layout,
        memblock=Memblock(e820.pages(), layout.reserved),
        p2m=p2m,
        frames=frames,
        xen=xen,
        init_l4=frame(static + _INIT_L4),
        ident_l3=frame(static + _IDENT_L3),
        ident_l2=frame(static + _IDENT_L2),
        bm_pte=static + _BM_PTE,
        builder_l1s=l1s,
        static_pfns=tables,
    )


def _write_native_tables(
    geometry: Geometry,
    kernel: Kernel,
    e820: E820,
    layout: Layout,
    p2m: P2m,
    frames: FrameTable,
    xen: Xen,
) -> StartState:
    """The tables that a kernel on a machine of its own starts with, in its image.

    The first GiB is mapped by leaves of 2 MiB, and half of that again for the image. The toolstack
    has put the image into memory, so the second table holds that.

    Source: Linux arch/x86/kernel/head_64.S (level2_ident_pgt, level2_kernel_pgt).
    """
    static = layout.static_tables
    tables = [static + offset for offset in range(_IDENT_L1S) if offset != 1]
    for pfn in tables:
        if p2m.mfn(pfn) is None:
            raise CannotBuild(f"page {pfn:#x}, a page table of the start state, has no frame")

    def write(table: int, slot: int, child: int) -> None:
        frames.words(static + table)[slot] = static + child << PAGE_SHIFT | TABLE_FLAGS

    write(_INIT_L4, kernel.page_offset_slot, _IDENT_L3)
    write(_INIT_L4, ENTRIES - 1, _KERNEL_L3)
    write(_IDENT_L3, 0, _IDENT_L2)
    write(_KERNEL_L3, _KERNEL_L3_SLOT, _KERNEL_L2)
    write(_KERNEL_L3, _FIXMAP_L3_SLOT, _FIXMAP_L2)
    write(_FIXMAP_L2, _BM_L2_SLOT, _BM_PTE)
    frames.array(static + _IDENT_L2)[:] = large_leaves(0, ENTRIES)
    frames.array(static + _KERNEL_L2)[:_KERNEL_SLOTS] = large_leaves(0, _KERNEL_SLOTS)

    xen.vcpus[0].cr3 = static + _INIT_L4
    loaded = range(geometry.kernel_start >> PAGE_SHIFT, layout.image_end)
    xen.second_table.update(pfn // ENTRIES for pfn in (*loaded, *tables))
    return StartState(
        geometry=geometry,
        kernel=kernel,
        e820=e820,
        layout=layout,
        memblock=Memblock(e820.pages(), layout.reserved),
        p2m=p2m,
        frames=frames,
        xen=xen,
        init_l4=static + _INIT_L4,
        ident_l3=static + _IDENT_L3,
        ident_l2=static + _IDENT_L2,
        bm_pte=static + _BM_PTE,
        builder_l1s=[],
        static_pfns=tables,
    )
