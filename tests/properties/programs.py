"""Random programs against a small hypervisor: hypercalls, stores and preemptions, many hostile.

A program is data that Hypothesis draws, and shrinks when it has found something. The machine has
a few pages whose contents are drawn, too, and four live tables that map all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from hypothesis import strategies as st

from models.machine.entries import (
    ACCESSED,
    AVAIL,
    DIRTY,
    GLOBAL,
    GUEST_KERNEL,
    NX,
    PAGE_SHIFT,
    PAT,
    PCD,
    PRESENT,
    PSE,
    PWT,
    RW,
    USER,
)
from models.machine.frames import DOMID_IO, DOMID_XEN, FrameTable
from models.xen import words as xen_words
from models.xen.accesses import store, translate
from models.xen.gate import hypercall
from models.xen.hypercalls import Call, MmuextOp, MmuUpdate, Multicall, Unknown, UpdateVaMapping
from models.xen.pages.upper_tables import TABLES
from models.xen.state import Domain, Vcpu, Xen
from models.xen.versions.abi import find_abi, profile_names
from models.xen.versions.paging import Paging
from models.xen.words import DOMID_SELF, FRESH_COUNT_INFO, VALIDATED
from sim.effects import Activity
from sim.instant import drain

POOL = range(0x1000, 0x100A)
KL4, KL3, KL2, KL1 = range(0x2000, 0x2004)
FOREIGN, XENS, IOS = 0x3000, 0x3001, 0x3002
"""RAM of another domain, of Xen's, and such that counts as I/O memory."""
MMIO, READ_ONLY_MMIO, NOWHERE = 0xFED00, 0xFEC00, 0xFFFFFFFFFF
NEIGHBOUR = 7
"""A domain that owns one page."""
FIRST_VA = 0xFFFF_8800_0000_0000
"""Where the live L1 maps the frames: the pool from slot 0 on, then the live tables."""
_T = TypeVar("_T")
BITMAP = 0x1000
"""The address of a bitmap that names both vCPUs."""
_L4_SLOT = 272


@dataclass(frozen=True)
class Op:
    """What one vCPU does: a hypercall, or (va, value) of a store."""

    vcpu: int
    what: Call | tuple[int, int]


@dataclass(frozen=True)
class Program:
    """All that decides a run."""

    version: str
    debug: bool
    domid: int
    pages: tuple[tuple[int, int, int], ...]
    """(mfn, slot, entry) of the pool; everything else is empty."""
    ops: tuple[Op, ...]
    preemptions: tuple[bool, ...]
    """Answers to the hypervisor's first questions whether it should stop; then it never does."""


def build(program: Program, paging: Paging = Paging.DIRECT) -> Xen:
    """The machine, its two vCPUs on the live L4."""
    mfns = [*POOL, KL4, KL3, KL2, KL1, FOREIGN, XENS, IOS]
    frames = FrameTable([(mfn, 1) for mfn in mfns], fresh=FRESH_COUNT_INFO, owner=program.domid)
    frames.owner[frames.index(FOREIGN)] = NEIGHBOUR
    frames.owner[frames.index(XENS)] = DOMID_XEN
    frames.owner[frames.index(IOS)] = DOMID_IO
    for mfn, slot, entry in program.pages:
        frames.words(mfn)[slot] = entry
    frames.words(KL4)[_L4_SLOT] = _entry(KL3, PRESENT | RW | USER)
    frames.words(KL3)[0] = _entry(KL2, PRESENT | RW | USER)
    frames.words(KL2)[0] = _entry(KL1, PRESENT | RW | USER)
    for slot, mfn in enumerate((*POOL, KL4, KL3, KL2, KL1)):
        frames.words(KL1)[slot] = _entry(mfn, PRESENT | NX | (RW if mfn in POOL else 0))
    xen = Xen(
        find_abi(program.version),
        frames,
        Domain(
            program.domid,
            io_capabilities=program.domid == 0,
            io_denied=frozenset({0xFEE00}),
            io_read_only=frozenset({READ_ONLY_MMIO}),
            paging=paging,
        ),
        [(POOL.start, len(POOL), 0x100)],
        TABLES,
        debug=program.debug,
        pcpus=2,
        vcpus=2,
        others=[Domain(NEIGHBOUR, io_capabilities=False)],
    )
    xen.vcpu_bitmaps[BITMAP] = 0b11
    pin = MmuextOp(((xen_words.PIN_L4_TABLE, KL4, 0),))
    load = MmuextOp(((xen_words.NEW_BASEPTR, KL4, 0),))
    for vcpu, call in ((0, pin), (0, load), (1, load)):
        if drain(hypercall(xen, xen.vcpus[vcpu], call)):
            raise AssertionError("the live tables are not accepted")
    return xen


