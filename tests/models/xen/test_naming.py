"""Words of a footprint in the words that people use."""

import pytest

from models.machine.entries import ACCESSED, DIRTY, PRESENT, RW, USER
from models.xen.checks.naming import is_entry, named, operation, says_what_a_page_is, told
from models.xen.gate import hypercall
from models.xen.hypercalls import MmuUpdate
from models.xen.versions.abi import find_abi, profile_names
from models.xen.words import PIN_L1_TABLE, PINNED, VALIDATED
from sim.explore.execution import InTurn, execute
from sim.footprint import Access, Kind, Recorder
from tests.models.xen.machines import DATA, L1, OTHER, entry, machine, mmuext

XEN = machine("4.17")
DATA_AT, L1_AT = XEN.frames.index(DATA), XEN.frames.index(L1)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        (("type_info", DATA_AT), "type_info of mfn 104"),
        (("count_info", L1_AT), "count_info of mfn 103"),
        ((f"mfn {L1:x}", 5), "entry 5 of the L1 mfn 103"),
        ((f"mfn {DATA:x}", 5), "entry 5 of mfn 104"),
        ((f"mfn {0xDEAD:x}", 5), "entry 5 of mfn dead"),
        (
            ("translations of CPU 1", 0xFFFF888000123),
            "translations of CPU 1, page ffff888000123000",
        ),
        (("translations of CPU 1", "all"), "all translations of CPU 1"),
        (("m2p", 0x104), "pfn of mfn 104"),
        (("flush clock", 0), "flush clock"),
        (("flushed at", 1), "last flush of CPU 1"),
        (("linear count", DATA_AT), "linear count of mfn 104"),
        (("acknowledgements of vCPU", 1), "acknowledgements of vCPU 1"),
        ("mm", "mm"),
    ],
)
def test_names_of_words(word: object, expected: str) -> None:
    """Frames go by their numbers, never by a place in a column."""
    assert expected == named(XEN, word)


@pytest.mark.parametrize("version", profile_names())
def test_type_word_is_type_flags_and_count(version: str) -> None:
    """A writable page is always validated, which goes without saying."""
    xen, abi = machine(version), find_abi(version)
    word = ("type_info", xen.frames.index(DATA))
    table = abi.l1 | PINNED | VALIDATED | 1

    assert "type_info of mfn 104: 0 -> L1|pinned|validated|1" == told(
        xen, Access(Kind.WRITE, word, 0, table)
    )
    assert "type_info of mfn 104: writable|2" == told(
        xen, Access(Kind.READ, word, abi.writable | VALIDATED | 2, abi.writable | VALIDATED | 2)
    )
    assert "type_info of mfn 104: L1|locked|1" == told(
        xen, Access(Kind.READ, word, abi.l1 | abi.locked | 1, abi.l1 | abi.locked | 1)
    )


def test_entry_is_a_page_and_how_it_is_mapped() -> None:
    """A change of the same page names it once."""
    word = (f"mfn {L1:x}", 0)
    writable = entry(DATA, PRESENT | RW | USER | ACCESSED | DIRTY)
    read_only = entry(DATA, PRESENT | USER)

    assert "entry 0 of the L1 mfn 103: mfn 104 RW A D -> RO" == told(
        XEN, Access(Kind.WRITE, word, writable, read_only)
    )
    assert "entry 0 of the L1 mfn 103: mfn 104 RO -> mfn 105 RO" == told(
        XEN, Access(Kind.WRITE, word, read_only, entry(OTHER, PRESENT | USER))
    )
    assert "entry 0 of the L1 mfn 103: mfn 104 RO -> empty" == told(
        XEN, Access(Kind.WRITE, word, read_only, 0)
    )
    assert "entry 0 of the L1 mfn 103: 0x8" == told(XEN, Access(Kind.READ, word, 8, 8))


def test_scan_is_of_a_page() -> None:
    """From the first place to the last."""
    word = (f"mfn {L1:x}", "entries")

    assert "entries 0 to 511 of the L1 mfn 103" == told(XEN, Access(Kind.SCAN, word, 0, 511))


def test_counts_and_translations() -> None:
    """Of a count only what counts; of a translation where it leads."""
    count = Access(Kind.ADD, ("count_info", DATA_AT), (1 << 63) + 2, (1 << 63) + 3)
    loaded = Access(Kind.WRITE, ("translations of CPU 0", 0x10), -1, DATA << 1 | 1)

    assert "count_info of mfn 104: 2 -> 3" == told(XEN, count)
    assert "translations of CPU 0, page 10000: none -> mfn 104 RW" == told(XEN, loaded)


def test_only_entries_and_types_say_what_a_page_is() -> None:
    """Counts, stamps and translations do not."""
    assert says_what_a_page_is(("type_info", 3))
    assert says_what_a_page_is(("mfn 103", 3))
    assert is_entry(("mfn 103", 3))
    assert not says_what_a_page_is(("count_info", 3))
    assert not says_what_a_page_is(("m2p", 3))
    assert not says_what_a_page_is("mm")


def test_operations_of_the_hypervisor() -> None:
    """The call, without the gates that each goes through; of mmuext_op which operation."""
    gates = ("hypercall", "_run", "_do_multicall")

    assert "update_va_mapping" == operation((*gates, "do_update_va_mapping", "_update"))
    assert "mmuext_op > pin_table" == operation(("hypercall", "_run", "do_mmuext_op", "pin_table"))
    assert "mmuext_op" == operation(("hypercall", "_run", "do_mmuext_op"))
    assert "hypercall" == operation(("hypercall",))
    assert "emulate_store" == operation(("emulate_store", "_store"))


@pytest.mark.parametrize("version", profile_names())
def test_every_word_that_a_call_touches_has_a_name(version: str) -> None:
    """Of an update and a pin: each with its frame, its table or its clock."""
    xen = machine(version)
    mmuext(xen, PIN_L1_TABLE, OTHER)
    recorder = Recorder()
    xen.record(recorder)
    mapping = MmuUpdate((((L1 << 12) + 8, entry(DATA, PRESENT | USER)),))
    execution = execute([hypercall(xen, xen.vcpus[0], mapping)], InTurn(), recorder=recorder)

    said = [told(xen, access) for step in execution.steps for access in step.accesses]

    assert "entry 1 of the L1 mfn 103: empty -> mfn 104 RO" in said
    assert all(" of " in line or line.startswith("flush clock") for line in said), said
