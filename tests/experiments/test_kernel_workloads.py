"""vmalloc churn, memory hotplug and storms of tasks: counts that follow from the mechanism."""

from typing import Any

import pytest

from experiments.cli import main
from experiments.errors import InputError
from experiments.scenario.scenario import load
from tests.boots import run

Record = dict[str, Any]


def record_of(name: str, *overrides: str, strategy: str | None = None, **options: Any) -> Record:  # noqa: ANN401
    """The record of a run."""
    scenario = load(name, overrides)
    return run(scenario, strategy or scenario.guest.strategy, **options)


# -- vmalloc --------------------------------------------------------------------------------------

ALONE = ("guest.vcpus=1", "workload.kept=0", "workload.pause=0ns", "workload.iterations=8")


def test_area_is_an_update_a_page_and_an_emulated_exchange_a_page() -> None:
    """The guard page's entry is exchanged as well, which changes nothing."""
    counts = record_of("vmalloc", *ALONE, "workload.purge_at=1GiB")["per_iteration"]

    assert {"mmu_update": 16} == counts["hypercalls_direct"]
    assert {"L1:np_to_p_rw": 16} == counts["mmu_update_entries_by_type_and_transition"]
    assert {"p_to_np": 16} == counts["ptwr_emulations_by_transition"]
    assert 17 == counts["page_faults_into_xen"]["fixed_by_xen(ptwr/mmio-ro/gdt)"]


@pytest.mark.parametrize("vcpus", [1, 2])
def test_purge_flushes_each_cpu_once(vcpus: int) -> None:
    """Areas of 16 pages and a guard page: 34 pages wait after two, which is more than 20."""
    record = record_of(
        "vmalloc",
        *ALONE[1:],
        f"guest.vcpus={vcpus}",
        "workload.tasks=1",
        "workload.others=idle",
        "workload.warmup=2",
        "workload.purge_at=80KiB",
    )

    assert {"TLB_FLUSH_LOCAL": vcpus / 2} == record["per_iteration"]["mmuext_ops"]


def test_addresses_are_used_again_after_a_purge() -> None:
    """So churn needs no more tables: without a purge each area takes addresses of its own."""
    overrides = (*ALONE, "workload.size=1MiB", "workload.warmup=6", "workload.iterations=12")
    purged = record_of("vmalloc", *overrides, "workload.purge_at=1MiB")
    never = record_of("vmalloc", *overrides, "workload.purge_at=1GiB")

    assert 0 == purged["counts"]["pin_l1"]
    # Each area has its own 2 MiB of addresses, since alignment doubles it.
    assert 12 == never["counts"]["pin_l1"]


def test_areas_that_are_kept_are_given_back_later() -> None:
    """With three kept, the first three iterations map only; an L2 and an L1 are entered once."""
    record = record_of("vmalloc", *ALONE, "workload.kept=3", "workload.warmup=0")

    assert (8 * 16 + 2, 5 * 16) == (record["counts"]["mmu_update"], record["counts"]["ptwr"])


@pytest.mark.parametrize(("aliases", "outcome"), [("cleared", "ok"), ("left", "latent")])
def test_entry_that_is_left_keeps_its_page_from_becoming_a_table(
    aliases: str, outcome: str
) -> None:
    """A CPU that forks takes pages whose areas were given back, and wait for the purge."""
    record = record_of(
        "vmalloc",
        "workload.tasks=1",
        "workload.others=fork",
        "workload.iterations=10",
        "workload.pause=100us",
        "workload.kept=0",
        f"workload.aliases={aliases}",
    )

    assert outcome == record["outcome"]


# -- hotplug --------------------------------------------------------------------------------------

QUIET = ("guest.vcpus=1", "workload.pause=0ns", "workload.warmup=0", "workload.iterations=2")


def test_block_is_a_call_for_each_leaf_and_two_for_each_table() -> None:
    """16 MiB are 8 L1s: 4,096 leaves, 8 multicalls {read-only, pin}, 8 entries of the L2."""
    record = record_of("hotplug", *QUIET, "workload.start=256MiB")
    counts = record["per_iteration"]

    assert {"mmu_update": 4096 + 8, "multicall": 8} == counts["hypercalls_direct"]
    assert {"PIN_L1_TABLE": 8} == counts["mmuext_ops"]
    assert {"p_rw_to_ro": 8} == counts["update_va_mapping_by_transition"]
    assert {"L1": 8} == counts["page_type_validations"]


@pytest.mark.parametrize("strategy", ["reserve-hook", "tables-low"])
def test_before_3_6_leaves_of_a_fresh_table_are_stores(strategy: str) -> None:
    """2.6.39 makes two hypercalls for each L1 and wraps what is single; it flushes four times."""
    record = record_of("hotplug", *QUIET, "workload.start=256MiB", strategy=strategy)
    calls = record["per_iteration"]["hypercalls_direct"]

    assert {"mmuext_op": 8, "update_va_mapping": 8, "multicall": 8 + 4} == calls
    # Clearing and filling, 512 words each.
    assert 2 * 8 * 1024 == record["counts"]["plain_stores"]


def test_new_gib_needs_an_l2_and_the_first_page_behind_512_gib_an_l3() -> None:
    """One of each, read-only but not pinned; the L4's entry goes into the pgds that there are."""
    in_gib = record_of("hotplug", *QUIET, "workload.iterations=1", "workload.start=1GiB")
    in_l4 = record_of("hotplug", *QUIET, "workload.iterations=1", "workload.start=512GiB")

    assert {"L1": 8, "L2": 1} == in_gib["per_iteration"]["page_type_validations"]
    assert {"L1": 8, "L2": 1, "L3": 1} == in_l4["per_iteration"]["page_type_validations"]
    assert ("ok", "ok") == (in_gib["outcome"], in_l4["outcome"])


