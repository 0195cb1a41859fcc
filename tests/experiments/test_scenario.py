"""Scenario files: what ships, what a file says about a machine, and which mistakes are named."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.errors import InputError
from experiments.scenario.quantities import format_duration, format_size, parse_duration, parse_size
from experiments.scenario.scenario import geometry, load, scenario_hash, shipped
from models.linux.start_state.geometry import Allocation, BrkWindow
from tests.boots import run

SHIPPED = [
    "cow",
    "ctxsw-1",
    "ctxsw-2",
    "dom0-2011",
    "dom0-256M-6.1",
    "dom0-2G-6.1",
    "dom0-512M-6.1",
    "domU-256M-6.1",
    "domU-7.5GiB-2011",
    "fork-1",
    "fork-2",
    "fork-storm",
    "forkbig-1",
    "forkbig-2",
    "forkexec-1",
    "forkexec-2",
    "guest-2G",
    "guest-4G",
    "guest-512M",
    "guest-64G",
    "hotplug",
    "mmap-1",
    "mmap-2",
    "mprotect",
    "mtspin-2",
    "parallel-boot",
    "parallel-boot-tiny",
    "vforkexec",
    "vmalloc",
    "w1-alias-after-hook",
    "w2-unhooked-sibling",
    "w3-self-map",
    "w4-parent-alias",
    "w5-beyond-512g",
    "w6-walker-mapping",
    "w7-writable-slot",
    "w8-only-a-warning",
]


def complaint(source: str, *overrides: str) -> str:
    """What is said about a scenario that cannot be used."""
    with pytest.raises(InputError) as refusal:
        load(source, overrides)
    return str(refusal.value)


def test_shipped_scenarios_are_listed_by_name() -> None:
    """What can be run is what is listed."""
    assert SHIPPED == [scenario.name for scenario in shipped()]


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_scenario_is_valid_and_bears_its_name(name: str) -> None:
    """A file's name and the name in it agree, and a summary tells what it is."""
    scenario = load(name)

    assert (name, True) == (scenario.name, bool(scenario.summary))


def test_ram_is_contiguous_with_the_slack_above() -> None:
    """7.5 GiB and 8 MiB of slack end where the boot log of 2011 does, at 0x1e0800000."""
    assert geometry(load("domU-7.5GiB-2011")).e820 == ((0, 0x1_E080_0000),)


def test_page_of_the_published_crash_has_the_published_frame() -> None:
    """In dom0-2011, pfn bacf7 is mfn b1d89."""
    extents = geometry(load("dom0-2011")).p2m or ()

    (extent,) = (x for x in extents if x.pfn <= 0xBACF7 < x.pfn + x.pages)
    assert extent.mfn + 0xBACF7 - extent.pfn == 0xB1D89


def test_recorded_frames_start_at_0x20000() -> None:
    """In the recording of dom0 with 256 MiB, the kernel's page 0x4401 is frame 0x24401."""
    extents = geometry(load("dom0-256M-6.1")).p2m or ()

    (extent,) = (x for x in extents if x.pfn <= 0x4401 < x.pfn + x.pages)
    assert extent.mfn + 0x4401 - extent.pfn == 0x24401


def test_recorded_brk_window_is_16_pages() -> None:
    """Linux 6.1 with five-level paging and randomised memory sets 16 pages aside."""
    assert BrkWindow(0x4401000, 16) == geometry(load("dom0-256M-6.1")).brk_tables


def test_allocation_after_the_mapping_has_a_name_and_a_size() -> None:
    """The key ``alloc`` of the file is the allocation's name."""
    assert (Allocation("NODE_DATA", 0x5000),) == geometry(load("domU-7.5GiB-2011")).after_mapping


def test_geometry_is_plain_data() -> None:
    """Nothing of the way in which sizes are written is left in the numbers."""
    assert msgspec.json.encode(geometry(load("guest-2G")))


def test_file_is_read_by_its_path(tmp_path: Path) -> None:
    """Machines of the user's own need nothing but a file; it lends its name to the scenario."""
    (tmp_path / "mine.toml").write_text('[guest]\nram = "1GiB"\n')

    assert load(str(tmp_path / "mine.toml")).name == "mine"


