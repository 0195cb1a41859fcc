"""What context switches do to the hypervisor's view of the CPUs.

A vCPU's base pointer is loaded when a CPU takes it up, which flushes the CPU's translations; the
state of the one before is on no CPU any more, so flushes for the domain need not go there on its
account. A CPU that idles keeps what it has loaded, and stays dirty.
Source: xen/arch/x86/domain.c:context_switch, __context_switch, sync_vcpu_execstate.
"""

from models.xen.state import Xen


class LoadedVcpus:
    """Which vCPU's state each CPU holds; told by the scheduler, it keeps Xen's CPU masks.

    vCPUs whose numbers the domain does not have belong to others, of which nothing else is known.
    """

    def __init__(self, xen: Xen) -> None:
        self._xen = xen
        self._vcpu_on: dict[int, int] = {}

    def load(self, pcpu: int, number: int) -> None:
        """A CPU takes up a vCPU, wherever its state was before.

        Source: domain.c:__context_switch; flushtlb.c:write_cr3.
        """
        xen = self._xen
        self._vcpu_on = {at: vcpu for at, vcpu in self._vcpu_on.items() if vcpu != number}
        self._vcpu_on[pcpu] = number
        if number < len(xen.vcpus):
            xen.vcpus[number].pcpu = pcpu
        xen.clock.flush(pcpu)
        dirty = {at for at, vcpu in self._vcpu_on.items() if vcpu < len(xen.vcpus)}
        xen.dirty_pcpus.clear()
        xen.dirty_pcpus.update(dirty)