def test_new_l4_entry_is_written_into_every_pgd() -> None:
    """The kernel's own and that of the process which forks meanwhile; perhaps its child's."""
    record = record_of(
        "hotplug",
        "workload.start=524272MiB",  # the second block begins at 512 GiB
        "workload.warmup=1",
        "workload.iterations=1",
    )

    assert ("ok", None) == (record["outcome"], record["failure"])
    assert record["per_iteration"]["mmu_update_entries_by_target_page_type"]["L4"] >= 2


@pytest.mark.parametrize("others", ["fork", "vmalloc"])
def test_added_memory_is_used_at_once(others: str) -> None:
    """The machine is consistent at the end, and was never refused anything."""
    record = record_of("hotplug", f"workload.others={others}", "workload.size=4MiB")

    assert ("ok", None) == (record["outcome"], record["failure"])


# -- storms ---------------------------------------------------------------------------------------


def test_counts_of_a_task_do_not_depend_on_how_many_there_are() -> None:
    """Two tasks on two vCPUs make for each iteration the calls that one makes on one."""
    common = ("workload.kind=fork", "workload.fresh_stacks=0", "workload.pause=0ns",
              "workload.iterations=4")  # fmt: skip
    one = record_of("fork-storm", *common, "guest.vcpus=1", "workload.tasks=1")
    two = record_of("fork-storm", *common, "guest.vcpus=2", "workload.tasks=2")

    assert one["per_iteration"]["hypercalls_direct"] == two["per_iteration"]["hypercalls_direct"]
    assert (1, 2) == (one["tasks"], two["tasks"])


def test_one_task_of_a_storm_makes_the_calls_of_the_recorded_loop() -> None:
    """On one vCPU they are the same thing."""
    overrides = ("workload.iterations=4", "workload.warmup=2")
    loop = record_of("fork-1", *overrides)["per_iteration"]
    storm = record_of("fork-1", *overrides, "workload.tasks=1")["per_iteration"]

    assert loop == storm


def test_pause_is_idle_time() -> None:
    """100 pauses of 1 ms on average: the run takes longer, and nobody is busy meanwhile."""
    common = ("workload.tasks=1", "workload.iterations=100", "workload.warmup=1")
    busy = record_of("ctxsw-1", *common, "workload.pause=0ns")["time_ns"]
    idle = record_of("ctxsw-1", *common, "workload.pause=1ms")["time_ns"]

    assert 70_000_000 < idle["total"] - busy["total"] < 130_000_000
    assert idle["guest"] + idle["hypervisor"] < 1.5 * (busy["guest"] + busy["hypervisor"])


def test_pause_of_the_recorded_loop_leaves_its_counts() -> None:
    """But for the base that is loaded again after it."""
    loop = record_of("mmap-1", "workload.iterations=3")["per_iteration"]
    paused = record_of("mmap-1", "workload.iterations=3", "workload.pause=1ms")["per_iteration"]

    assert loop["mmu_update_entries_by_cmd"] == paused["mmu_update_entries_by_cmd"]


@pytest.mark.parametrize(
    "name", ["forkexec-2", "vforkexec", "cow", "mmap-2", "mprotect", "ctxsw-2"]
)
def test_more_tasks_than_vcpus_take_turns(name: str) -> None:
    """Three of them on two vCPUs, of any kind."""
    size = () if name == "ctxsw-2" else ("workload.size=64KiB",)
    common = ("guest.vcpus=2", "workload.tasks=3", "workload.iterations=2", "workload.warmup=1")
    record = record_of(name, *common, *size)

    assert ("ok", None, 3) == (record["outcome"], record["failure"], record["tasks"])


@pytest.mark.parametrize("name", ["vmalloc", "hotplug", "fork-storm"])
def test_every_event_leaves_the_record_as_it_is(name: str) -> None:
    """Timers and flushes by interrupt included."""
    small = ("workload.iterations=2", "workload.warmup=1")

    assert record_of(name, *small) == record_of(name, *small, every_event=True)


@pytest.mark.parametrize("name", ["vmalloc", "hotplug", "fork-storm"])
def test_command_runs_the_shipped_scenario(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """And shows its counts by iteration."""
    assert 0 == main(["run", name, "--quiet", "--set", "workload.iterations=2"])
    assert "per iteration" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "overrides", "expected"),
    [
        ("hotplug", ["workload.start=128MiB"], "lies below the end of RAM"),
        ("hotplug", ["workload.start=0x20000800"], "are not whole pages"),
        ("hotplug", ["workload.start=70368743178240B"], "which holds 64 TiB"),
        ("hotplug", ["workload.tasks=2"], "does not read it"),
        ("hotplug", ['guest.p2m=[{pfn="0x0", mfn="0x20000", pages=65536}]'], "leave guest.p2m out"),
        ("vmalloc", ["workload.size=6KiB"], "is not made of 4 KiB pages"),
        ("vmalloc", ["workload.size=0x0"], '"vmalloc" needs a size'),
        ("vmalloc", ["workload.aliases=kept"], "is none of cleared, left"),
        ("vmalloc", ["workload.pause=50"], "has no unit"),
        ("mtspin-2", ["workload.tasks=2"], "does not read it"),
        ("mtspin-2", ["guest.vcpus=1"], "it takes guest.vcpus = 2"),
        ("vmalloc", ["guest.strategy=shadow"], "takes direct paging"),
        ("vmalloc", ["workload.size=300MiB"], "more RAM than the guest has"),
    ],
)
def test_mistake_is_named(name: str, overrides: list[str], expected: str) -> None:
    """Whatever cannot be run is one line that says why."""
    with pytest.raises(InputError) as refusal:
        record_of(name, *overrides)

    assert expected in str(refusal.value)
