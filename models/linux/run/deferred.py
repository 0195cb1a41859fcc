"""Page descriptors that are initialised late (deferred struct page initialisation).

Source: Linux 4.20 mm/page_alloc.c (deferred_init_memmap), arch/x86/xen/mmu_pv.c
(xen_after_bootmem).
"""

from models.linux.run.kernel import Cpu
from sim.effects import STEP, Activity


def deferred_init(cpu: Cpu, first: int, last: int) -> Activity:
    """Initialise the descriptors of pages [first, last): their flags are cleared.

    PG_pinned of the tables among them is set again afterwards, or else only before, when the
    descriptors held nothing yet.
    """
    kernel = cpu.kernel
    yield STEP
    late = {mfn for mfn in kernel.pinned if first <= kernel.pfn(mfn) < last}
    kernel.pinned -= late
    if kernel.fixes.late_pages_marked_pinned:
        yield STEP
        kernel.pinned |= late
