"""The ``[workload]`` section of a scenario: what processes do, and what their memory is like.

The defaults are the program of the recordings (docs/concepts/recorded-programs.md): its areas and
its habits were worked out from what a hypervisor counted, so they are input and no claim.
"""

from itertools import pairwise
from typing import Annotated, Literal

import msgspec

from experiments.errors import InputError
from experiments.scenario.guest import DIRECT_MAP_BYTES, Guest, end_of_ram
from experiments.scenario.quantities import Bytes, Nanoseconds, Share, format_size
from models.linux import workload_kinds
from models.linux.workload_kinds import Allocator, Backing, Others, SharedTables

PAGE_BYTES = 4096
MIB = 1 << 20
USER_END = 1 << 47

Count = Annotated[int, msgspec.Meta(ge=0)]
Positive = Annotated[int, msgspec.Meta(ge=1)]

KINDS = ("boot", *workload_kinds.KINDS, "parallel-boot")
Aliases = Literal["cleared", "left"]


class AreaSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of ``areas``: a part of a program's address space."""

    name: str
    start: Bytes
    pages: Positive
    backing: Backing = "anonymous"
    writable: bool = True
    present: tuple[Count, ...] = ()
    """Pages of it that the program has written (read, if it cannot write) before the loop."""


class TouchSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An access to a page of an area."""

    area: str
    page: Count
    read: bool = False
    by: Literal["user", "kernel"] = "user"
    share: Share = Share(1)
    """In which share of the iterations it happens."""


class Protected(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``protects``: pages that the start-up code makes read-only (RELRO)."""

    area: str
    first: Count
    pages: Positive


class ExecSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``exec``: the program that is executed, from its first instruction to its exit."""

    areas: tuple[AreaSpec, ...]
    stack_top: Bytes
    stack_pages: Positive = 33
    near_stack: Share = Share(1 / 16)
    """Share of the runs in which the stack stays in the GiB where it was made."""
    before: tuple[TouchSpec, ...] = ()
    protects: Protected | None = None
    after: tuple[TouchSpec, ...] = ()


def _area(name: str, start: int, pages: int, backing: Backing, present: int = 0) -> AreaSpec:
    """An area of which the first pages, or of a stack the last ones, are present."""
    first = pages - present if name == "stack" else 0
    return AreaSpec(
        name, Bytes(start), pages, backing, name not in ("text", "rodata", "headers"),
        tuple(range(first, first + present)),
    )  # fmt: skip


AREAS = (
    _area("text", 0x400000, 160, "file", 1),
    _area("relro", 0x4C8000, 4, "file", 2),
    _area("data", 0x4CC000, 6, "file", 3),
    _area("bss", 0x4D2000, 8, "anonymous", 4),
    _area("heap", 0x1A00000, 33, "anonymous", 2),
    _area("stack", 0x7FFD3A4E0000, 33, "anonymous", 3),
)
"""A static program: the 14 pages of its own are what fork() copies, in five batches."""

PARENT = (
    TouchSpec("stack", 32, by="kernel"),  # waitpid() stores the status
    TouchSpec("stack", 31),
    TouchSpec("data", 0),
)
"""What the parent writes from one fork() to the next."""

CHILD = (
    TouchSpec("stack", 32, by="kernel"),  # CLONE_CHILD_SETTID
    TouchSpec("text", 16, read=True),
    TouchSpec("text", 64, read=True),
    TouchSpec("stack", 31),
    TouchSpec("data", 0),
    TouchSpec("bss", 0),
    TouchSpec("heap", 0),
)
"""What the child touches until it exits: it has no entries for its code at first."""

EXECUTED = ExecSpec(
    areas=(
        _area("headers", 0x400000, 1, "file"),
        _area("text", 0x401000, 127, "file"),
        _area("rodata", 0x480000, 75, "file"),
        _area("data", 0x4DE000, 8, "file"),
        _area("bss", 0x4E6000, 8, "anonymous"),
        _area("heap", 0x1A00000, 33, "anonymous"),
        AreaSpec("vvar", Bytes(0x7FF12A44C000), 1, "special", writable=False),
        AreaSpec("vdso", Bytes(0x7FF12A44D000), 1, "special", writable=False),
    ),
    stack_top=Bytes(0x7FF12A440000),
    before=(
        TouchSpec("data", 7, by="kernel"),  # the loader clears the end of the data's last page
        TouchSpec("stack", 31, by="kernel"),
        TouchSpec("bss", 3, by="kernel"),
        TouchSpec("stack", 30, by="kernel", share=Share(0.76)),
        TouchSpec("headers", 0, read=True),
        *(TouchSpec("text", page, read=True) for page in (0, 15, 31, 47, 63, 79, 95, 111)),
        *(TouchSpec("rodata", page, read=True) for page in (0, 16, 32, 48, 64)),
        TouchSpec("vvar", 0, read=True),
        TouchSpec("vdso", 0, read=True),
        TouchSpec("data", 0),
        TouchSpec("data", 2, read=True),
        TouchSpec("data", 4),
        TouchSpec("data", 6),
    ),
    protects=Protected("data", 0, 5),
    after=(
        TouchSpec("bss", 0),
        TouchSpec("bss", 1),
        TouchSpec("heap", 0),
        TouchSpec("heap", 1),
    ),
)

_SIZES = {
    "mmap": MIB,
    "mprotect": MIB,
    "cow": MIB,
    "mtspin": 64 << 10,
    "vmalloc": 64 << 10,
    "hotplug": 128 * MIB,
}
_MOST_CREW = 64
"""An L1 has room for the temporary addresses of so many vCPUs."""


class Workload(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the guest does."""

    kind: str = "boot"
    iterations: Positive = 20
    """How often, after the warm-up."""
    warmup: Count = 5
    size: Bytes | None = None
    """What is mapped, touched, protected or copied; for fork and exec, what the parent has."""
    at: Bytes = Bytes(0x7F1234400000)
    """Where that lies. The default has tables of its own at every level."""
    areas: tuple[AreaSpec, ...] = AREAS
    parent: tuple[TouchSpec, ...] = PARENT
    child: tuple[TouchSpec, ...] = CHILD
    exec: ExecSpec = EXECUTED
    fresh_stacks: Share = Share(0)
    """Share of the forks whose kernel stack is mapped anew, and unmapped when it is given back."""
    kthread_switches: Share = Share(0)
    """How often in an iteration a kernel thread runs on the second thread's CPU (mtspin)."""
    tasks: Positive | None = None
    """How many tasks do it at a time, spread over the vCPUs. None: one (vmalloc: one a vCPU)."""
    pause: Nanoseconds = Nanoseconds(0)
    """The mean of a task's pauses between two iterations, which are exponential."""
    kept: Count = 0
    """Areas that a task keeps before it gives the oldest back (vmalloc)."""
    aliases: Aliases = "cleared"
    """Whether entries of an area are emptied at once or at the next purge (vmalloc)."""
    purge_at: Bytes | None = None
    """How much may wait for a purge; None: what the kernel lets wait."""
    others: Others = "fork"
    """What the vCPUs do that have none of the tasks (vmalloc, hotplug)."""
    start: Bytes | None = None
    """Physical address of the first block (hotplug); None: behind the RAM."""
    allocator: Allocator = "lock"
    """How vCPUs take pages for tables (parallel-boot) ..."""
    reserve: Positive = 16
    """... and how many at a time where each reserves its own."""
    shared_tables: SharedTables = "lock"
    """How an upper table that two vCPUs need comes about (parallel-boot)."""
    piece: Bytes | None = None
    """What a vCPU maps at a time (parallel-boot); None: an equal share of each range."""

    @property
    def bytes(self) -> int:
        """The size that counts."""
        return _SIZES.get(self.kind, 0) if self.size is None else self.size


def check_workload(workload: Workload, guest: Guest) -> None:
    """Raise InputError, which names the key, if this cannot be run on such a guest."""
    from experiments.errors import offer
    from experiments.scenario.quantities import as_written

    written = f"workload.kind = {as_written(workload.kind)}"
    if workload.kind not in KINDS:
        raise InputError(f"{written} is unknown; {offer(workload.kind, KINDS)}")
    if workload.kind == "boot":
        return
    if workload.kind == "parallel-boot":
        _check_crew(workload, guest.vcpus)
        return
    if workload.kind == "mtspin" and guest.vcpus < 2:
        raise InputError(f"{written} has two threads; it takes guest.vcpus = 2")
    if workload.kind == "hotplug":
        _check_hotplug(workload, guest)
    _check_size(workload)
    _check_program("workload", workload.areas, (*workload.parent, *workload.child))
    executed = workload.exec
    stack = AreaSpec(
        "stack",
        Bytes(executed.stack_top - (executed.stack_pages - 1) * PAGE_BYTES),
        executed.stack_pages,
    )
    touches = (*executed.before, *executed.after)
    _check_program("workload.exec", (*executed.areas, stack), touches)
    if executed.protects is not None:
        last = executed.protects.first + executed.protects.pages - 1
        _find("workload.exec.protects", TouchSpec(executed.protects.area, last), executed.areas)