def activity(xen: Xen, op: Op) -> Activity:
    """What the vCPU runs for an operation."""
    vcpu = xen.vcpus[op.vcpu]
    if isinstance(op.what, tuple):
        return store(xen, vcpu, *op.what)
    return hypercall(xen, vcpu, op.what)


def touch_everything(xen: Xen, vcpu: Vcpu) -> None:
    """The guest uses every mapping it has: its CPU now holds them all."""
    for slot in range(len(POOL) + 4):
        va = FIRST_VA + (slot << PAGE_SHIFT)
        found = translate(xen, vcpu, va)
        if found is not None:
            xen.clock.load(vcpu.pcpu, va, found.mfn, writable=found.writable)


def contents(xen: Xen) -> dict[str, Any]:
    """Everything that a later operation could depend on, apart from time."""
    frames = xen.frames
    mfns = [*POOL, KL4, KL3, KL2, KL1, FOREIGN, XENS, IOS]
    return {
        "words": {
            mfn: (frames.type_info[frames.index(mfn)], frames.count_info[frames.index(mfn)])
            for mfn in mfns
        },
        "pages": {mfn: bytes(frames.array(mfn).tobytes()) for mfn in mfns},
        "m2p": dict(xen.m2p.updates),
        "bases": [(vcpu.cr3, vcpu.user_cr3) for vcpu in xen.vcpus],
        "shadows": dict(xen.shadows),
    }


def count_of(xen: Xen, mfn: int) -> int:
    """Uses of a frame's type."""
    return xen.frames.type_info[xen.frames.index(mfn)] & xen_words.COUNT


def is_live(xen: Xen, mfn: int) -> bool:
    """Is the frame a table that somebody uses?"""
    word = xen.frames.type_info[xen.frames.index(mfn)]
    return bool(xen.abi.level(word) and word & VALIDATED and word & xen_words.COUNT)


# -- what Hypothesis draws ----------------------------------------------------------------------


def _entry(mfn: int, flags: int) -> int:
    return mfn << PAGE_SHIFT | flags


_OWN = st.sampled_from(POOL)
_OTHER = st.sampled_from([KL4, KL3, KL2, KL1, FOREIGN, XENS, IOS, MMIO, READ_ONLY_MMIO, NOWHERE])
_TARGET = st.one_of(_OWN, _OWN, _OWN, _OWN, _OTHER)
_SLOT: st.SearchStrategy[int] = st.sampled_from([0, 1, 2, 5, 258, _L4_SLOT, 511])
_PLAIN_FLAGS = st.sampled_from(
    [
        PRESENT | RW | USER | ACCESSED | DIRTY,
        PRESENT | RW | USER,
        PRESENT | RW,
        PRESENT | USER,
        PRESENT,
        PRESENT | RW | NX,
        0,
    ]
)
_ODD_FLAGS = st.sampled_from(
    [0, 0, 0, 0, 0, PWT, PCD, PAT, PSE, GLOBAL, GUEST_KERNEL, GLOBAL | GUEST_KERNEL, AVAIL]
)
_FLAGS = st.builds(int.__or__, _PLAIN_FLAGS, _ODD_FLAGS)
_ENTRY = st.builds(_entry, _TARGET, _FLAGS)
_GOOD_ENTRY = st.builds(_entry, _OWN, st.sampled_from([PRESENT | RW | USER, PRESENT | USER]))
_VA = st.builds(
    lambda slot, offset: FIRST_VA + (slot << PAGE_SHIFT) + offset,
    st.integers(0, len(POOL) + 3),
    st.sampled_from([0, 8, 40, 2064, 4088]),
)


@st.composite
def _trees(draw: st.DrawFn) -> list[tuple[int, int, int]]:
    """Contents of the pool: pages meant as tables of drawn levels, with entries that fit mostly."""
    levels = {mfn: draw(st.integers(0, 4)) for mfn in POOL}
    pages: list[tuple[int, int, int]] = []
    for mfn, level in levels.items():
        fitting: list[int] = [other for other, below in levels.items() if below == level - 1]
        for slot in draw(st.lists(_SLOT, max_size=3)):
            if not level:
                continue
            if fitting and draw(st.integers(0, 5)) > 0:
                access = PRESENT | USER | (RW if level > 1 or draw(st.booleans()) else 0)
                entry = _entry(draw(st.sampled_from(fitting)), access)
            else:
                entry = draw(_ENTRY)
            pages.append((mfn, slot, entry))
    return pages


def _few(items: st.SearchStrategy[_T]) -> st.SearchStrategy[list[_T]]:
    return st.one_of(st.tuples(items).map(list), st.lists(items, min_size=1, max_size=3))


