"""How a running kernel changes page tables under Xen: queueing, set_pXd, tables added and removed.

Source: Linux 6.1 arch/x86/xen/mmu_pv.c, multicalls.h.
"""

from models.linux.crash import GuestCrash
from models.linux.multicall_buffer import Callback, argument_bytes
from models.linux.run.kernel import Cpu, Lazy, size_class
from models.linux.run.mm import USER_SLOTS, Mm
from models.linux.start_state.p2m import PAGE_KERNEL
from models.machine.entries import PAGE_SHIFT, RW
from models.xen.gate import hypercall
from models.xen.hypercalls import (
    MmuextOp,
    MmuUpdate,
    Multicall,
    Unknown,
    UpdateVaMapping,
)
from models.xen.words import PIN_L1_TABLE, PT_UPDATE_PRESERVE_AD, UNPIN_TABLE
from sim.effects import IRQS_OFF, IRQS_ON, Activity, Spend

_QUEUE = Spend("multicall_queue_entry")


# -- the multicall buffer -----------------------------------------------------------------------


def batch(cpu: Cpu) -> Activity:
    """Interrupts off until the issue: a handler may use the buffer as well (xen_mc_batch)."""
    cpu.saved_irqs.append(cpu.irqs_off)
    if not cpu.irqs_off:
        cpu.irqs_off = True
        yield IRQS_OFF


def issue(cpu: Cpu, mode: Lazy = Lazy.NONE) -> Activity:
    """Flush, unless this CPU is in the lazy mode ``mode``; interrupts as before (xen_mc_issue)."""
    if mode is Lazy.NONE or cpu.lazy is not mode:
        yield from flush(cpu)
    cpu.irqs_off = cpu.saved_irqs.pop()
    if not cpu.irqs_off:
        yield IRQS_ON


def queue(cpu: Cpu, call: MmuUpdate | MmuextOp | UpdateVaMapping | Unknown) -> Activity:
    """A call into the buffer as an entry of its own (__xen_mc_entry)."""
    size = argument_bytes(call)
    if not cpu.buffer.has_room(size):
        yield from flush(cpu)
    yield _QUEUE
    cpu.buffer.add(call, size)


def extend(cpu: Cpu, call: MmuUpdate | MmuextOp) -> Activity:
    """A call into the buffer: into the last entry if that is of the same kind and has room.

    Source: xen_extend_mmu_update, xen_extend_mmuext_op.
    """
    size = argument_bytes(call)
    if cpu.buffer.extends(call.__class__, size):
        yield _QUEUE
        cpu.buffer.extend(call, size)
    else:
        yield from queue(cpu, call)


def when_done(cpu: Cpu, callback: Callback) -> Activity:
    """Run an activity when what waits has been done (xen_mc_callback)."""
    if not cpu.buffer.has_room_for_callback():
        yield from flush(cpu)
    cpu.buffer.callbacks.append(callback)


def flush(cpu: Cpu) -> Activity:
    """Make all calls that wait: one alone directly, more in a multicall (xen_mc_flush).

    What Xen refuses is only warned about.
    """
    calls, callbacks = cpu.buffer.take()
    if calls:
        kernel = cpu.kernel
        for call in calls:
            if isinstance(call, MmuUpdate):
                kernel.count_batch(call)
        if len(calls) == 1 and not kernel.era.single_multicalls:
            results = ((yield from hypercall(kernel.xen, cpu.vcpu, calls[0])),)
        else:
            kernel.counts["multicall_size_hist", size_class(len(calls))] += 1
            results = yield from hypercall(kernel.xen, cpu.vcpu, Multicall(tuple(calls)))
        for call, rc in zip(calls, results, strict=True):
            if rc:
                kernel.refuse(call, rc)
    for callback in callbacks:
        yield from callback()


# -- lazy MMU mode ------------------------------------------------------------------------------


def enter_lazy_mmu(cpu: Cpu) -> None:
    """Updates are put off from here on (arch_enter_lazy_mmu_mode)."""
    enter_lazy(cpu, Lazy.MMU)


def enter_lazy(cpu: Cpu, mode: Lazy) -> None:
    """A lazy mode begins (paravirt.c:enter_lazy).

    Raises:
        GuestCrash: the CPU is in a lazy mode already.
    """
    if cpu.lazy is not Lazy.NONE:
        crash = GuestCrash("bug", f"CPU {cpu.number} is in lazy {cpu.lazy.name} mode already")
        crash.console = ["kernel BUG at arch/x86/kernel/paravirt.c:239!"]
        raise crash
    cpu.lazy = mode


def leave_lazy_mmu(cpu: Cpu) -> Activity:
    """What was put off is done (xen_leave_lazy_mmu)."""
    yield from flush(cpu)
    cpu.lazy = Lazy.NONE


# -- entries ------------------------------------------------------------------------------------


