"""What a CPU keeps beside the tables: masks, translations, buffers, forgotten mappings."""

from collections.abc import Callable, Sequence

import pytest

from models.linux.run import switching
from models.linux.run.faults import l1_for, touch
from models.linux.run.highmem import PKMAP_BASE, HighMemory
from models.linux.run.kernel import Cpu
from models.linux.run.mapping import map_area, unmap
from models.linux.run.mm import Area, Mm, entry_at
from models.linux.run.pv_mmu import set_pte
from models.linux.start_state.p2m import PAGE_KERNEL
from models.machine.entries import PAGE_SHIFT, PRESENT, mfn_of
from models.machine.tlb import Translation
from models.races.catalogue.index import RACES
from models.races.race import Stage
from models.races.stages.fork_and_reclaim import FIRST_PAGE
from models.races.stages.stage import fresh
from models.races.verdict import judge
from models.xen.accesses import held_against_tables, walk_ahead
from models.xen.state import Xen
from sim.effects import STEP, Activity, WaitUntil
from sim.explore.program import Program
from sim.explore.searches.few_switches import explore_few_switches
from sim.instant import drain
from tests.models.races.searches import detectors_of_orders

_VA = 0xFFFF_C900_4000_0000
_GARBAGE = 0x6161_6161
"""A frame that somebody's data would name if it were an entry."""


def detectors(name: str, actors_on: Callable[[Stage], Sequence[Activity]]) -> set[str | None]:
    """What any order with a forced switch ends in, with other actors and without the fix."""
    race = RACES[name]
    stages: list[Stage] = []

    def build() -> list[Activity]:
        stages[:] = [fresh(race, fix=False, vcpus=2, xen="4.17")]
        return list(actors_on(stages[0]))

    return {
        judge(race, stages[0], execution.failure).detector
        for execution in explore_few_switches(Program(build, preempts=False), 1)
    }


def test_without_its_walker_a_cpu_has_nothing_to_forget() -> None:
    """R7 takes a translation that was loaded: by the walker, as nothing else touches the page."""
    actors_on = RACES["R7"].actors_on

    assert {None} == detectors("R7", lambda stage: actors_on(stage)[:2])
    assert {None, "D13"} == detectors("R7", actors_on)