@pytest.mark.parametrize(
    ("override", "section", "key", "expected"),
    [
        ("guest.ram=4GiB", "guest", "ram", 4 << 30),
        ('guest.ram="4GiB"', "guest", "ram", 4 << 30),
        ("guest.kernel_end=0x3000000", "guest", "kernel_end", 0x3000000),
        ("guest.early_mapping_after=false", "guest", "early_mapping_after", False),
        ('guest.reserved=[["0x0", "0x1000"]]', "guest", "reserved", ((0, 0x1000),)),
        ("machine.xen=4.17", "machine", "xen", "4.17"),
        ("machine.profile=modern-2023", "machine", "profile", "modern-2023"),
        ("machine.latency.invlpg=0.15us", "machine", "latency", {"invlpg": 150.0}),
    ],
)
def test_override_changes_one_key(override: str, section: str, key: str, expected: object) -> None:
    """What follows --set is read as TOML where that makes sense, and as a word elsewhere."""
    scenario = load("guest-2G", [override])

    assert expected == getattr(getattr(scenario, section), key)


def test_hash_ignores_name_and_summary() -> None:
    """A machine that is called otherwise is the same machine."""
    renamed = load("guest-2G", ["name=other", "summary=something else"])

    assert scenario_hash(load("guest-2G")) == scenario_hash(renamed)


def test_hash_ignores_how_a_size_is_written() -> None:
    """2 GiB are 2048 MiB."""
    rewritten = load("guest-2G", ["guest.ram=2048MiB"])

    assert scenario_hash(load("guest-2G")) == scenario_hash(rewritten)


