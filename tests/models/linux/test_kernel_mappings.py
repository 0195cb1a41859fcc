"""vmalloc and its aliases, pgd_list, suspend, and walkers without locks."""

import pytest

from models.linux.crash import GuestCrash
from models.linux.run.all_pgds import pin_all, sync_global_pgds
from models.linux.run.fixes import Fixes
from models.linux.run.gup import gup_fast
from models.linux.run.kernel import RunningKernel
from models.linux.run.mapping import l1_spans, unmap
from models.linux.run.mm import entry_at
from models.linux.run.process import fork, new_mm
from models.linux.run.pv_mmu import alloc_ptpage, set_p4d
from models.linux.run.switching import context_switch
from models.linux.run.vmalloc import Vmalloc
from models.machine.entries import PRESENT
from models.xen.checks.invariants import check
from sim.effects import Activity, Spend
from sim.instant import drain
from tests.models.linux.kernels import loaded_mm, operations, running_kernel, timed
from tests.models.linux.test_pinning import anonymous

FREE_SLOT = 470
"""Of the kernel's half of a pgd."""


def becomes_a_table(kernel: RunningKernel, pfn: int) -> bool:
    """Will Xen let this page be an L1?"""
    loaded_mm(kernel)
    drain(alloc_ptpage(kernel.cpus[0], kernel.init_mm, kernel.mfn(pfn), 1))
    return not kernel.refused


@pytest.mark.parametrize("clears_at_once", [True, False])
def test_page_with_an_alias_left_behind_cannot_become_a_table(*, clears_at_once: bool) -> None:
    """Leaves that wait for the next purge keep their page writable (56e4ebf877b6, 64141da58724)."""
    kernel = running_kernel()
    cpu = kernel.cpus[0]
    vmalloc = Vmalloc(kernel, clears_at_once=clears_at_once)
    pfn = kernel.alloc_page()

    drain(vmalloc.unmap(cpu, drain(vmalloc.map(cpu, [pfn]))))

    assert clears_at_once is becomes_a_table(kernel, pfn)


def test_purge_takes_the_aliases_that_were_left() -> None:
    """After it the page can become a table."""
    kernel = running_kernel()
    cpu = kernel.cpus[0]
    vmalloc = Vmalloc(kernel, clears_at_once=False)
    pfn = kernel.alloc_page()
    drain(vmalloc.unmap(cpu, drain(vmalloc.map(cpu, [pfn]))))

    drain(vmalloc.purge(cpu))

    assert becomes_a_table(kernel, pfn)


def test_purge_flushes_every_cpu_by_an_interrupt_of_the_guest() -> None:
    """Each flushes itself, by a hypercall of its own."""
    kernel = running_kernel(vcpus=3)
    vmalloc = Vmalloc(kernel)

    def idle() -> Activity:
        yield Spend("pte_write_plain")

    calls = timed(kernel, vmalloc.purge(kernel.cpus[0]), idle(), idle())

    assert ["TLB_FLUSH_LOCAL"] * 3 == operations(calls)


@pytest.mark.parametrize("takes_lock", [True, False])
def test_new_kernel_entry_reaches_every_pgd(*, takes_lock: bool) -> None:
    """By mmu_update into pinned ones, by a store into the others."""
    kernel = running_kernel()
    cpu = kernel.cpus[0]
    pinned = loaded_mm(kernel)
    fresh = drain(new_mm(cpu, "not pinned"))
    drain(_new_kernel_l3(kernel))

    calls = timed(kernel, sync_global_pgds(cpu, FREE_SLOT, takes_page_table_lock=takes_lock))

    assert ["update 1"] == operations(calls)
    assert all(entry_at(kernel, mm.pgd, FREE_SLOT) & PRESENT for mm in (pinned, fresh))
    check(kernel.xen)


def _new_kernel_l3(kernel: RunningKernel) -> Activity:
    cpu = kernel.cpus[0]
    table = yield from kernel.alloc_table(cpu)
    yield from alloc_ptpage(cpu, kernel.init_mm, table, 3)
    yield from set_p4d(cpu, kernel.init_mm, FREE_SLOT, kernel.table_entry(table))


def test_suspend_pins_what_is_not_pinned() -> None:
    """An address space under construction is pinned; one that is pinned already is left."""
    kernel = running_kernel()
    cpu = kernel.cpus[0]
    loaded_mm(kernel, anonymous(0x1000, 1))
    fresh = drain(new_mm(cpu, "under construction"))

    saved = drain(pin_all(cpu))

    assert ([fresh], True) == (saved, fresh.pgd in kernel.pinned)
    assert [] == kernel.refused
    check(kernel.xen)


def test_lockless_walk_finds_the_leaf() -> None:
    """What is mapped, and nothing where a level is missing."""
    kernel = running_kernel()
    cpu = kernel.cpus[0]
    mm = loaded_mm(kernel, anonymous(0x1000, 1))

    assert drain(gup_fast(cpu, mm, 0x1000 << 12)) & PRESENT
    assert drain(gup_fast(cpu, mm, 1 << 40)) is None


def test_lockless_walker_meets_a_table_that_was_freed_under_it() -> None:
    """The flush of an unmapping does not wait for a CPU with its interrupts off."""
    kernel = running_kernel(vcpus=2)
    kernel.fixes = Fixes(tables_freed_by_rcu=False)
    first, second = kernel.cpus
    area = anonymous(0x1000, 1)
    mm = loaded_mm(kernel, area)
    drain(context_switch(second, mm))
    (table, _, _), *_ = l1_spans(first, mm, area.start, area.end)

    walker = gup_fast(second, mm, 0x1000 << 12)
    while not kernel.walked[table]:
        next(walker)
    drain(unmap(first, mm, area))  # the walker's CPU is not scheduled meanwhile

    with pytest.raises(GuestCrash, match="was freed while it was walked"):
        drain(walker)


def test_fork_copies_the_kernel_half() -> None:
    """Every slot of it that the kernel has, the hypervisor's left out."""
    kernel = running_kernel()
    cpu = kernel.cpus[0]
    child = drain(fork(cpu, loaded_mm(kernel), "child"))

    half = [entry_at(kernel, child.pgd, slot) & PRESENT for slot in range(272, 512)]
    assert 69 == sum(half)
