"""Address spaces that are pinned and unpinned, and tables that join a pinned one: call by call."""

import pytest

from models.linux.run.faults import l1_for, touch
from models.linux.run.kernel import Lazy
from models.linux.run.mapping import map_area, unmap
from models.linux.run.mm import Area
from models.linux.run.pinning import pin_mm
from models.linux.run.process import exit_mm, fork, new_mm
from models.linux.run.switching import context_switch, switch_mm
from models.linux.runtime_era import V2_6_39
from models.xen.checks.invariants import check, require_at_rest
from models.xen.hypercalls import Multicall
from sim.effects import Activity, Spend
from sim.instant import drain
from tests.models.linux.kernels import loaded_mm, operations, running_kernel, timed

PIN_L1, PIN_L4, UNPIN = "PIN_L1_TABLE", "PIN_L4_TABLE", "UNPIN_TABLE"


def anonymous(start: int, pages: int) -> Area:
    """An area at a page of the address space."""
    return Area(f"at {start:#x}", start, start + pages)


def test_fork_pins_every_table_and_the_l1s_at_once() -> None:
    """Two L1s below one L2 and L3: read-only each, an L1 pinned with it, both pgds at the end."""
    kernel = running_kernel()
    parent = loaded_mm(kernel, anonymous(0x1000, 2), anonymous(0x1200, 1))

    calls = timed(kernel, fork(kernel.cpus[0], parent, "child"))

    (pin,) = [call for call in calls if isinstance(call, Multicall)]
    expected = ["RO", "RO", "RO", PIN_L1, "RO", PIN_L1, "RO", PIN_L4, "RO", PIN_L4]
    assert expected == operations([pin])


def test_exit_unpins_both_pgds_first_and_then_page_by_page() -> None:
    """The pgds' pins go in one entry; each L1's goes before its page becomes writable."""
    kernel = running_kernel()
    cpu = kernel.cpus[0]
    parent = loaded_mm(kernel, anonymous(0x1000, 1))
    child = drain(fork(cpu, parent, "child"))

    calls = timed(kernel, exit_mm(cpu, child))

    (unpin,) = [call for call in calls if isinstance(call, Multicall)]
    assert [UNPIN, UNPIN, "RW", "RW", "RW", UNPIN, "RW", "RW"] == operations([unpin])
    assert 7 == len(unpin.calls)


def test_pinning_36_l1s_takes_three_multicalls() -> None:
    """81 entries: 2 for each of 36 L1s, 3 L2s and 2 L3s, and 4 for the pgds."""
    kernel = running_kernel()
    cpu = kernel.cpus[0]
    scattered = [
        anonymous((gib << 18) + (number << 9), 1) for gib in (0, 1) for number in range(17)
    ]
    far = [anonymous((1 << 34) + number * 512, 1) for number in range(2)]
    parent = loaded_mm(kernel, *scattered, *far)

    calls = timed(kernel, fork(cpu, parent, "child"))

    assert [32, 32, 17] == [len(call.calls) for call in calls if isinstance(call, Multicall)]


def test_new_l1_of_a_pinned_address_space_is_pinned_in_one_multicall() -> None:
    """L3 and L2 only become read-only; each is entered by an mmu_update of its own."""
    kernel = running_kernel()
    cpu = kernel.cpus[0]
    mm = loaded_mm(kernel)
    map_area(mm, anonymous(0x1000, 1))

    calls = timed(kernel, touch(cpu, mm, 0x1000 << 12, write=True))

    expected = ["RO", "update 2", "RO", "update 1", "RO", PIN_L1, "update 1", "update 1"]
    assert expected == operations(calls)
    assert 1 == sum(isinstance(call, Multicall) for call in calls)


def test_in_2_6_39_a_new_l1_takes_two_hypercalls_and_the_leaf_is_mapped_by_address() -> None:
    """update_va_mapping in place of the mmu_update of a leaf, and single multicalls above L1."""
    kernel = running_kernel(era=V2_6_39)
    cpu = kernel.cpus[0]
    mm = loaded_mm(kernel)
    map_area(mm, anonymous(0x1000, 1))

    calls = timed(kernel, touch(cpu, mm, 0x1000 << 12, write=True))

    expected = ["RO", "update 2", "RO", "update 1", "RO", PIN_L1, "update 1", "RW"]
    assert expected == operations(calls)
    assert 3 == sum(isinstance(call, Multicall) for call in calls)


