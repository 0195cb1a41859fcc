"""Boots whose alike regions are told from the first of them, and boots that map each: the same."""

from collections import Counter
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from experiments.record.events import TimingLog
from experiments.scenario.scenario import load
from models.linux.boot.direct_map_phase import boot
from models.linux.boot.guest import Guest
from models.linux.boot.strategy import Strategy
from models.linux.crash import GuestCrash
from models.linux.start_state import build as domain_builder
from models.linux.start_state.build import CannotBuild
from models.linux.start_state.geometry import Geometry
from models.profiles.catalogue import load_profile
from models.profiles.prices import prices
from models.strategies.catalogue import find_strategy, strategy_names
from models.strategies.recombine import WAYS, Senseless, recombine
from models.xen.versions.abi import find_abi, profile_names
from sim.effects import Activity
from sim.instant import drain
from sim.recording import Recording
from sim.streams import Streams
from sim.timed import Simulation
from tests.boots import run
from tests.everything import differences, everything
from tests.properties.geometries import GIB, MIB, far_geometries, geometries
from tests.properties.test_geometries import SURVIVORS, contiguous
from tests.repetitions import Repetitions
from tests.sim.timed_run import Notes

PRICES = prices(load_profile("nehalem-2011"))
SLOWLY = (HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large)


class Way(NamedTuple):
    """How a boot is made."""

    xen: str = "4.2dev"
    debug: bool = True
    timed: bool = True
    seed: int = 0


def booted(
    geometry: Geometry, plan: Strategy, way: Way, *, refused: bool
) -> tuple[dict[str, Any], Repetitions]:
    """All that is left of a boot, and what was told again in it."""
    start = domain_builder.build(
        geometry, plan.kernel, find_abi(way.xen), debug=way.debug, pcpus=1, paging=plan.paging
    )
    guest = Guest(start, plan)
    repetitions = Repetitions(refused=refused)
    kernel = repetitions.over(boot(guest))
    notes = Notes()
    simulation = Simulation(PRICES, Streams(way.seed), probe=notes)
    failure = None
    try:
        if way.timed:
            simulation.start(kernel)
            simulation.run()
        else:
            drain(kernel)
    except GuestCrash as crash:
        failure = (crash.kind, str(crash), crash.pfn)
    left = everything(guest)
    left["failure"] = failure
    if way.timed:
        left["notes"] = notes.all
        left["time"] = simulation.time_ns
        left["accounts"] = simulation.vcpus[0].accounts
    return left, repetitions


def require_same(geometry: Geometry, plan: Strategy, way: Way) -> Repetitions:
    """Boot with and without repetitions, and compare all there is; what was told again."""
    fast, repetitions = booted(geometry, plan, way, refused=False)
    ordinary, refused = booted(geometry, plan, way, refused=True)

    assert [] == differences(ordinary, fast)
    assert (0, []) == (refused.marks, refused.told)
    return repetitions


@st.composite
def plans(draw: st.DrawFn) -> Strategy:
    """A strategy, as it is or with other parts."""
    plan = find_strategy(draw(st.sampled_from(strategy_names())))
    parts = draw(st.sets(st.sampled_from(sorted(WAYS)), max_size=3))
    words = {part: draw(st.sampled_from(sorted(WAYS[part]))) for part in sorted(parts)}
    try:
        return recombine(plan, words)
    except Senseless:
        return plan


ways = st.builds(
    Way, st.sampled_from(profile_names()), st.booleans(), st.booleans(), st.integers(0, 3)
)


def _require_same_of_any(memory_map: Geometry, plan: Strategy, way: Way) -> None:
    try:
        repetitions = require_same(memory_map, plan, way)
        event("told" if repetitions.told else "not told")
    except CannotBuild:
        assume(False)  # noqa: FBT003 - no such guest


@given(memory_map=geometries(sizes=(160 * MIB, 700 * MIB)), plan=plans(), way=ways)
@settings(max_examples=14, deadline=None, suppress_health_check=SLOWLY)
def test_any_boot_is_the_same_with_alike_regions_told_from_the_first(
    memory_map: Geometry, plan: Strategy, way: Way
) -> None:
    """Time, notes, every frame and page, counters, console, and all that the kernel knows."""
    _require_same_of_any(memory_map, plan, way)


@pytest.mark.long
@given(memory_map=geometries(), plan=plans(), way=ways)
@settings(max_examples=400, deadline=None, suppress_health_check=SLOWLY)
def test_any_larger_boot_is_the_same_with_alike_regions_told_from_the_first(
    memory_map: Geometry, plan: Strategy, way: Way
) -> None:
    """Up to 5 GiB, so that whole L2s of regions are alike."""
    _require_same_of_any(memory_map, plan, way)


@pytest.mark.long
@given(memory_map=far_geometries(), plan=plans(), way=ways)
@settings(max_examples=20, deadline=None, suppress_health_check=SLOWLY)
def test_any_boot_with_ram_behind_512_gib_is_the_same(
    memory_map: Geometry, plan: Strategy, way: Way
) -> None:
    """More than one L3, and far too large a buffer."""
    _require_same_of_any(memory_map, plan, way)