def test_leaving_the_mask_after_a_load_that_is_only_queued_is_too_early(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """R7 fixed by the letter: after load_cr3(), which in a context switch under Xen waits."""
    write_cr3 = switching.write_cr3

    def by_the_letter(cpu: Cpu, mm: Mm, left: Mm | None = None) -> Activity:
        yield from write_cr3(cpu, mm)
        yield STEP
        if left is not None:
            left.cpumask.discard(cpu.number)

    monkeypatch.setattr(switching, "write_cr3", by_the_letter)

    assert {"D13"} == detectors_of_orders("R7", fix=True, switches=1)


@pytest.mark.parametrize(("xen", "flushes"), [("4.1", True), ("4.17", True), ("4.1", False)])
def test_flush_at_a_change_of_type_keeps_the_walker_off_tables_that_are_none_any_more(
    xen: str,
    flushes: bool,  # noqa: FBT001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """R7 with a table that is freed and used anew: bogus translations take a Xen without it."""
    race = RACES["R7"]
    far = FIRST_PAGE + 512
    bogus = set()
    stages: list[Stage] = []

    def build() -> list[Activity]:
        stages[:] = [fresh(race, fix=False, vcpus=2, xen=xen)]
        stage = stages[0]
        cpu, mm = stage.cpu(0), stage.mms["shared"]
        area = map_area(mm, Area("far", far, far + 1))
        drain(touch(cpu, mm, far << PAGE_SHIFT, write=True))
        stage.pages["table"] = drain(l1_for(cpu, mm, far << PAGE_SHIFT))
        return [_uses_anew(stage, area), race.actors_on(stage)[1], walks_twice(stage)]

    def walks_twice(stage: Stage) -> Activity:
        yield from walk_ahead(stage.kernel.xen, stage.cpu(1).vcpu, far << PAGE_SHIFT)
        yield WaitUntil("the page to be used anew", lambda: stage.over)
        yield from walk_ahead(stage.kernel.xen, stage.cpu(1).vcpu, far << PAGE_SHIFT)
        held = held_against_tables(stage.kernel.xen, stage.cpu(1).vcpu, far << PAGE_SHIFT)
        bogus.add(held is not None and held.mfn == _GARBAGE)

    if not flushes:
        monkeypatch.setattr(Xen, "needs_flush", lambda *_: False)
    for _ in explore_few_switches(Program(build, preempts=False), 1):
        pass

    assert {False} | ({True} if not flushes else set()) == bogus


def _uses_anew(stage: Stage, area: Area) -> Activity:
    """munmap; then the table's page holds data, which would be an entry if it were a table."""
    cpu, kernel = stage.cpu(0), stage.kernel
    yield from unmap(cpu, stage.mms["shared"], area)
    page = kernel.mfn(kernel.alloc_page())
    assert stage.pages["table"] == page
    yield from kernel.store(cpu, page, area.start & 511, _GARBAGE << PAGE_SHIFT | PRESENT)
    stage.over = True


def test_walker_loads_what_the_tables_hold_and_keeps_it() -> None:
    """Until somebody flushes: an entry that is emptied meanwhile leaves a stale translation."""
    stage = fresh(RACES["R7"], fix=True, vcpus=2, xen="4.17")
    cpu, kernel, mm = stage.cpu(0), stage.kernel, stage.mms["shared"]
    va = FIRST_PAGE << PAGE_SHIFT
    table = drain(l1_for(cpu, mm, va))
    vcpu = stage.cpu(1).vcpu
    frame = mfn_of(entry_at(kernel, table, FIRST_PAGE & 511))

    drain(walk_ahead(kernel.xen, vcpu, va))
    assert held_against_tables(kernel.xen, vcpu, va) is None
    drain(kernel.exchange(cpu, table, FIRST_PAGE & 511, 0))
    drain(switching.flush_tlb_all_here(cpu))

    assert Translation(frame, writable=True) == held_against_tables(kernel.xen, vcpu, va)
    drain(switching.flush_tlb_mm(cpu, mm))
    assert held_against_tables(kernel.xen, vcpu, va) is None


def test_walker_finds_nothing_where_nothing_is_mapped() -> None:
    """And loads nothing."""
    stage = fresh(RACES["R7"], fix=True, vcpus=2, xen="4.17")
    before = dict(stage.kernel.xen.clock.loaded[1])

    drain(walk_ahead(stage.kernel.xen, stage.cpu(1).vcpu, 1 << 40))

    assert before == dict(stage.kernel.xen.clock.loaded[1])


def test_kmaps_in_use_survive_a_flush_of_the_unused() -> None:
    """R9's fix empties the entries that nobody uses, and no others."""
    stage = fresh(RACES["R9"], fix=True, vcpus=2, xen="4.17")
    cpu, kernel = stage.cpu(0), stage.kernel
    memory = HighMemory(kernel)
    pages = [kernel.alloc_page() for _ in range(2)]
    for page in pages:
        drain(memory.take_from_direct_map(cpu, page))
    used, unused = (drain(memory.kmap(cpu, page)) for page in pages)
    drain(memory.kunmap(unused))
    table = drain(l1_for(cpu, kernel.init_mm, PKMAP_BASE))

    flush = memory.flush_unused(stage.cpu(0))
    (execution,) = explore_few_switches(Program(lambda: [flush, _idles()]), 0)

    assert execution.failure is None
    assert entry_at(kernel, table, used >> PAGE_SHIFT & 511) & PRESENT
    assert not entry_at(kernel, table, unused >> PAGE_SHIFT & 511) & PRESENT


def _idles() -> Activity:
    """A CPU that does nothing but take interrupts."""
    yield from ()


def test_entries_of_one_table_changed_as_a_whole_would_get_lost() -> None:
    """R15: what makes changes without a lock safe is that each is of one entry."""

    def rewrites(stage: Stage, number: int) -> Activity:
        kernel, cpu = stage.kernel, stage.cpu(number)
        table = stage.pages["table"]
        yield STEP
        entries = [entry_at(kernel, table, slot) for slot in range(2)]
        entries[number] = kernel.mfn(stage.pages["page"]) << PAGE_SHIFT | PAGE_KERNEL
        for slot, entry in enumerate(entries):
            va = _VA + (slot << PAGE_SHIFT)
            yield from set_pte(cpu, kernel.init_mm, va, table, slot, entry)
        stage.notes["ended"] += 1
        if stage.notes["ended"] == 2:
            lost.append(not all(entry_at(kernel, table, slot) for slot in range(2)))

    lost: list[bool] = []
    outcomes = detectors("R15", lambda stage: [rewrites(stage, 0), rewrites(stage, 1)])

    assert {None} == outcomes
    assert any(lost)
    assert not all(lost)