_PIN = st.builds(lambda level, mfn: (level, mfn, 0), st.integers(0, 3), _TARGET)
_MMUEXT = st.one_of(
    _PIN,
    _PIN,
    st.builds(lambda mfn: (xen_words.UNPIN_TABLE, mfn, 0), _TARGET),
    st.builds(lambda mfn: (xen_words.NEW_BASEPTR, mfn, 0), st.one_of(_TARGET, st.just(KL4))),
    st.builds(lambda mfn: (xen_words.NEW_USER_BASEPTR, mfn, 0), st.one_of(_TARGET, st.just(0))),
    st.builds(lambda mfn: (xen_words.CLEAR_PAGE, mfn, 0), _TARGET),
    st.builds(lambda mfn, source: (xen_words.COPY_PAGE, mfn, source), _TARGET, _TARGET),
    st.builds(
        lambda command, va, bitmap: (command, va, bitmap),
        st.sampled_from([6, 7, 8, 9, 10, 11, 12, 18, 19, 20, 99]),
        _VA,
        st.sampled_from([BITMAP, 0xBAD0]),
    ),
)
_DOMAIN = st.sampled_from([DOMID_SELF] * 12 + [DOMID_IO, DOMID_XEN, NEIGHBOUR, 5, 0])
_POINTER = st.builds(
    lambda mfn, slot, command: mfn << PAGE_SHIFT | slot << 3 | command,
    st.one_of(_TARGET, st.sampled_from([KL1, KL1, KL2, KL3])),
    _SLOT,
    st.sampled_from([0, 0, 0, 0, 1, 2, 3, 5]),
)
_SINGLE = st.one_of(
    st.builds(
        lambda ops, foreign: MmuextOp(tuple(ops), foreign=foreign),
        _few(_MMUEXT),
        _DOMAIN,
    ),
    st.builds(
        lambda requests, foreign: MmuUpdate(tuple(requests), foreign=foreign),
        _few(st.tuples(_POINTER, st.one_of(_ENTRY, _GOOD_ENTRY, st.just(0)))),
        _DOMAIN,
    ),
    st.builds(
        UpdateVaMapping,
        _VA,
        st.one_of(_ENTRY, _GOOD_ENTRY, st.just(0)),
        st.sampled_from([0, 1, 2, 5, 6, BITMAP | 1, BITMAP | 2, 0xBAD0 | 1]),
    ),
)
_CALL = st.one_of(
    _SINGLE,
    _SINGLE,
    _SINGLE,
    st.builds(
        lambda calls: Multicall(tuple(calls)),
        _few(st.one_of(_SINGLE, st.just(Unknown(77)))),
    ),
)
_STORE = st.tuples(_VA, st.one_of(_ENTRY, _GOOD_ENTRY, st.just(0)))


_PLAIN_ENTRY = st.one_of(
    st.builds(_entry, st.one_of(_OWN, st.sampled_from([MMIO, IOS])), _PLAIN_FLAGS), _GOOD_ENTRY
)
_PLAIN_CALL = st.one_of(
    st.builds(UpdateVaMapping, _VA, _PLAIN_ENTRY),
    st.builds(
        lambda table, slot, entry: MmuUpdate(((table << PAGE_SHIFT | slot << 3, entry),)),
        st.one_of(_OWN, st.just(KL1)),
        _SLOT,
        _PLAIN_ENTRY,
    ),
    st.builds(lambda mfn: MmuextOp(((xen_words.PIN_L1_TABLE, mfn, 0),)), _OWN),
    st.builds(lambda command, va: MmuextOp(((command, va, 0),)), st.sampled_from([6, 7]), _VA),
)


def batches() -> st.SearchStrategy[Multicall]:
    """Multicalls of plain entries, among which now and then there is another."""
    entries = st.one_of(*[_PLAIN_CALL] * 8, _SINGLE)
    return st.builds(
        lambda calls: Multicall(tuple(calls)), st.lists(entries, min_size=2, max_size=8)
    )


@st.composite
def programs(
    draw: st.DrawFn,
    versions: Sequence[str] = (),
    calls: st.SearchStrategy[Call] = _CALL,
) -> Program:
    """Programs of up to ten operations, in any version or one of these; stores and such calls."""
    steps = st.builds(Op, st.integers(0, 1), st.one_of(calls, calls, _STORE))
    return Program(
        draw(st.sampled_from(versions or profile_names())),
        draw(st.booleans()),
        draw(st.sampled_from([0, 5])),
        tuple(draw(_trees())),
        tuple(draw(st.lists(steps, min_size=1, max_size=10))),
        tuple(draw(st.lists(st.booleans(), max_size=12))),
    )
