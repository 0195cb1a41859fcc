"""Out of the ordinary: caching, I/O memory, Xen's own pages, consoles, interruptions."""

import pytest

from models.machine.entries import GLOBAL, GUEST_KERNEL, PAT, PCD, PRESENT, PSE, PWT, RW, USER
from models.machine.frames import NO_OWNER, FrameTable
from models.xen import words as xen_words
from models.xen.checks.invariants import check
from models.xen.gate import hypercall
from models.xen.hypercalls import MmuextOp, Multicall, Unknown
from models.xen.pages.references import put_page, take_over
from models.xen.pages.upper_tables import TABLES
from models.xen.state import Domain, Xen
from models.xen.versions.abi import find_abi, profile_names
from models.xen.versions.panic import HostCrash, NotModelled
from models.xen.words import (
    FRESH_COUNT_INFO,
    PARTIAL,
    PINNED,
    VALIDATED,
    XEN_HEAP,
)
from sim.instant import drain
from sim.oracle import ScriptedOracle
from sim.stepwise import after_every_step
from tests.models.xen.machines import (
    DATA,
    EARLY,
    L1,
    L2,
    LATE,
    OTHER,
    SPARE,
    entry,
    lines,
    machine,
    mmuext,
    run,
    update,
    words,
)

EACCES, EBUSY, EINVAL, ENOSYS = 13, 16, 22, 38
WRITABLE = PRESENT | RW | USER


def _cache_attributes(xen: Xen, mfn: int) -> int:
    return xen.frames.count_info[xen.frames.index(mfn)] >> 58 & 7


@pytest.mark.parametrize("version", EARLY)
def test_early_versions_remember_how_a_page_is_cached(version: str) -> None:
    """In its count_info, as PAT, PCD, PWT; the last mapping decides."""
    xen = machine(version)

    assert 0 == update(xen, L1, 1, entry(OTHER, WRITABLE | PAT | PWT))
    assert 0b101 == _cache_attributes(xen, OTHER)
    assert 0 == update(xen, L1, 2, entry(OTHER, PRESENT | USER | PCD))
    assert 0b010 == _cache_attributes(xen, OTHER)
    assert 0 == update(xen, L1, 3, entry(OTHER, WRITABLE))
    assert 0 == _cache_attributes(xen, OTHER)


@pytest.mark.parametrize("version", LATE)
@pytest.mark.parametrize(
    ("flags", "marked"), [(WRITABLE | PAT, 1), (WRITABLE | PCD, 0), (PRESENT | USER | PAT, 0)]
)
def test_later_versions_mark_pages_written_past_the_cache(
    version: str, flags: int, marked: int
) -> None:
    """Of a writable entry with just PAT. The mark goes when the page becomes something else."""
    xen = machine(version)
    update(xen, L1, 1, entry(OTHER, flags))

    index = xen.frames.index(OTHER)
    assert marked == xen.frames.type_info[index] >> 55 & 1
    update(xen, L1, 1, 0)
    assert 0 == mmuext(xen, xen_words.PIN_L1_TABLE, OTHER)
    assert 0 == xen.frames.type_info[index] >> 55 & 1


@pytest.mark.parametrize("version", profile_names())
@pytest.mark.parametrize("access", [RW, 0])
def test_caching_of_xens_heap_pages_is_not_changed(version: str, access: int) -> None:
    """No reference stays behind."""
    xen = machine(version)
    index = xen.frames.index(OTHER)
    xen.frames.count_info[index] |= XEN_HEAP
    before = words(xen, OTHER)[1]

    errno = EINVAL if version == "4.1" else EACCES
    assert -errno == update(xen, L1, 1, entry(OTHER, PRESENT | USER | PCD | access))
    assert before == words(xen, OTHER)[1]
    assert ["Attempt to change cache attributes of Xen heap page"] == lines(xen)