def _check_crew(workload: Workload, vcpus: int) -> None:
    if vcpus > _MOST_CREW:
        raise InputError(
            f"guest.vcpus = {vcpus}: the temporary addresses of at most {_MOST_CREW} vCPUs fit "
            "into the table that they have"
        )
    if workload.piece is not None and (not workload.piece or workload.piece % (2 * MIB)):
        raise InputError(
            f"workload.piece = {format_size(workload.piece)} is not made of 2 MiB; "
            "two vCPUs never share an L1"
        )


def _check_hotplug(workload: Workload, guest: Guest) -> None:
    """The new memory lies behind the RAM, and PinLab knows what frames it has."""
    if guest.p2m is not None:
        raise InputError(
            "guest.p2m: the frames of memory that is added are derived; leave guest.p2m out"
        )
    first, last = added_memory(workload, guest)
    ram_end = end_of_ram(guest)
    if first < ram_end:
        raise InputError(f"workload.start = {first:#x} lies below the end of RAM, {ram_end:#x}")
    if first % PAGE_BYTES or last > DIRECT_MAP_BYTES:
        raise InputError(
            f"workload.start = {first:#x}: {format_size(last - first)} from there on are not whole "
            f"pages of Linux's direct map, which holds {format_size(DIRECT_MAP_BYTES)}"
        )


def added_memory(workload: Workload, guest: Guest) -> tuple[int, int]:
    """The bytes [start, end) that a guest gets while it runs."""
    size = workload.bytes
    start = workload.start
    first = -(-end_of_ram(guest) // max(size, 1)) * size if start is None else start
    return first, first + size * (workload.warmup + workload.iterations)


def _check_size(workload: Workload) -> None:
    size, start = workload.bytes, workload.at
    if size % PAGE_BYTES or start % PAGE_BYTES:
        raise InputError(
            f"workload.size = {format_size(size)} at {start:#x} is not made of 4 KiB pages"
        )
    if not size and workload.kind in _SIZES:
        raise InputError(f'workload.size is 0; "{workload.kind}" needs a size')
    if workload.kind in workload_kinds.KERNEL_KINDS:
        return
    if start + size > USER_END:
        raise InputError(f"workload.at = {start:#x}: user memory ends at {USER_END:#x}")
    for area in workload.areas:
        if size and area.start < start + size and start < area.start + area.pages * PAGE_BYTES:
            raise InputError(
                f"workload.at = {start:#x}: {format_size(size)} there overlap the area "
                f"{area.name!r} at {area.start:#x}"
            )


def _check_program(key: str, areas: tuple[AreaSpec, ...], touches: tuple[TouchSpec, ...]) -> None:
    for area in areas:
        if area.start % PAGE_BYTES or area.start + area.pages * PAGE_BYTES > USER_END:
            raise InputError(
                f"{key}.areas: {area.name!r} at {area.start:#x} is not whole pages of user memory"
            )
        if any(page >= area.pages for page in area.present):
            raise InputError(
                f"{key}.areas: {area.name!r} has {area.pages} pages, fewer than present"
            )
    for lower, upper in pairwise(sorted(areas, key=lambda area: area.start)):
        if lower.start + lower.pages * PAGE_BYTES > upper.start:
            raise InputError(f"{key}.areas: {lower.name!r} and {upper.name!r} overlap")
    for touch in touches:
        area = _find(key, touch, areas)
        if not (touch.read or area.writable):
            raise InputError(f"{key}: page {touch.page} of {touch.area!r} cannot be written")


def _find(key: str, touch: TouchSpec, areas: tuple[AreaSpec, ...]) -> AreaSpec:
    area = next((area for area in areas if area.name == touch.area), None)
    if area is None:
        known = ", ".join(area.name for area in areas)
        raise InputError(f"{key}: there is no area {touch.area!r}; there are {known}")
    if touch.page >= area.pages:
        raise InputError(f"{key}: {touch.area!r} has {area.pages} pages, so none is {touch.page}")
    return area


def tasks_of(workload: Workload, vcpus: int) -> int | None:
    """How many tasks there are at a time; None: the one of the recordings."""
    if workload.kind == "hotplug":
        return 1
    return vcpus if workload.kind == "vmalloc" and not workload.tasks else workload.tasks
