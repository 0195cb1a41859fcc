"""The boot of a guest whose vCPUs build its direct map together.

What-if: the other vCPUs are up before there is a direct map, on the kernel's own L4. What follows
the map happens on the first one, as at any boot. A strategy is used as it is; which of them stay
correct is for the hypervisor to say.
"""

import numpy as np

from models.linux.boot.crew import Crew, CrewPlan
from models.linux.boot.direct_map_phase import boot
from models.linux.boot.guest import Guest
from models.machine.entries import ENTRIES, MFN_MASK, PAGE_SHIFT, PRESENT
from models.machine.walk import find_l1_entry
from models.xen.gate import hypercall
from models.xen.hypercalls import MmuextOp
from models.xen.versions.paging import Paging
from models.xen.words import NEW_BASEPTR
from sim.effects import STEP, Activity
from sim.instant import drain

_FRAME_AND_PRESENT = np.uint64(MFN_MASK << PAGE_SHIFT | PRESENT)


def activities(guest: Guest, plan: CrewPlan) -> list[Activity]:
    """One activity for each vCPU that the guest was made with; ``guest.crew`` tells what they do.

    Nothing has happened yet but that the other vCPUs are up. The activities run under any
    interpreter with several CPUs; for another order, make a fresh guest.
    """
    _bring_up(guest)
    crew = Crew(guest, plan)
    return [_lead(crew), *(crew.serve(member) for member in crew.members[1:])]


def _lead(crew: Crew) -> Activity:
    """The boot, as on one vCPU; where it maps a range, the others take part."""
    yield from boot(crew.members[0])
    crew.over = True
    yield STEP


def _bring_up(guest: Guest) -> None:
    """The other vCPUs load the L4 that the kernel has at that time; it is not measured."""
    xen = guest.xen
    for vcpu in xen.vcpus[1:]:
        if xen.paging is Paging.NESTED:
            vcpu.cr3 = guest.l4
        else:
            rc = drain(hypercall(xen, vcpu, MmuextOp(((NEW_BASEPTR, guest.l4, 0),))))
            assert rc == 0, f"vCPU {vcpu.number} cannot load the kernel's L4: {rc}"
        xen.dirty_pcpus.add(vcpu.pcpu)
    xen.counters.clear()


def lost_regions(guest: Guest) -> list[int]:
    """Regions of 512 pages with RAM that the finished map does not lead to, or not to all of it.

    Walked as a CPU does, and compared with the p2m list: two vCPUs that make the same entry can
    leave a table behind that nothing refers to.
    """
    lost = []
    for first, end in guest.e820.pages():
        for region in range(first // ENTRIES, -(-end // ENTRIES)):
            low, high = max(first, region * ENTRIES), min(end, (region + 1) * ENTRIES)
            expected, _ = guest.p2m.leaves(low, high)
            expected &= _FRAME_AND_PRESENT
            walk = find_l1_entry(guest.frames, guest.l4, guest.va(low))
            found = np.zeros_like(expected)
            if walk is not None:
                table, slot, _ = walk
                found = guest.frames.array(table)[slot : slot + high - low] & _FRAME_AND_PRESENT
            if ((found != expected) & (expected != 0)).any():
                lost.append(region)
    return lost