@pytest.mark.parametrize(
    ("version", "domid", "stored"),
    [
        ("4.1", 0, WRITABLE),
        ("4.1", 5, PRESENT | USER),
        ("4.2dev", 0, PRESENT | USER),
        ("4.17", 0, PRESENT | USER | PWT | PCD),
    ],
)
def test_some_io_memory_is_mapped_read_only_whatever_is_asked(
    version: str, domid: int, stored: int
) -> None:
    """RW is taken from the entry; later versions take caching from it, too."""
    mmio = 0xE0000
    abi = find_abi(version)
    frames = FrameTable([(0x100, 1)], fresh=FRESH_COUNT_INFO, owner=domid)
    domain = Domain(domid, io_capabilities=True, io_read_only=frozenset({mmio}))
    xen = Xen(abi, frames, domain, [], TABLES)
    mmuext(xen, xen_words.PIN_L1_TABLE, 0x100)

    assert 0 == update(xen, 0x100, 0, entry(mmio, WRITABLE))
    assert entry(mmio, stored | GLOBAL) == frames.words(0x100)[0]


@pytest.mark.parametrize("version", profile_names())
def test_page_without_references_is_free(version: str) -> None:
    """It is nobody's, and its words are those of a free page."""
    xen = machine(version)
    index = xen.frames.index(OTHER)
    take_over(xen.vcpus[0], index, typed=False)
    put_page(xen, xen.vcpus[0], index)

    assert NO_OWNER == xen.frames.owner[index]
    assert (xen.abi.free_page, 0) == (xen.frames.count_info[index], xen.frames.type_info[index])


@pytest.mark.parametrize(
    ("version", "free"), [("4.17", "8c00000000000000"), ("master", "e00000000000000")]
)
def test_free_page_in_a_message(version: str, free: str) -> None:
    """As recorded: nobody's, and no transient reference in its count."""
    xen = machine(version)
    mmuext(xen, xen_words.PIN_L1_TABLE, 0x202)

    assert [f"Error mfn 00202: rd=d0 od=NULL caf={free} taf={'0' * 16}"] == lines(xen)


@pytest.mark.parametrize("version", profile_names())
def test_release_builds_are_silent_since_4_6(version: str) -> None:
    """Before, a release build tells as much as a debug build, but for what is of INFO level."""
    xen = machine(version, debug=False)
    mmuext(xen, xen_words.PIN_L1_TABLE, DATA)
    mmuext(xen, xen_words.PIN_L1_TABLE, 0x200)
    kinds = [line.split(" ")[0] for line in lines(xen)]

    assert kinds == ([] if version in LATE else ["Bad", "Error", "Could", "Error"])


@pytest.mark.parametrize("version", profile_names())
def test_multicall_inside_a_multicall_is_refused(version: str) -> None:
    """The others of its entries are made all the same, and the unknown one fails alone."""
    xen = machine(version)
    pin = MmuextOp(((xen_words.PIN_L1_TABLE, OTHER, 0),))

    assert (-EINVAL, -ENOSYS, 0) == run(xen, Multicall((Multicall((pin,)), Unknown(77), pin)))
    assert ["Multicall reentry is disallowed."] == lines(xen)
    assert xen.console.lines[0].info


@pytest.mark.parametrize("version", profile_names())
def test_entry_of_a_frame_that_cannot_exist(version: str) -> None:
    """The highest number of all stands for no frame."""
    xen = machine(version)
    nowhere = (1 << 40) - 1
    xen.frames.words(SPARE)[1] = entry(nowhere, PRESENT | USER)

    assert -EINVAL == mmuext(xen, xen_words.PIN_L3_TABLE, SPARE)
    assert 1 == words(xen, SPARE)[1]
    check(xen)


