"""The multicall buffer of a running kernel: what goes in, and what makes it be flushed."""

from models.linux.multicall_buffer import MC_BATCH, MulticallBuffer
from models.linux.run.kernel import Cpu, Lazy
from models.linux.run.pv_mmu import batch, enter_lazy_mmu, extend, issue, leave_lazy_mmu, queue
from models.xen.hypercalls import (
    MmuextOp,
    MmuUpdate,
    Multicall,
    UpdateVaMapping,
)
from models.xen.words import INVLPG_LOCAL
from sim.effects import Activity
from tests.models.linux.kernels import operations, running_kernel, timed

UPDATE = MmuUpdate(((0x1000, 0),))
OPERATION = MmuextOp(((INVLPG_LOCAL, 0x1000, 0),))
MAPPING = UpdateVaMapping(0x1000, 0)


def filled(buffer: MulticallBuffer, call: MmuUpdate | MmuextOp, size: int) -> int:
    """How many requests go into one entry of an empty buffer."""
    buffer.add(call, size)
    while buffer.extends(type(call), size):
        buffer.extend(call, size)
    return buffer.bytes // size


def test_31_updates_fit_the_argument_bytes() -> None:
    """512 bytes would hold 32 of 16 each, but the last byte is never used."""
    assert 31 == filled(MulticallBuffer(), UPDATE, 16)


def test_21_operations_fit_the_argument_bytes() -> None:
    """An mmuext operation takes 24."""
    assert 21 == filled(MulticallBuffer(), OPERATION, 24)


def test_32_entries_without_arguments_fit() -> None:
    """update_va_mapping's arguments stand in the entry itself."""
    buffer = MulticallBuffer()
    while buffer.has_room(0):
        buffer.add(MAPPING, 0)

    assert MC_BATCH == len(buffer.entries)


def test_an_entry_is_only_extended_by_its_own_kind() -> None:
    """An operation after an update begins an entry of its own."""
    buffer = MulticallBuffer()
    buffer.add(UPDATE, 16)

    assert not buffer.extends(MmuextOp, 24)


def updates(cpu: Cpu, number: int) -> Activity:
    """So many updates of a page that is no table, each with its own batch and issue."""
    kernel = cpu.kernel
    mfn = kernel.mfn(kernel.alloc_page())
    for slot in range(number):
        yield from batch(cpu)
        yield from extend(cpu, MmuUpdate(((mfn << 12 | slot << 3, 0),)))
        yield from issue(cpu, Lazy.MMU)


def test_lazy_mmu_mode_batches_updates_and_leaving_it_flushes() -> None:
    """70 updates: two full batches of 31, and 8 at the end."""
    kernel = running_kernel()
    cpu = kernel.cpus[0]

    def lazily() -> Activity:
        enter_lazy_mmu(cpu)
        yield from updates(cpu, 70)
        yield from leave_lazy_mmu(cpu)

    assert ["update 31", "update 31", "update 8"] == operations(timed(kernel, lazily()))


def test_without_lazy_mode_each_update_is_a_hypercall() -> None:
    """An entry alone is made directly, without a multicall around it."""
    kernel = running_kernel()

    assert [MmuUpdate, MmuUpdate] == [
        type(call) for call in timed(kernel, updates(kernel.cpus[0], 2))
    ]


def test_another_kind_of_lazy_mode_puts_nothing_off() -> None:
    """In lazy CPU mode, page-table updates are made at once."""
    kernel = running_kernel()
    cpu = kernel.cpus[0]
    cpu.lazy = Lazy.CPU

    assert ["update 1", "update 1"] == operations(timed(kernel, updates(cpu, 2)))


def test_full_buffer_is_flushed_before_the_entry_that_does_not_fit() -> None:
    """33 entries: a multicall of 32 and one that is made alone."""
    kernel = running_kernel()
    cpu = kernel.cpus[0]
    mfn = kernel.mfn(kernel.alloc_page())
    mapping = UpdateVaMapping(kernel.va(mfn), mfn << 12 | 0x8000_0000_0000_0063)

    def many() -> Activity:
        yield from batch(cpu)
        for _ in range(33):
            yield from queue(cpu, mapping)
        yield from issue(cpu)

    first, second = timed(kernel, many())
    assert isinstance(first, Multicall)
    assert (32, mapping) == (len(first.calls), second)


def test_smaller_buffer_has_room_in_proportion() -> None:
    """Eight entries hold 128 bytes less one: seven requests, five operations."""
    assert 7 == filled(MulticallBuffer(8), UPDATE, 16)
    assert 5 == filled(MulticallBuffer(8), OPERATION, 24)


def test_smallest_buffer_takes_one_operation() -> None:
    """Else nothing could ever be put off."""
    buffer = MulticallBuffer(1)
    assert buffer.has_room(24)
    assert 1 == filled(buffer, OPERATION, 24)