def test_tables_of_an_unpinned_address_space_cost_no_hypercall() -> None:
    """Before it is pinned, its tables are ordinary memory; only leaves go by mmu_update."""
    kernel = running_kernel()
    cpu = kernel.cpus[0]
    mm = loaded_mm(kernel, anonymous(0x1000, 3))
    kernel.xen.counters.clear()

    child = drain(fork(cpu, mm, "child"))

    assert {"writable_page": 3} == {
        target: count
        for (group, target), count in kernel.xen.counters.items()
        if group == "mmu_update_entries_by_target_page_type"
    }
    assert child.pgd in kernel.pinned


def test_unmapping_takes_out_tables_that_no_neighbour_needs() -> None:
    """Of two areas in one L2, the L1 of the one goes, the L2 stays for the other."""
    kernel = running_kernel()
    cpu = kernel.cpus[0]
    keeps, goes = anonymous(0x1000, 1), anonymous(0x1200, 1)
    mm = loaded_mm(kernel, keeps, goes)

    calls = timed(kernel, unmap(cpu, mm, goes))

    assert ["update 1", UNPIN, "RW", "INVLPG_LOCAL"] == operations(calls)


def test_everything_is_given_back() -> None:
    """After fork and exit as many pages are free as before, and no type or count is left over."""
    kernel = running_kernel()
    cpu = kernel.cpus[0]
    mm = loaded_mm(kernel, anonymous(0x1000, 5))
    pinned, pages = set(kernel.pinned), dict(kernel.pages)

    child = drain(fork(cpu, mm, "child"))
    drain(exit_mm(cpu, child))

    check(kernel.xen)
    require_at_rest(kernel.xen)
    assert (pinned, pages, []) == (kernel.pinned, kernel.pages, kernel.refused)


def test_both_bases_are_loaded_in_one_hypercall() -> None:
    """The kernel's and user mode's, at the end of the context switch."""
    kernel = running_kernel()
    cpu = kernel.cpus[0]
    mm = loaded_mm(kernel)
    other = drain(fork(cpu, mm, "other"))

    calls = timed(kernel, context_switch(cpu, other))

    assert (1, ["NEW_BASEPTR", "NEW_USER_BASEPTR"]) == (len(calls), operations(calls))
    assert other.pgd == cpu.current_cr3


def test_base_is_only_queued_until_the_switch_is_over() -> None:
    """In lazy CPU mode the kernel's idea of the base is ahead of the hypervisor's."""
    kernel = running_kernel()
    cpu = kernel.cpus[0]
    mm = loaded_mm(kernel)
    other = drain(fork(cpu, mm, "other"))

    cpu.lazy = Lazy.CPU
    drain(switch_mm(cpu, other))

    assert (other.pgd, mm.pgd, mm.pgd) == (cpu.cr3, cpu.current_cr3, cpu.vcpu.cr3)


def test_exit_gets_other_cpus_off_the_address_space_by_interrupt() -> None:
    """A CPU that is idle keeps what it had loaded, until the last user of it exits elsewhere."""
    kernel = running_kernel(vcpus=2)
    first, second = kernel.cpus
    mm = loaded_mm(kernel, anonymous(0x1000, 1))
    child = drain(fork(first, mm, "child"))
    drain(context_switch(second, child))
    drain(context_switch(second, None))

    def idle() -> Activity:
        yield Spend("pte_write_plain")

    timed(kernel, exit_mm(first, child), idle())

    assert (kernel.init_l4, kernel.init_l4) == (second.current_cr3, second.vcpu.cr3)
    assert [] == kernel.refused
    check(kernel.xen)


@pytest.mark.parametrize("vcpus", [1, 2])
def test_unpinned_address_space_is_not_unpinned_again(vcpus: int) -> None:
    """execve() may fail before the new address space was ever pinned (df912ea4ae72)."""
    kernel = running_kernel(vcpus=vcpus)
    cpu = kernel.cpus[0]
    mm = drain(new_mm(cpu, "never used"))

    assert [] == timed(kernel, exit_mm(cpu, mm))


def test_pin_holds_the_lock_of_each_l1_until_its_batch_is_done() -> None:
    """A writer that takes the lock cannot meet a page that is read-only and not yet pinned."""
    kernel = running_kernel()
    cpu = kernel.cpus[0]
    mm = drain(new_mm(cpu, "new"))
    map_area(mm, anonymous(0x1000, 1))
    table = drain(l1_for(cpu, mm, 0x1000 << 12))
    held: list[bool] = []

    timed(kernel, pin_mm(cpu, mm), look=lambda: held.append(kernel.ptl(table).lock.locked))

    assert ([True], False) == (held, kernel.ptl(table).lock.locked)