@pytest.mark.parametrize("version", LATE)
def test_line_printed_in_a_validation_interrupts_it(version: str) -> None:
    """Printing raises a softirq: the L2 stops before the entry that comes next."""
    xen = machine(version)
    odd = entry(OTHER, PRESENT | RW | USER | GUEST_KERNEL | GLOBAL)
    xen.frames.words(DATA)[0] = odd
    update(xen, L1, 0, 0)
    xen.frames.words(SPARE)[0] = entry(DATA, PRESENT | RW | USER)

    assert 0 == mmuext(xen, xen_words.PIN_L2_TABLE, SPARE)
    assert [f"Global bit is set in kernel page {OTHER:x}"] == lines(xen)
    assert 1 == xen.counters["calls", "continuations"]


@pytest.mark.parametrize("version", EARLY)
def test_superpages_need_a_boot_option(version: str) -> None:
    """An L2 entry for 2 MiB is no bad flag there."""
    xen = machine(version)

    assert -EINVAL == update(xen, L2, 1, entry(0x400, PRESENT | USER | PSE))
    assert ["Attempt to map superpage without allowsuperpage flag in hypervisor"] == lines(xen)


@pytest.mark.parametrize("version", profile_names())
def test_half_done_table_is_finished_by_another_vcpu(version: str) -> None:
    """Whoever asks for it goes on where the first one was interrupted."""
    xen = machine(version, vcpus=2)
    xen.frames.words(SPARE)[0] = entry(OTHER, PRESENT | RW | USER)
    xen.frames.words(SPARE)[9] = entry(OTHER, PRESENT | RW | USER)
    pin = MmuextOp(((xen_words.PIN_L2_TABLE, SPARE, 0),))
    answers: list[object] = []

    def look() -> None:
        word = xen.frames.type_info[xen.frames.index(SPARE)]
        if word & PARTIAL and not answers:
            assert xen.abi.table_types[2] | PARTIAL | 1 == word
            answers.append(run(xen, pin, vcpu=1))

    first = after_every_step(hypercall(xen, xen.vcpus[0], pin), look)
    answers.append(drain(first, ScriptedOracle([False] * 5 + [True])))

    # The second has pinned it; the first comes back too late.
    assert [0, -EINVAL] == answers
    assert (f"{xen.abi.table_types[2] | PINNED | VALIDATED | 1:016x}", 2) == words(xen, SPARE)
    check(xen)


def test_words_that_cannot_be_stop_the_host() -> None:
    """A writable page that is not valid is to be used once more: early versions have a BUG."""
    xen = machine("4.1")
    xen.frames.type_info[xen.frames.index(OTHER)] = xen.abi.writable

    with pytest.raises(HostCrash, match="validated as a writable page"):
        update(xen, L1, 1, entry(OTHER, WRITABLE))


@pytest.mark.parametrize("version", LATE)
def test_later_versions_validate_a_writable_page_again(version: str) -> None:
    """The same words are nothing special there."""
    xen = machine(version)
    xen.frames.type_info[xen.frames.index(OTHER)] = xen.abi.writable

    assert 0 == update(xen, L1, 1, entry(OTHER, WRITABLE))
    assert (f"{xen.abi.writable | VALIDATED | 1:016x}", 2) == words(xen, OTHER)


@pytest.mark.parametrize("version", LATE)
def test_table_that_fails_above_a_parked_one_is_not_modelled(version: str) -> None:
    """Xen asserts that this cannot be; the model says so instead of guessing."""
    xen = machine(version)
    chain = (0x104, 0x105, 0x106)  # DATA as an L2, OTHER as an L3, SPARE as an L4
    update(xen, L1, 0, 0)
    bad = entry(0xFFFF0, PRESENT | USER)
    xen.frames.words(chain[0])[1] = bad
    xen.frames.words(chain[1])[0] = entry(chain[0], PRESENT | USER)
    xen.frames.words(chain[2])[3] = entry(chain[1], PRESENT | USER)

    with pytest.raises(NotModelled, match="half done"):
        drain(hypercall(xen, xen.vcpus[0], MmuextOp(((xen_words.PIN_L4_TABLE, chain[2], 0),))))