# A buffer for 9 GiB of addresses, of which most is not used: 2 MiB for each GiB of the hole.
LEFT_OVER = Geometry(
    kind="domU",
    e820=((0, 200 * MIB << 12), (8 * GIB << 12, 9 * GIB + 7 * 512 << 12)),
    kernel_end=44 * MIB << 12,
)


@pytest.mark.parametrize(
    "strategy", ["shadow", "patch-alias", pytest.param("hook-walk", marks=pytest.mark.long)]
)
def test_regions_of_pages_set_aside_for_tables_are_told_one_by_one(strategy: str) -> None:
    """Each is told to the observers when it is filled, whether its pages became tables or not.

    The last seven regions, in a GiB of their own, are what is left of the buffer.
    """
    repetitions = require_same(LEFT_OVER, find_strategy(strategy), Way())

    assert repetitions.told


# -- that it happens ------------------------------------------------------------------------------

# Where the first GiB is one run, as far as the builder has not mapped it (24 regions of 256, or 26
# with the p2m list in the image); the first may be no example, and the last is an ordinary one.
NOT_TOLD = {
    "hook-walk": "its L1s go into a live table, and are walked: a table lies in one of the regions",
    "auto-translated": "leaves of 2 MiB",
    "offline-pin": "a walk of its own",
}
TELLING = [name for name in strategy_names() if name not in NOT_TOLD]


@pytest.mark.parametrize("strategy", TELLING)
def test_nearly_all_regions_of_a_plain_guest_are_told(strategy: str) -> None:
    """All but those that the builder mapped, that hold tables, and the first and last of a run."""
    repetitions = require_same(
        contiguous(512 * MIB), find_strategy(strategy), Way(SURVIVORS.get(strategy, "4.2dev"))
    )

    assert len(repetitions.told) <= 3
    assert sum(repetitions.told) >= 256 - 26 - 6


@pytest.mark.parametrize(
    ("strategy", "least"),
    [
        ("reserve-hook", 2),
        ("mapped-only-6.1", 1),  # it maps 2 MiB, 64 MiB and 2 GiB from the top: one GiB is whole
        pytest.param("hook-walk", 1, marks=pytest.mark.long),  # not the one with its tables
    ],
)
def test_whole_l2s_are_told(strategy: str, least: int) -> None:
    """Of the 512 regions of a GiB, all but the first and the last."""
    _, repetitions = booted(
        contiguous(3 * GIB + 8 * MIB),
        find_strategy(strategy),
        Way(SURVIVORS[strategy], timed=False),
        refused=False,
    )

    assert Counter(repetitions.told)[510] >= least


DOM0 = Geometry(
    kind="dom0",
    e820=((0, 0x9F << 12), (0x100 << 12, 96 * MIB << 12), (128 * MIB << 12, 160 * MIB << 12)),
    kernel_end=44 * MIB << 12,
    identity=((96 * MIB << 12, 128 * MIB << 12),),
)


@pytest.mark.parametrize("strategy", ["reserve-hook", "tables-high", "tables-first"])
def test_one_to_one_leaves_of_the_control_domain_are_told(strategy: str) -> None:
    """Of each region that the host's own memory fills, all leaves but the first and the last."""
    repetitions = require_same(DOM0, find_strategy(strategy), Way())

    assert 32 * MIB // 512 == Counter(repetitions.told)[510]


def test_one_to_one_leaves_of_a_live_table_are_not_told() -> None:
    """Each is looked at by Xen."""
    few = msgspec.structs.replace(DOM0, identity=((96 * MIB << 12, 96 * MIB + 1024 << 12),))

    repetitions = require_same(few, find_strategy("ptwr-fill"), Way())

    assert 0 == Counter(repetitions.told)[510]


# -- and that it does not, where somebody looks on ------------------------------------------------


class _Counted:
    """Repetitions of all kernels that a run boots."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.all: list[Repetitions] = []
        monkeypatch.setattr("experiments.subjects.boot.boot", self._boot)

    def _boot(self, guest: Guest) -> Activity:
        self.all.append(Repetitions())
        return self.all[-1].over(boot(guest))

    @property
    def told(self) -> int:
        """How much was told again."""
        return sum(sum(each.told) for each in self.all)


@pytest.mark.parametrize("settings", [{"every_event": True}, {"check": True}, {"log": TimingLog()}])
def test_nothing_is_told_again_where_somebody_looks_on(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each event, at each step or at each call; the record is the same."""
    counted = _Counted(monkeypatch)
    scenario = load("guest-512M", ["guest.ram=64MiB", "guest.kernel_end=20MiB"])

    plain = run(scenario, "reserve-hook")
    told = counted.told
    assert plain == run(scenario, "reserve-hook", **settings)

    assert told == counted.told > 0


def test_nothing_is_told_again_in_a_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step has its line."""
    counted = _Counted(monkeypatch)
    scenario = load("guest-512M", ["guest.ram=64MiB", "guest.kernel_end=20MiB"])

    plain = run(scenario, "reserve-hook")
    told = counted.told
    assert plain == run(scenario, "reserve-hook", follower=Recording())

    assert told == counted.told > 0