def test_hash_tells_machines_apart() -> None:
    """Whatever may change a run changes the hash."""
    other = load("guest-2G", ["guest.kernel_end=48MiB"])

    assert scenario_hash(load("guest-2G")) != scenario_hash(other)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        # Keys.
        (["guest.rom=2GiB"], "unknown key guest.rom; did you mean ram?"),
        (["guests.ram=2GiB"], "unknown key guests; did you mean guest?"),
        (["guest.brk_tables.start=0x1000"], "guest.brk_tables.pages is missing"),
        (["guest.vcpus=0"], "guest.vcpus = 0: expected int >= 1"),
        (["machine.pcpus=two"], 'machine.pcpus = "two": expected int, got str'),
        (["guest=3"], "guest = 3: expected a table, got int"),
        (["guest.kind=dom1"], 'guest.kind = "dom1" is none of dom0, domU'),
        (
            ["expect.outcome=fine"],
            'expect.outcome = "fine" is none of ok, crash, latent, deadlock',
        ),
        (
            ["guest.ram"],
            "--set guest.ram: not of the form dotted.key=value, as guest.ram=4GiB",
        ),
        (["name.x=1"], "--set name.x=1: name is a value and has no keys in it"),
        # Quantities.
        (
            ["guest.ram=2048"],
            'guest.ram = 2048 has no unit; write for instance "2048MiB" or "0x5000" (bytes)',
        ),
        (
            ['guest.ram="2048"'],
            'guest.ram = "2048" has no unit; write for instance "2048MiB" or "0x5000" (bytes)',
        ),
        (
            ["guest.ram=2GB"],
            (
                'guest.ram = "2GB" is not a size; write a number with B, KiB, MiB, GiB, TiB, '
                'or "0x5000" (bytes)'
            ),
        ),
        (["guest.ram=0.3KiB"], 'guest.ram = "0.3KiB" is not a whole number of bytes'),
        (["guest.ram=3KiB"], "guest.ram = 0xc00 is not a multiple of a 4 KiB page"),
        (
            ["machine.latency.invlpg=140"],
            'machine.latency.invlpg = 140 has no unit; write for instance "140ns"',
        ),
        # The machine.
        (
            ["machine.latency.invlpg=1us"],
            "machine: invlpg = 1000 ns is outside what profile nehalem-2011 allows, 60 to 200 ns",
        ),
        (
            ["machine.latency.invlp=100ns"],
            "machine: latency profile nehalem-2011 has no cost 'invlp'; did you mean 'invlpg'?",
        ),
        (
            ["machine.profile=p4-2003-2005"],
            (
                'machine.profile = "p4-2003-2005" only replays one published measurement and lacks '
                "costs that a boot needs"
            ),
        ),
        (["guest.strategy=reserve-hok"], "no strategy 'reserve-hok'; did you mean reserve-hook?"),
        (["workload.kind=hotplg"], 'workload.kind = "hotplg" is unknown; did you mean hotplug?'),
        (["workload.kind=boo"], 'workload.kind = "boo" is unknown; did you mean boot?'),
        # The memory map.
        (
            ['guest.e820=[["0x0", "0x80000000"]]'],
            "guest has both ram and e820; give ram for RAM without a hole, or else e820",
        ),
        (["guest.ram=0x0"], "guest.ram is empty; a guest has RAM"),
        (
            ["guest.ram=32MiB"],
            (
                "guest is too small for its kernel: RAM ends at 32 MiB, but the image (to 44 MiB) "
                "and the page tables of the domain builder need 48 MiB"
            ),
        ),
        (
            ["guest.ram=8MiB", "guest.kernel_end=20MiB"],
            (
                "guest.kernel_start = 0x1000000 is not in RAM; the guest needs RAM for its kernel, "
                "[0x1000000, 0x1400000)"
            ),
        ),
        (
            ["guest.kernel_end=16MiB"],
            "guest.kernel_end = 0x1000000 is not above guest.kernel_start = 0x1000000",
        ),
        (
            ["guest.ram=65TiB"],
            "guest.ram ends at 0x410000000000; Linux's direct map holds 64 TiB at most",
        ),
        (
            ['guest.without_mfn=[["0x80000000", "0x80001000"]]'],
            "guest.without_mfn lies outside RAM at [0x80000000, 0x80001000)",
        ),
        (
            ['guest.identity=[["0x7ffff000", "0x80001000"]]'],
            "guest.identity: [0x7ffff000, 0x80000000) is RAM; only what is no RAM is mapped 1:1",
        ),
        (
            ['guest.reserved=[["0x2000", "0x1000"]]'],
            (
                "guest.reserved: [0x2000, 0x1000) is empty or reversed; "
                'write ["start", "end"], the end not included'
            ),
        ),
        (
            ['guest.reserved=[["0x1000", "0x1001"]]'],
            (
                "guest.reserved: [0x1000, 0x1001) is not made of 4 KiB pages; "
                "write multiples of 0x1000"
            ),
        ),
        (
            ["guest.p2m=[{pfn = 0, mfn = 0x1000, pages = 0x7ffff}]"],
            (
                "guest.p2m has no frame for [0x7ffff000, 0x80000000); add an extent, or list it in "
                "guest.without_mfn"
            ),
        ),
        (
            ["guest.p2m=[{pfn = 0, mfn = 0, pages = 9}, {pfn = 8, mfn = 99, pages = 9}]"],
            "guest.p2m has pfn 0x8 twice",
        ),
        (
            ["guest.p2m=[{pfn = 0, mfn = 0, pages = 9}, {pfn = 9, mfn = 8, pages = 9}]"],
            "guest.p2m has mfn 0x8 twice",
        ),
        (
            ['guest.p2m=[{pfn = 0, mfn = "0xfffffff000", pages = 0x80000}]'],
            (
                "guest.p2m: 0x80000 pages from pfn 0x0 and mfn 0xfffffff000 on reach beyond x86's "
                "52 bits of address"
            ),
        ),
        (
            ["guest.kernel_end=0x1010000"],
            (
                "guest.kernel_end = 0x1010000 makes an image of 64 KiB; the kernel's own page "
                "tables and its BRK area need 256 KiB"
            ),
        ),
    ],
)
def test_mistake_is_named_in_one_line(overrides: list[str], expected: str) -> None:
    """Where it is, what is wrong, what would be right."""
    assert f"guest-2G: {expected}" == complaint("guest-2G", *overrides)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (
            'guest.brk_tables={start="0x9f000", pages=16}',
            "guest.brk_tables: [0x9f000, 0xaf000) lies outside RAM at [0x9f000, 0xaf000)",
        ),
        (
            "guest.static_tables=0x80060000",
            (
                "guest.static_tables: [0x80060000, 0x80068000) lies outside RAM at "
                "[0x80061000, 0x80068000)"
            ),
        ),
        (
            'guest.brk_tables={start="0x4bff000", pages=4}',
            (
                "guest.brk_tables: [0x4bff000, 0x4c03000) does not lie in what the domain "
                "builder's 38 L1 tables map, [0x0, 0x4c00000); raise builder_l1_tables"
            ),
        ),
        (
            "guest.kernel_end=80MiB",
            (
                "guest.kernel_end: [0x1000000, 0x5000000) does not lie in what the domain "
                "builder's 38 L1 tables map, [0x0, 0x4c00000); raise builder_l1_tables"
            ),
        ),
    ],
)
def test_place_that_no_kernel_could_use_is_refused(override: str, expected: str) -> None:
    """What a kernel uses before it has a direct map lies in RAM that the builder has mapped."""
    assert f"dom0-2G-6.1: {expected}" == complaint("dom0-2G-6.1", override)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (
            'guest.absent_in_builder_map=[["0x2a10000", "0x2a11000"]]',
            "page 0x2a10, a page table of the start state, is not mapped",
        ),
        (
            'guest.without_mfn=[["0x4401000", "0x4402000"]]',
            "page 0x4401 of the BRK window is not mapped writable when the kernel begins",
        ),
        (
            "guest.static_tables=0x4a02000",
            "the tables of the start state collide with something: Xen gave -22 for pfn 4a02",
        ),
    ],
)
def test_start_state_that_cannot_be_built_is_refused(override: str, expected: str) -> None:
    """No crash of the guest is made of a map in which its kernel could not have started."""
    with pytest.raises(InputError) as refusal:
        run(load("dom0-2G-6.1", [override]), "mapped-only-6.1")

    assert f"guest: {expected}" == str(refusal.value)


