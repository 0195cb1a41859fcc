"""A boot's memory set-up, from the direct map to the end of the boot allocators."""

from models.linux.boot.early_mappings import early_iounmap, early_memremap
from models.linux.boot.guest import Guest
from models.linux.phase import PHASE_BEGINS, PHASE_ENDS
from models.machine.entries import PAGE_SHIFT
from sim.effects import Activity


def boot(guest: Guest) -> Activity:
    """Build the direct map and do what follows it, as far as it can hit a read-only page."""
    yield PHASE_BEGINS
    guest.calls.enter_lazy_mmu()
    yield from guest.strategy.direct_map(guest)
    yield from guest.calls.leave_lazy_mmu()
    yield PHASE_ENDS
    if guest.geometry.early_mapping_after and guest.kernel.access == "early":
        # Firmware tables are looked at: any page will do. (Later kernels set early mappings
        # without a look at the table buffer, so nothing hangs on it there.)
        page = yield from early_memremap(guest, 0)
        yield from early_iounmap(guest, page)
    for allocation in guest.geometry.after_mapping:
        yield from _allocate_and_clear(guest, allocation.name, allocation.size)
    yield PHASE_BEGINS
    yield from guest.strategy.finish(guest)
    yield PHASE_ENDS


def _allocate_and_clear(guest: Guest, name: str, size: int) -> Activity:
    """A top-down allocation of the boot allocator that is stored to at once."""
    pages = -(-size >> PAGE_SHIFT)
    first = guest.memblock.find(pages, 1, guest.e820.max_pfn)
    if first is None:
        return
    guest.memblock.reserve(first, first + pages)
    guest.allocations[name] = first
    for pfn in range(first, first + pages):
        yield from guest.clear_page(guest.va(pfn))
