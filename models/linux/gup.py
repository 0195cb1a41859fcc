"""Walks of another sort: get_user_pages_fast() reads the tables without a lock.

It runs with interrupts off, which on bare hardware holds up who wants to free a table: that one
waits for an interrupt to be answered. Source: Linux 2.6.39 arch/x86/mm/gup.c; 4.11 mm/gup.c.
"""

from models.linux.mm import Mm, entry_at, lower_table, slot_of
from models.linux.running import Cpu
from sim.effects import IRQS_OFF, IRQS_ON, STEP, Activity, Spend

_READ = Spend("table_entry_read")


def gup_fast(cpu: Cpu, mm: Mm, va: int) -> Activity:
    """The leaf of an address, or None: each level is read as it is met."""
    kernel = cpu.kernel
    cpu.irqs_off = True
    yield IRQS_OFF
    yield STEP
    cpu.walks_without_lock = True
    table: int | None = mm.pgd
    for level in (4, 3, 2):
        yield STEP
        assert table is not None
        table = lower_table(kernel, table, slot_of(va, level))
        if table is None:
            break
        cpu.walks_through.append(table)
        yield _READ
    leaf = None
    if table is not None:
        yield STEP
        leaf = entry_at(kernel, table, slot_of(va, 1))
    yield STEP
    cpu.walks_through.clear()
    cpu.walks_without_lock = False
    cpu.irqs_off = False
    yield IRQS_ON
    return leaf
