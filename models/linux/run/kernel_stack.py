"""Kernel stacks: four pages in vmalloc space, mapped when a CPU has no stack to spare.

Source: Linux 6.1 kernel/fork.c (alloc_thread_stack_node, free_thread_stack).
"""

from typing import TYPE_CHECKING

from models.linux.run.vmalloc import Vmalloc
from sim.effects import Activity

if TYPE_CHECKING:
    from models.linux.run.kernel import Cpu, RunningKernel

STACK_PAGES = 4


class KernelStacks:
    """The stacks that are in use."""

    def __init__(self, kernel: "RunningKernel", vmalloc: Vmalloc | None = None) -> None:
        """``vmalloc``: where they are mapped, if somebody else maps there, too."""
        self._kernel = kernel
        self._vmalloc = Vmalloc(kernel) if vmalloc is None else vmalloc
        self._used: list[int] = []

    def map(self, cpu: "Cpu") -> Activity:
        """A stack for a new task."""
        pages = [self._kernel.alloc_page() for _ in range(STACK_PAGES)]
        self._used.append((yield from self._vmalloc.map(cpu, pages)))

    def unmap(self, cpu: "Cpu") -> Activity:
        """The oldest stack is given back."""
        va = self._used.pop(0)
        pages = self._vmalloc.mapped[va]
        yield from self._vmalloc.unmap(cpu, va)
        for pfn in pages:
            self._kernel.free_page(pfn)
