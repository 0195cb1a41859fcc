"""Questions about many pages in one: each gets the answer that it would get alone."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.linux.boot.page_set import PageSet
from models.machine.entries import INVALID_MFN
from models.xen.state import MachineToPhys
from models.xen.versions.abi import find_abi, profile_names

_UNSET = [find_abi(version).unset_m2p for version in profile_names()]
_PFNS = st.one_of(st.integers(0, 40), st.integers(1000, 1040), st.sampled_from(_UNSET))
_MFNS = st.one_of(st.integers(0, 60), st.sampled_from([0xFEE00, 1 << 32, INVALID_MFN]))
# The domain's memory begins and ends inside the drawn numbers, and has a hole.
_EXTENTS = [(3, 10, 100), (20, 5, 0), (25, 8, 1 << 30)]


@given(st.sets(st.integers(0, 1040)), st.lists(_PFNS, max_size=30))
def test_pages_of_a_set_are_found_among_others(known: set[int], asked: list[int]) -> None:
    """The same page may be asked for again, and be none that there is."""
    pages = PageSet(known)

    assert [pfn in known for pfn in asked] == pages.among(np.array(asked, np.uint64)).tolist()


@given(st.sets(st.integers(0, 20)), st.sets(st.integers(0, 20)), st.integers(0, 20))
def test_set_without_a_page_has_all_others(first: set[int], more: set[int], pfn: int) -> None:
    """Whether the page was in it or not; the set itself stays as it is."""
    pages = PageSet(first)
    for page in more:
        pages.add(page)

    assert sorted((first | more) - {pfn}) == pages.without(pfn).between(0, 21)
    assert sorted(first | more) == pages.between(0, 21)


@given(
    st.sampled_from(_UNSET),
    st.dictionaries(_MFNS, st.integers(0, 1 << 40), max_size=2),
    st.lists(_MFNS, max_size=30),
)
def test_pages_of_frames_are_told_as_each_is(
    unset: int, updates: dict[int, int], mfns: list[int]
) -> None:
    """Frames of the domain's and others, and such that a machphys update has changed."""
    m2p = MachineToPhys(_EXTENTS, unset, updates)

    assert [m2p.pfn(mfn) for mfn in mfns] == m2p.pfns(np.array(mfns, np.uint64)).tolist()