def test_p2m_list_without_room_is_refused_for_the_kernels_that_need_it_there(
    tmp_path: Path,
) -> None:
    """The list for 32 GiB does not fit below 64 MiB, where the first piece of RAM ends."""
    path = tmp_path / "mine.toml"
    path.write_text('[guest]\ne820 = [["0x0", "0x4000000"], ["0x100000000", "0x900000000"]]\n')

    with pytest.raises(InputError, match="p2m list") as refusal:
        run(load(str(path)), "reserve-hook")
    assert "need RAM up to 0x7000000, but there is none at 0x4000000" in str(refusal.value)


@pytest.mark.parametrize(
    ("e820", "expected"),
    [
        (
            '[["0x100000", "0x8000000"], ["0x0", "0x9f000"]]',
            "guest.e820 is not sorted: [0x0, 0x9f000) stands behind [0x100000, 0x8000000)",
        ),
        (
            '[["0x0", "0x200000"], ["0x100000", "0x8000000"]]',
            "guest.e820: [0x0, 0x200000) and [0x100000, 0x8000000) overlap",
        ),
        ("[]", "guest.e820 is empty; a guest has RAM"),
        (
            '[[0, "0x8000000"]]',
            'guest.e820[0][0] = 0 has no unit; write for instance "0MiB" or "0x5000" (bytes)',
        ),
    ],
)
def test_impossible_e820_is_refused(e820: str, expected: str) -> None:
    """Usable ranges are sorted and disjoint."""
    assert f"dom0-2011: {expected}" == complaint("dom0-2011", f"guest.e820={e820}")


def test_unknown_abi_profile_is_answered_with_those_there_are() -> None:
    """Only versions of Xen that are modelled can be chosen."""
    assert 'machine.xen = "3.4" is no ABI profile; there are' in complaint(
        "guest-2G", "machine.xen=3.4"
    )


def test_file_that_is_no_toml_is_refused_with_the_place(tmp_path: Path) -> None:
    """The line of the mistake is named."""
    path = tmp_path / "mine.toml"
    path.write_text("[guest]\nram = 2GiB\n")

    assert complaint(str(path)).startswith(f"{path}: not TOML: ")


def test_unknown_scenario_is_answered_with_the_nearest() -> None:
    """A slip of the finger is enough to tell what was meant."""
    expected = "no shipped scenario 'guest-2g' (a path ends in .toml or has a slash); "
    assert expected + "did you mean guest-2G?" == complaint("guest-2g")


def test_missing_file_is_named(tmp_path: Path) -> None:
    """A path is never taken for the name of a shipped scenario."""
    path = f"{tmp_path}/guest-2G.toml"
    assert f"cannot read scenario {path}: No such file or directory" == complaint(path)


@given(st.integers(min_value=0, max_value=1 << 52))
def test_every_hexadecimal_size_is_read_exactly(size: int) -> None:
    """No rounding comes between a file and the machine."""
    assert size == parse_size(hex(size))


@given(st.integers(min_value=0, max_value=1 << 20), st.sampled_from(["KiB", "MiB", "GiB"]))
def test_whole_sizes_are_read_as_they_are_shown(number: int, unit: str) -> None:
    """A size that a message shows without rounding can be copied into a scenario."""
    shown = format_size(parse_size(f"{number}{unit}"))

    assert "." in shown or parse_size(shown) == parse_size(f"{number}{unit}")


@pytest.mark.parametrize(
    ("text", "expected"), [("30ns", 30.0), ("0.3ns", 0.3), ("1.5us", 1500.0), ("2 ms", 2e6)]
)
def test_duration_is_read_in_ns(text: str, expected: float) -> None:
    """Costs below a nanosecond are as good as others."""
    assert expected == parse_duration(text)


@pytest.mark.parametrize(
    ("duration_ns", "expected"),
    [(0, "0 ns"), (999, "999 ns"), (27_301_112, "27.301 ms"), (2_000_000_000, "2 s")],
)
def test_duration_is_shown_in_the_largest_unit_it_fills(duration_ns: int, expected: str) -> None:
    """Three decimals tell enough."""
    assert expected == format_duration(duration_ns)
