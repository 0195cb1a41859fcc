"""mmuext_op: the commands that pins and base pointers do not cover, and who may give them."""

import pytest

from models.machine.entries import PRESENT, USER
from models.xen import words as xen_words
from models.xen.hypercalls import MmuextOp
from models.xen.versions.abi import profile_names
from models.xen.versions.panic import NotModelled
from tests.models.xen.machines import (
    DATA,
    EARLY,
    L1,
    LATE,
    OTHER,
    SPARE,
    VA,
    lines,
    machine,
    mmuext,
    run,
    words,
)

EPERM, EACCES, EINVAL, ENOSYS, EOPNOTSUPP = 1, 13, 22, 38, 95


@pytest.mark.parametrize("version", EARLY)
@pytest.mark.parametrize("command", [xen_words.MARK_SUPER, xen_words.UNMARK_SUPER])
def test_superpages_are_disallowed_if_aligned(version: str, command: int) -> None:
    """The frame must be the first of 512 before anybody asks whether there are superpages."""
    xen = machine(version)

    assert (-EINVAL, -ENOSYS) == (mmuext(xen, command, 0x101), mmuext(xen, command, 0x200))
    assert ["Unaligned superpage reference mfn 101", "Superpages disallowed"] == lines(xen)


@pytest.mark.parametrize("version", LATE)
def test_later_versions_have_no_superpages(version: str) -> None:
    """Without a word."""
    xen = machine(version)

    assert -EOPNOTSUPP == mmuext(xen, xen_words.MARK_SUPER, 0x101)
    assert [] == lines(xen)


@pytest.mark.parametrize(
    ("version", "cache", "everywhere"),
    [
        ("4.1", EINVAL, EINVAL),
        ("4.2dev", EINVAL, EINVAL),
        ("4.17", EACCES, EINVAL),
        ("master", EACCES, EACCES),
    ],
)
def test_cache_flushes_need_io_memory(version: str, cache: int, everywhere: int) -> None:
    """A domain that has none is refused."""
    xen = machine(version, domid=5)

    assert -cache == mmuext(xen, xen_words.FLUSH_CACHE)
    assert -everywhere == mmuext(xen, xen_words.FLUSH_CACHE_GLOBAL)
    assert lines(xen) == (
        []
        if version in LATE
        else [
            "Non-physdev domain tried to FLUSH_CACHE.",
            "Non-physdev domain tried to FLUSH_CACHE_GLOBAL",
        ]
    )


@pytest.mark.parametrize("version", profile_names())
def test_dom0_may_flush_caches(version: str) -> None:
    """It has I/O memory."""
    xen = machine(version)

    assert (0, 0) == (
        mmuext(xen, xen_words.FLUSH_CACHE),
        mmuext(xen, xen_words.FLUSH_CACHE_GLOBAL),
    )


@pytest.mark.parametrize("version", profile_names())
def test_descriptor_tables_are_left_out(version: str) -> None:
    """One clear word instead of a wrong answer."""
    with pytest.raises(NotModelled, match="SET_LDT"):
        mmuext(machine(version), xen_words.SET_LDT)


@pytest.mark.parametrize("version", profile_names())
def test_flush_ticks_the_clock_and_single_page_flush_does_not(version: str) -> None:
    """So a remap with INVLPG does not spare the flush at a type change."""
    xen = machine(version, vcpus=2)
    before = xen.clock.now
    mmuext(xen, xen_words.INVLPG_LOCAL, VA)
    mmuext(xen, xen_words.INVLPG_ALL, VA)

    assert before == xen.clock.now
    mmuext(xen, xen_words.TLB_FLUSH_LOCAL)
    assert [before + 1, xen.clock.flushed_at[1]] == xen.clock.flushed_at
    mmuext(xen, xen_words.TLB_FLUSH_ALL)
    assert {before + 2, before + 3} == set(xen.clock.flushed_at)


@pytest.mark.parametrize("version", profile_names())
def test_flush_by_bitmap_reaches_the_named_vcpus(version: str) -> None:
    """And an unreadable bitmap is refused."""
    xen = machine(version, vcpus=3)
    xen.vcpu_bitmaps[0x5000] = 0b110
    before = list(xen.clock.flushed_at)

    assert 0 == mmuext(xen, xen_words.TLB_FLUSH_MULTI, 0, 0x5000)
    assert [True, False, False] == [
        now == then for now, then in zip(xen.clock.flushed_at, before, strict=True)
    ]
    assert -EINVAL == mmuext(xen, xen_words.TLB_FLUSH_MULTI, 0, 0x6000)


