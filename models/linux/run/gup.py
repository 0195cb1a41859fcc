"""get_user_pages_fast: a walk of another's page tables without any lock.

It relies on interrupts being off to hold back whoever frees tables; flushes by hypercall do not
wait for that. Source: Linux 6.1 mm/gup.c (gup_pgd_range); commits 9e52fc2b50de, a17c9da9264d.
"""

from models.linux.run.kernel import Cpu
from models.linux.run.mm import Mm, lower_table, slot_of
from models.machine.entries import PRESENT
from sim.effects import IRQS_OFF, IRQS_ON, STEP, Activity, Spend

_READ = Spend("table_entry_read")


def gup_fast(cpu: Cpu, mm: Mm, va: int) -> Activity:
    """The leaf of an address, or None; the tables on the way are marked while they are read.

    Raises:
        GuestCrash: one of them has been given back meanwhile.
    """
    kernel = cpu.kernel
    was_off, cpu.irqs_off = cpu.irqs_off, True
    if not was_off:
        yield IRQS_OFF
    table: int | None = mm.pgd
    leaf = None
    for level in (4, 3, 2, 1):
        assert table is not None
        kernel.walked[table] += 1
        yield _READ
        yield STEP
        kernel.walked[table] -= 1
        kernel.must_still_be_there(table)
        if level == 1:
            entry = kernel.frames.words(table)[slot_of(va, 1)]
            leaf = entry if entry & PRESENT else None
        else:
            table = lower_table(kernel, table, slot_of(va, level))
            if table is None:
                break
    cpu.irqs_off = was_off
    if not was_off:
        yield IRQS_ON
    return leaf
