"""The words in which a workload is described, without the code that acts on them.

Whoever only checks a description imports this and not the kernel that runs processes.
"""

from typing import Literal, TypeAlias

KINDS = (
    "fork",
    "forkexec",
    "vforkexec",
    "cow",
    "mmap",
    "mprotect",
    "ctxsw",
    "mtspin",
    "vmalloc",
    "hotplug",
)
"""What processes or the kernel do in a loop (``models.linux.run.workloads.driver``)."""
KERNEL_KINDS = ("vmalloc", "hotplug")
"""Those that are done by a thread of the kernel's, without an address space."""

Backing: TypeAlias = Literal["anonymous", "file", "special"]
"""What the pages of an area come from."""
Others: TypeAlias = Literal["vmalloc", "fork", "idle"]
"""What CPUs without a task do, where there are tasks."""
Allocator: TypeAlias = Literal["lock", "short-lock", "reserve", "unlocked"]
"""How the vCPUs of a crew take pages for tables (``models.linux.boot.crew``)."""
SharedTables: TypeAlias = Literal["lock", "enter-empty", "unlocked"]
"""How a table comes about that two vCPUs of a crew need."""
