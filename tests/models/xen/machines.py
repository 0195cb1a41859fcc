"""A small guest on a hypervisor, for tests of single operations."""

from models.machine.entries import PAGE_SHIFT, PRESENT, RW, USER
from models.machine.frames import DOMID_XEN, NO_OWNER, FrameTable
from models.xen import words as xen_words
from models.xen.gate import hypercall
from models.xen.hypercalls import Call, MmuextOp, MmuUpdate
from models.xen.pages.upper_tables import TABLES
from models.xen.state import Domain, Xen
from models.xen.versions.abi import find_abi
from models.xen.versions.paging import Paging
from models.xen.words import FRESH_COUNT_INFO
from sim.instant import drain
from sim.oracle import ScriptedOracle

L4, L3, L2, L1, DATA, OTHER, SPARE = range(0x100, 0x107)
"""Frames: a tree of four tables that maps DATA writable, and two pages that nobody maps."""
FOREIGN, XENS, FREE = 0x200, 0x201, 0x202
NEIGHBOUR = 7
EARLY, LATE = ["4.1", "4.2dev"], ["4.17", "master"]
VA = 0
"""Where DATA is mapped."""

TABLE = PRESENT | RW | USER


def entry(mfn: int, flags: int) -> int:
    """A page-table entry."""
    return mfn << PAGE_SHIFT | flags


def machine(
    version: str,
    *,
    domid: int = 0,
    debug: bool = True,
    vcpus: int = 1,
    live: bool = True,
    paging: Paging = Paging.DIRECT,
) -> Xen:
    """A machine; ``live``: the tree is loaded as the base of every vCPU."""
    abi = find_abi(version)
    own = [L4, L3, L2, L1, DATA, OTHER, SPARE]
    frames = FrameTable(
        [(mfn, 1) for mfn in (*own, FOREIGN, XENS, FREE)], fresh=FRESH_COUNT_INFO, owner=domid
    )
    frames.owner[frames.index(FOREIGN)] = NEIGHBOUR
    frames.owner[frames.index(XENS)] = DOMID_XEN
    frames.owner[frames.index(FREE)] = NO_OWNER
    frames.count_info[frames.index(FREE)] = abi.free_page
    for table, below in ((L4, L3), (L3, L2), (L2, L1)):
        frames.words(table)[0] = entry(below, TABLE)
    frames.words(L1)[0] = entry(DATA, PRESENT | RW | USER)
    xen = Xen(
        abi,
        frames,
        Domain(domid, io_capabilities=domid == 0, paging=paging),
        [(mfn, 1, mfn + 0x10000) for mfn in own],
        TABLES,
        debug=debug,
        pcpus=vcpus,
        vcpus=vcpus,
        others=[Domain(NEIGHBOUR, io_capabilities=False)],
    )
    if live:
        for vcpu in range(vcpus):
            run(xen, MmuextOp(((xen_words.NEW_BASEPTR, L4, 0),)), vcpu=vcpu)
    return xen


def run(xen: Xen, call: Call, *, vcpu: int = 0, preempt: tuple[bool, ...] = ()) -> object:
    """Make a hypercall and return what the guest gets."""
    result: object = drain(hypercall(xen, xen.vcpus[vcpu], call), ScriptedOracle(preempt))
    return result


def mmuext(xen: Xen, command: int, first: int = 0, second: int = 0) -> object:
    """One operation of mmuext_op."""
    return run(xen, MmuextOp(((command, first, second),)))


def update(xen: Xen, table: int, slot: int, value: int, command: int = 0) -> object:
    """One request of mmu_update."""
    return run(xen, MmuUpdate(((table << PAGE_SHIFT | slot << 3 | command, value),)))


def words(xen: Xen, mfn: int) -> tuple[str, int]:
    """The type word, and the number of references."""
    index = xen.frames.index(mfn)
    held = xen.frames.count_info[index] & xen.abi.general_count
    return f"{xen.frames.type_info[index]:016x}", held


def lines(xen: Xen) -> list[str]:
    """The console so far, without file and line."""
    return [line.text.split(" ", 1)[1] for line in xen.console.lines]
