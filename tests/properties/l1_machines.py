"""Small machines with an L1 table to be validated: as data that Hypothesis draws, and as built."""

from dataclasses import dataclass

from hypothesis import strategies as st

from models.machine.entries import (
    ACCESSED,
    AVAIL,
    DIRTY,
    ENTRIES,
    GLOBAL,
    GRANT,
    GUEST_KERNEL,
    INVALID_MFN,
    NX,
    PAGE_SHIFT,
    PAT,
    PCD,
    PRESENT,
    PWT,
    RW,
    USER,
)
from models.machine.frames import DOMID_IO, DOMID_XEN, NO_OWNER, FrameTable
from models.xen.pages.upper_tables import TABLES
from models.xen.state import Domain, Xen
from models.xen.versions.abi import Abi, find_abi, profile_names
from models.xen.words import (
    ALLOCATED,
    COUNT,
    FRESH_COUNT_INFO,
    PARTIAL,
    PINNED,
    VALIDATED,
)

EXTENTS = [(0x1000, 1536), (0x9000, 48), (0x9030, 16)]
"""Machine memory (first mfn, pages): three runs of 512 frames, and some pages apart, in two."""
TABLE = 0x9000
FOREIGN = 9


@dataclass(frozen=True)
class FrameState:
    """What the hypervisor's words say of a frame before the table is looked at."""

    name: str
    count: int
    """Uses of its type."""
    ticks_ago: int
    """When its last typed reference went, in ticks of the flush clock."""


@dataclass(frozen=True)
class Machine:
    """All that decides what validating the table does."""

    version: str
    debug: bool
    domid: int
    flushes: tuple[int, ...]
    """The pCPUs that flushed since the boot, in order."""
    frames: tuple[tuple[int, FrameState], ...]
    """(mfn, state); all other frames are fresh."""
    entries: tuple[tuple[int, int], ...]
    """(slot, entry) of the table; all other slots are empty."""
    given_back: tuple[int, ...] = ()
    """Frames that the guest gives back to the hypervisor while the table maps them."""


def build(machine: Machine) -> Xen:
    """A hypervisor in that state, its table not yet validated."""
    abi = find_abi(machine.version)
    frames = FrameTable(EXTENTS, fresh=FRESH_COUNT_INFO, owner=machine.domid)
    domain = Domain(
        machine.domid,
        io_capabilities=machine.domid == 0,
        io_denied=frozenset({0xFEE00}),
        io_read_only=frozenset({0xFEC00}),
    )
    m2p = [(first, pages, first - 0x1000) for first, pages in EXTENTS]
    xen = Xen(abi, frames, domain, m2p, TABLES, debug=machine.debug, pcpus=2, vcpus=2)
    for pcpu in machine.flushes:
        xen.clock.flush(pcpu)
    for mfn, state in machine.frames:
        index = frames.index(mfn)
        type_info, count_info, owner = _words(abi, state, machine.domid)
        frames.type_info[index] = type_info
        frames.count_info[index] = count_info
        frames.owner[index] = owner
        if not state.count:
            frames.tlb_stamp[index] = max(0, xen.clock.now - state.ticks_ago)
    words = frames.words(TABLE)
    for slot, entry in machine.entries:
        words[slot] = entry
    return xen


def _words(abi: Abi, state: FrameState, domid: int) -> tuple[int, int, int]:
    """The type word, the reference count and the owner of a frame in this state."""
    count = state.count
    live = VALIDATED if count else 0
    held = FRESH_COUNT_INFO + count
    match state.name:
        case "writable":  # it may stay validated when its last use has gone
            return abi.writable | VALIDATED | count, held, domid
        case "locked":
            return abi.writable | VALIDATED | abi.locked | count + 1, held + 1, domid
        case "non-coherent":
            return abi.writable | VALIDATED | abi.non_coherent | count, held, domid
        case "being made writable":
            return abi.writable | count + 1, held + 1, domid
        case "L1" | "L2" | "L4":
            return abi.table_types[int(state.name[1])] | live | count, held, domid
        case "pinned L1":
            return abi.l1 | PINNED | VALIDATED | count + 1, held + 1, domid
        case "partial L2":
            return abi.table_types[2] | PARTIAL | 1, held + 2, domid
        case "descriptors":
            return abi.seg_desc | VALIDATED | count, held, domid
        case "saturated":
            return abi.writable | VALIDATED | COUNT, held, domid
        case "many references":  # one more might be too many
            return abi.writable | VALIDATED | 1, ALLOCATED | abi.general_count - 2 + count, domid
        case "uncached":  # so it was mapped last; not all versions remember
            cached_as = 2 * (abi.cache_attributes & -abi.cache_attributes)
            return abi.writable | VALIDATED | count, held | cached_as, domid
        case "untyped":
            return 0, held, domid
        case "untyped non-coherent":
            return abi.non_coherent, held, domid
        case "foreign":
            return abi.writable | live | count, held, FOREIGN
        case "Xen's":
            return 0, held, DOMID_XEN
        case "I/O":
            return 0, held, DOMID_IO
        case "free":
            return 0, (FRESH_COUNT_INFO & ~ALLOCATED) - 1, NO_OWNER
        case _:
            raise AssertionError(state)


def entry(mfn: int, flags: int) -> int:
    """A table entry."""
    return mfn << PAGE_SHIFT | flags