@pytest.mark.parametrize("version", profile_names())
def test_page_flush_forgets_that_page_only(version: str) -> None:
    """On all CPUs, or on this one."""
    xen = machine(version, vcpus=2)
    for pcpu in range(2):
        for va in (VA, VA + 0x1000):
            xen.clock.load(pcpu, va, DATA, writable=True)
    mmuext(xen, xen_words.INVLPG_LOCAL, VA)

    assert [1, 2] == [len(loaded) for loaded in xen.clock.loaded]
    mmuext(xen, xen_words.INVLPG_ALL, VA)
    assert [1, 1] == [len(loaded) for loaded in xen.clock.loaded]


@pytest.mark.parametrize("version", profile_names())
def test_addresses_of_the_hypervisor_are_not_flushed_by_later_versions(version: str) -> None:
    """INVLPG of an address that is not the guest's does nothing then, and is no error."""
    xen = machine(version)
    hypervisors = 0xFFFF_8300_0000_0000
    xen.clock.load(0, hypervisors, DATA, writable=False)

    assert 0 == mmuext(xen, xen_words.INVLPG_LOCAL, hypervisors)
    assert (0 if version in EARLY else 1) == len(xen.clock.loaded[0])


@pytest.mark.parametrize("version", profile_names())
def test_page_is_copied_and_cleared_under_a_temporary_type(version: str) -> None:
    """It is writable meanwhile, and may be anything afterwards."""
    xen = machine(version)
    xen.frames.words(SPARE)[3] = 77

    assert 0 == mmuext(xen, xen_words.COPY_PAGE, OTHER, SPARE)
    assert 77 == xen.frames.words(OTHER)[3]
    assert 0 == mmuext(xen, xen_words.CLEAR_PAGE, OTHER)
    assert [0] * 512 == list(xen.frames.words(OTHER))
    assert 1 == words(xen, OTHER)[1]


@pytest.mark.parametrize("version", profile_names())
def test_tables_are_not_written_by_clear_and_copy(version: str) -> None:
    """Neither is anything left of the attempt."""
    xen = machine(version)
    before = words(xen, L1), list(xen.frames.words(L1)), words(xen, SPARE)

    assert -EINVAL == mmuext(xen, xen_words.CLEAR_PAGE, L1)
    assert -EINVAL == mmuext(xen, xen_words.COPY_PAGE, L1, SPARE)
    assert before == (words(xen, L1), list(xen.frames.words(L1)), words(xen, SPARE))


@pytest.mark.parametrize("version", profile_names())
def test_user_base_may_be_none(version: str) -> None:
    """Frame 0 stands for it, and gives the former one's references back."""
    xen = machine(version)
    mmuext(xen, xen_words.NEW_USER_BASEPTR, OTHER)
    assert (OTHER, 2) == (xen.vcpus[0].user_cr3, words(xen, OTHER)[1])

    assert 0 == mmuext(xen, xen_words.NEW_USER_BASEPTR, 0)
    assert (0, 1) == (xen.vcpus[0].user_cr3, words(xen, OTHER)[1])


@pytest.mark.parametrize("version", LATE)
def test_teardown_of_an_old_base_is_continued(version: str) -> None:
    """The pointer is loaded once more when the hypercall is taken up again."""
    xen = machine(version)
    xen.frames.words(SPARE)[0] = (OTHER << 12) | PRESENT | USER
    mmuext(xen, xen_words.NEW_USER_BASEPTR, 0)
    mmuext(xen, xen_words.NEW_BASEPTR, SPARE)
    loads = xen.counters["tlb", "xen_switch_cr3"]
    call = MmuextOp(((xen_words.NEW_BASEPTR, 0x100, 0),))

    # Validating 0x100's tree asks first; the last answer falls into the teardown of OTHER, an L3.
    assert 0 == run(xen, call, preempt=(False,) * 1022 + (True,))
    assert 2 == xen.counters["tlb", "xen_switch_cr3"] - loads
    assert ("0" * 16, 1) != words(xen, OTHER)
    assert 1 == words(xen, OTHER)[1]