def set_pte(cpu: Cpu, mm: Mm, va: int, table: int, slot: int, value: int) -> Activity:
    """Write a leaf (set_pte_at)."""
    kernel = cpu.kernel
    if kernel.era.set_pte == "mmu_update":
        call = MmuUpdate(((table << PAGE_SHIFT | slot << 3, value),))
        if cpu.lazy is Lazy.MMU:
            yield from batch(cpu)
            yield from extend(cpu, call)
            yield from issue(cpu, Lazy.MMU)
        else:
            # The kernel does not look at the result.
            yield from kernel.direct(cpu, call)
        return
    if mm is cpu.loaded_mm or mm is kernel.init_mm:
        mapping = UpdateVaMapping(va, value)
        if cpu.lazy is Lazy.MMU:
            yield from batch(cpu)
            yield from queue(cpu, mapping)
            yield from issue(cpu, Lazy.MMU)
            return
        if not (yield from kernel.direct(cpu, mapping)):
            return
    yield from kernel.store(cpu, table, slot, value)


def modify_prot(cpu: Cpu, table: int, slot: int, value: int) -> Activity:
    """Change a leaf's permissions; Xen keeps the accessed and dirty bits.

    Source: xen_ptep_modify_prot_commit.
    """
    pointer = table << PAGE_SHIFT | slot << 3 | PT_UPDATE_PRESERVE_AD
    yield from batch(cpu)
    yield from extend(cpu, MmuUpdate(((pointer, value),)))
    yield from issue(cpu, Lazy.MMU)


def get_and_clear(cpu: Cpu, table: int, slot: int) -> Activity:
    """Empty a leaf and return what it was: an xchg, which Xen emulates in a live table."""
    return (yield from cpu.kernel.exchange(cpu, table, slot, 0))


def write_protect(cpu: Cpu, table: int, slot: int) -> Activity:
    """Take the write permission from a leaf (ptep_set_wrprotect): an ``and``.

    With one CPU the kernel patches the lock prefix out, and it is an ordinary store to Xen.
    """
    kernel = cpu.kernel
    value = kernel.frames.words(table)[slot] & ~RW
    if len(kernel.cpus) > 1:
        yield from kernel.exchange(cpu, table, slot, value)
    else:
        yield from kernel.store(cpu, table, slot, value)


def set_upper(cpu: Cpu, table: int, slot: int, value: int) -> Activity:
    """set_pmd, set_pud: an mmu_update if the table is pinned, else a store."""
    if table not in cpu.kernel.pinned:
        yield from cpu.kernel.store(cpu, table, slot, value)
        return
    yield from batch(cpu)
    yield from extend(cpu, MmuUpdate(((table << PAGE_SHIFT | slot << 3, value),)))
    yield from issue(cpu, Lazy.MMU)


def set_p4d(cpu: Cpu, mm: Mm, slot: int, value: int) -> Activity:
    """set_p4d: kernel's and user mode's pgd together."""
    tables = [mm.pgd]
    if mm.user_pgd and slot < USER_SLOTS:
        tables.append(mm.user_pgd)
    if mm.pgd not in cpu.kernel.pinned:
        for table in tables:
            yield from cpu.kernel.store(cpu, table, slot, value)
        return
    yield from batch(cpu)
    for table in tables:
        yield from extend(cpu, MmuUpdate(((table << PAGE_SHIFT | slot << 3, value),)))
    yield from issue(cpu, Lazy.MMU)


# -- tables -------------------------------------------------------------------------------------


def direct_map_leaf(cpu: Cpu, mfn: int, *, writable: bool, flags: int = 0) -> UpdateVaMapping:
    """The call that changes the direct map's leaf of a page."""
    entry = mfn << PAGE_SHIFT | PAGE_KERNEL
    return UpdateVaMapping(cpu.kernel.va(mfn), entry if writable else entry & ~RW, flags)


def alloc_ptpage(cpu: Cpu, mm: Mm, mfn: int, level: int) -> Activity:
    """A page is about to become a table of ``mm``: read-only, an L1 pinned, if ``mm`` is pinned.

    Source: xen_alloc_ptpage.
    """
    kernel = cpu.kernel
    if mm.pgd not in kernel.pinned:
        return
    kernel.pinned.add(mfn)
    calls: list[UpdateVaMapping | MmuextOp] = [direct_map_leaf(cpu, mfn, writable=False)]
    if level == 1:
        calls.append(MmuextOp(((PIN_L1_TABLE, mfn, 0),)))
    yield from _together(cpu, calls)


def release_ptpage(cpu: Cpu, mfn: int, level: int) -> Activity:
    """A table is one no longer (xen_release_ptpage)."""
    kernel = cpu.kernel
    if mfn not in kernel.pinned:
        return
    calls: list[UpdateVaMapping | MmuextOp] = []
    if level == 1:
        calls.append(MmuextOp(((UNPIN_TABLE, mfn, 0),)))
    calls.append(direct_map_leaf(cpu, mfn, writable=True))
    yield from _together(cpu, calls)
    kernel.pinned.discard(mfn)


def _together(cpu: Cpu, calls: list[UpdateVaMapping | MmuextOp]) -> Activity:
    if not cpu.kernel.era.table_pinned_in_one_call:
        for call in calls:
            rc = yield from cpu.kernel.direct(cpu, call)
            if rc:
                cpu.kernel.refuse(call, rc)
        return
    yield from batch(cpu)
    for call in calls:
        yield from queue(cpu, call)
    yield from issue(cpu, Lazy.MMU)