_ORDINARY = st.sampled_from(
    [PRESENT | RW | NX, PRESENT | RW | ACCESSED | DIRTY, PRESENT | NX, PRESENT | RW | USER]
)
ODD_FLAGS = [PWT, PCD, PAT, PAT | PCD, GLOBAL, GUEST_KERNEL, GLOBAL | GUEST_KERNEL, AVAIL, GRANT]
_ODD = st.sampled_from(ODD_FLAGS)
_MANY = st.integers(0x1000, 0x15FF)
_FEW = st.integers(0x9001, 0x9007)
NO_RAM = [0x10, 0xFEE00, 0xFEC00, 0xFED00, 0x9FFF, 1 << 32 | 0x1000, INVALID_MFN]
_NO_RAM = st.sampled_from(NO_RAM)

LIVE_STATES = ["writable", "non-coherent"]
DEAD_STATES = ["untyped", "untyped non-coherent", "L1", "L4", "descriptors", "writable"]
TYPED_STATES = ["L1", "L2", "descriptors"]
OTHER_STATES = [
    "locked",
    "being made writable",
    "saturated",
    "many references",
    "uncached",
    "pinned L1",
    "partial L2",
    "foreign",
    "Xen's",
    "I/O",
    "free",
]
_calm_states = st.one_of(
    st.builds(FrameState, st.sampled_from(LIVE_STATES), st.integers(1, 3), st.just(0)),
    st.builds(FrameState, st.sampled_from(DEAD_STATES), st.just(0), st.just(1000)),
)
_trouble_states = st.one_of(
    st.builds(FrameState, st.sampled_from(DEAD_STATES), st.just(0), st.integers(0, 4)),
    st.builds(FrameState, st.sampled_from(TYPED_STATES), st.just(1), st.just(0)),
    st.builds(FrameState, st.sampled_from(OTHER_STATES), st.integers(0, 1), st.just(0)),
)
_fresh = FrameState("untyped", 0, 1000)


@st.composite
def machines(draw: st.DrawFn) -> Machine:
    """Machines in which the table is accepted as a whole, and such with a few things amiss.

    A single one decides which body does the work and with what result, so there are seldom more.
    """
    frames: dict[int, FrameState] = {}
    mapped: dict[int, int] = {}  # slot -> entry
    free_slots = st.integers(0, ENTRIES - 1).filter(lambda slot: slot not in mapped)

    def put(mfn: int, flags: int) -> None:
        mapped[draw(free_slots)] = entry(mfn, flags)

    troubles = draw(st.sampled_from([0, 0, 1, 1, 1, 2]))
    if draw(st.booleans()):
        # Frames in a row; a whole table of fresh ones has a body of its own.
        first_mfn = draw(st.sampled_from([0x1000, 0x1200, 0x1000, 0x1100, 0x1001]))
        first_slot, pages = draw(st.sampled_from([(0, 512), (0, 512), (1, 511), (100, 200)]))
        flags = draw(_ORDINARY)
        if troubles and draw(st.booleans()):
            flags |= draw(_ODD)
            troubles -= 1
        mapped |= {first_slot + n: entry(first_mfn + n, flags) for n in range(pages)}
        rest = [0x1000 + n for n in range(0x600) if not 0 <= 0x1000 + n - first_mfn < pages]
        others: st.SearchStrategy[int] = st.sampled_from(rest)
    else:
        others = _MANY
    if len(mapped) < ENTRIES:
        for mfn in draw(st.lists(others | _FEW, max_size=6, unique=True)):
            frames[mfn] = draw(st.just(_fresh) | _calm_states)
            put(mfn, draw(_ORDINARY))
        for _ in range(draw(st.integers(0, 3))):
            mapped[draw(free_slots)] = entry(draw(_MANY), draw(_ORDINARY) & ~PRESENT)
    for _ in range(troubles):
        if len(mapped) == ENTRIES:
            slot = draw(st.integers(0, ENTRIES - 1))
            mfn = mapped.pop(slot) >> PAGE_SHIFT & INVALID_MFN
        else:
            mfn = draw(st.integers(0x9008, 0x900F))
        match draw(
            st.sampled_from(["frame", "frame", "frame", "flags", "twice", "no RAM", "self"])
        ):
            case "frame":
                frames[mfn] = draw(_trouble_states)
                put(mfn, draw(_ORDINARY))
            case "flags":
                put(mfn, draw(_ORDINARY) | draw(_ODD))
            case "twice" if mapped:
                again = mapped[draw(st.sampled_from(sorted(mapped)))]
                put(again >> PAGE_SHIFT & INVALID_MFN, draw(_ORDINARY))
            case "no RAM":
                put(draw(_NO_RAM), draw(_ORDINARY))
            case _:
                put(TABLE, draw(_ORDINARY))
    own = sorted(
        {word >> PAGE_SHIFT & INVALID_MFN for word in mapped.values() if word & PRESENT}
        & {*range(0x1000, 0x1600), *range(0x9001, 0x9030)}
    )
    given_back = draw(st.lists(st.sampled_from(own), max_size=2, unique=True)) if own else []
    return Machine(
        draw(st.sampled_from(profile_names())),
        draw(st.booleans()),
        draw(st.sampled_from([0, 5])),
        tuple(draw(st.lists(st.integers(0, 1), max_size=5))),
        tuple(sorted((mfn, state) for mfn, state in frames.items() if state != _fresh)),
        tuple(sorted(mapped.items())),
        tuple(given_back),
    )


def all_columns(xen: Xen) -> list[tuple[int, int, int, int, int]]:
    """(mfn, type word, reference count, time stamp, owner) of every frame."""
    frames = xen.frames
    mfns = [mfn for first, pages in EXTENTS for mfn in range(first, first + pages)]
    index = [frames.index(mfn) for mfn in mfns]
    columns = (
        frames.type_array[index].tolist(),
        frames.count_array[index].tolist(),
        frames.stamp_array[index].tolist(),
        frames.owner_array[index].tolist(),
    )
    return list(zip(mfns, *columns, strict=True))
