"""What processes do in a loop: the workloads whose page-table work is counted.

The driver runs on the first CPU. With a second one, children run there, as the recordings show.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

from models.linux.phase import PHASE_BEGINS, PHASE_ENDS
from models.linux.run.faults import touch
from models.linux.run.hotplug import add_memory
from models.linux.run.kernel import Cpu, RunningKernel
from models.linux.run.kernel_stack import KernelStacks
from models.linux.run.mapping import map_area, protect, unmap
from models.linux.run.mm import Area, Mm
from models.linux.run.pinning import pin_mm
from models.linux.run.process import begin_exec, exec_mmap, exit_mm, fork, new_mm, place_stack
from models.linux.run.switching import context_switch
from models.linux.run.vmalloc import Vmalloc
from models.linux.run.workloads.tasks import Storm, rest
from models.linux.run.workloads.tasks import activities as run_tasks
from models.linux.workload_kinds import KERNEL_KINDS, Backing, Others
from models.machine.entries import ENTRIES, PAGE_SHIFT
from sim.effects import STEP, Activity, Block, WaitUntil

_OTHERS_AREA = 16
"""Pages of an area that a CPU without a task maps."""
_NEAR_STACK_TOP = (1 << 35) - 8 * ENTRIES + 64
"""A last page of a stack in the GiB where it is made, but not in the same 2 MiB."""


class AreaPlan(NamedTuple):
    """An area of a program, and which of its pages the program has written before the loop."""

    name: str
    start: int
    """Its first page's number in the address space."""
    pages: int
    backing: Backing = "anonymous"
    writable: bool = True
    present: tuple[int, ...] = ()


class Touch(NamedTuple):
    """An access to a page of an area, by the program or by the kernel on its behalf."""

    area: str
    page: int
    write: bool = True
    user: bool = True
    share: float = 1.0
    """In which share of the iterations it happens."""


@dataclass(frozen=True)
class Program:
    """What a program's address space is like."""

    areas: tuple[AreaPlan, ...]


@dataclass(frozen=True)
class ExecPlan:
    """What a newly executed program does until it exits."""

    program: Program
    stack_top: int
    """The last page of its stack ..."""
    stack_pages: int
    near_stack_share: float = 1 / 16
    """... and in which share of the runs it lies in the GiB of the first stack. The kernel draws
    from 16 GiB (STACK_RND_MASK)."""
    before: tuple[Touch, ...] = ()
    read_only: tuple[str, int, int] | None = None
    """The pages (area, first, last) that the program's start-up code protects (RELRO) ..."""
    after: tuple[Touch, ...] = ()
    """... and what it touches before and after that."""


@dataclass(frozen=True)
class Plan:
    """A workload, with all that it depends on."""

    kind: str
    iterations: int
    warmup: int
    program: Program
    region_start: int
    """Page where mmap() puts what the loop maps ..."""
    region_pages: int
    """... and how many pages that are."""
    parent: tuple[Touch, ...] = ()
    """What the parent touches after fork(), before the next one."""
    child: tuple[Touch, ...] = ()
    executed: ExecPlan | None = None
    fresh_stacks: float = 0.0
    """Share of the forks whose kernel stack comes from vmalloc and is freed to it."""
    kthread_switches: float = 0.0
    """How often in an iteration a kernel thread runs on the CPU of the second thread."""
    tasks: int | None = None
    """How many tasks do it at a time. None: one, whose children run on the second CPU."""
    pauses: bool = False
    """Is there a pause between two iterations?"""
    others: Others = "idle"
    """What CPUs without a task do, where there are tasks."""
    kept: int = 0
    """Areas of vmalloc space that a task keeps."""
    clears_at_once: bool = True
    """Entries of an area are emptied when it is given back, not when it is flushed."""
    lazy_pages: int | None = None
    """Pages of vmalloc space that may wait for a flush; None: as many as the kernel lets."""
    added_from: int = 0
    """The first page (pfn) of the memory that is added."""


@dataclass
class _Run:
    """A workload in progress."""

    kernel: RunningKernel
    plan: Plan
    stacks: KernelStacks
    vmalloc: Vmalloc
    name: str = ""
    """Of the task, where there are several."""
    stays: bool = False
    """Children run on the CPU of their parent."""
    kept: list[int] = field(default_factory=list)
    """Addresses of the areas that are kept, the oldest first."""
    queue: list[Callable[[Cpu], Activity]] = field(default_factory=list)
    """What waits for the second CPU."""
    done: int = 0
    """Tasks that the second CPU has finished."""
    over: bool = False
    iteration: int = 0
    turns: int = 0
    """Kernel threads that wait for their turn on the second CPU."""
    partner: Mm | None = None
    """The second of two processes that take turns."""

    def happens(self, share: float) -> bool:
        """Is this one of the iterations in which something of this share happens?"""
        return int((self.iteration + 1) * share) > int(self.iteration * share)


def activities(kernel: RunningKernel, plan: Plan) -> list[Activity]:
    """One activity for each CPU."""
    vmalloc = Vmalloc(kernel, clears_at_once=plan.clears_at_once, lazy_pages=plan.lazy_pages)
    if plan.tasks is None:
        run = _Run(kernel, plan, KernelStacks(kernel, vmalloc), vmalloc)
        return [_drive(run), *(_serve(run, cpu) for cpu in kernel.cpus[1:])]
    tasks = [_task(kernel, plan, vmalloc, f" of task {number}") for number in range(plan.tasks)]
    storm = Storm(kernel, plan.warmup, plan.iterations, plan.pauses)
    return run_tasks(storm, tasks, partial(_elsewise, plan, vmalloc))


def _task(kernel: RunningKernel, plan: Plan, vmalloc: Vmalloc, name: str) -> "_Task":
    stacks = KernelStacks(kernel, vmalloc)
    return _Task(_Run(kernel, plan, stacks, vmalloc, name=name, stays=True))


class _Task:
    """A workload as one of several tasks that do the same."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._mm = run.kernel.init_mm

    def begin(self, cpu: Cpu) -> Activity:
        """Start the program, if what is done takes one."""
        run = self._run
        _, prepare = _KINDS[run.plan.kind]
        if run.plan.kind not in KERNEL_KINDS:
            self._mm = yield from _start_program(cpu, run.plan.program, f"parent{run.name}")
        if prepare is not None:
            yield from prepare(run, cpu, self._mm)

    def resume(self, cpu: Cpu) -> Activity:
        """Load the program's address space; a kernel thread borrows whatever is loaded."""
        kernel_thread = self._mm is self._run.kernel.init_mm
        yield from context_switch(cpu, None if kernel_thread else self._mm)

    def iterate(self, cpu: Cpu) -> Activity:
        """Once."""
        iterate, _ = _KINDS[self._run.plan.kind]
        yield from iterate(self._run, cpu, self._mm)
        self._run.iteration += 1


def _elsewise(plan: Plan, vmalloc: Vmalloc, cpu: Cpu, storm: Storm) -> Activity:
    """What a CPU without a task does until the tasks are done."""
    if plan.others == "idle":
        return
    # The size is that of the tasks' own areas or blocks; a process that forks maps none.
    pages = _OTHERS_AREA if plan.others == "vmalloc" else 0
    theirs = replace(plan, kind=plan.others, region_pages=pages)
    other = _task(storm.kernel, theirs, vmalloc, f" of CPU {cpu.number}")
    yield from other.begin(cpu)
    while not storm.over:
        yield from other.resume(cpu)
        yield from other.iterate(cpu)
        if plan.pauses:
            yield from rest(cpu)
        yield STEP


def _drive(run: _Run) -> Activity:
    """Warm up, then the iterations that count, on the first CPU."""
    kernel, plan = run.kernel, run.plan
    cpu = kernel.cpus[0]
    mm = yield from _start_program(cpu, plan.program, "parent")
    if plan.fresh_stacks:
        # The table for the first stacks is made once, and stays.
        yield from run.stacks.map(cpu)
        yield from run.stacks.unmap(cpu)
    iterate, prepare = _KINDS[plan.kind]
    if prepare is not None:
        yield from prepare(run, cpu, mm)
    for number in range(plan.warmup + plan.iterations):
        run.iteration = number
        if number == plan.warmup:
            yield PHASE_BEGINS
        yield from iterate(run, cpu, mm)
        if plan.pauses and number + 1 < plan.warmup + plan.iterations:
            yield from rest(cpu)
            yield from context_switch(cpu, mm)
    yield PHASE_ENDS
    run.over = True
    yield STEP


def _serve(run: _Run, cpu: Cpu) -> Activity:
    """A further CPU: it runs what is put on its queue, and is idle in between."""
    while True:
        yield Block(f"work for vCPU {cpu.number}", lambda: bool(run.queue) or run.over)
        if not run.queue:
            return
        task = run.queue.pop(0)
        yield STEP
        yield from task(cpu)
        yield STEP
        run.done += 1


def _elsewhere(run: _Run, cpu: Cpu, task: Callable[[Cpu], Activity]) -> Activity:
    """Have a task run to its end: on the second CPU, or here if there is none."""
    if run.stays or len(run.kernel.cpus) == 1:
        yield from task(cpu)
        return
    before = run.done
    run.queue.append(task)
    yield STEP
    # The driver's CPU is idle meanwhile, and keeps the address space that it has loaded.
    yield from context_switch(cpu, None)
    yield Block("the child's end", lambda: run.done > before)


# -- programs -----------------------------------------------------------------------------------


def _map_program(kernel: RunningKernel, mm: Mm, program: Program, *, above_stack: int = 0) -> None:
    """All areas; the kernel's own pages (vdso) move by so many pages, as the stack did."""
    for plan in program.areas:
        if any(area.name == plan.name for area in mm.areas):
            continue
        file: list[int] = []
        if plan.backing != "anonymous":
            file = _cached(kernel, plan)
        start = plan.start + (above_stack if plan.backing == "special" else 0)
        map_area(mm, Area(plan.name, start, start + plan.pages, plan.backing, plan.writable, file))


def _cached(kernel: RunningKernel, plan: AreaPlan) -> list[int]:
    """The page cache's pages of a file: the same for every process."""
    key = f"{plan.name} at {plan.start:#x}"
    pages = kernel.page_cache.get(key)
    if pages is None:
        pages = kernel.page_cache[key] = [kernel.alloc_page() for _ in range(plan.pages)]
    return pages


def _start_program(cpu: Cpu, program: Program, name: str) -> Activity:
    """A process that runs already: its address space, pinned, loaded and touched."""
    mm = yield from new_mm(cpu, name)
    yield from pin_mm(cpu, mm)
    yield from context_switch(cpu, mm)
    _map_program(cpu.kernel, mm, program)
    for plan in program.areas:
        for page in plan.present:
            yield from touch(cpu, mm, plan.start + page << PAGE_SHIFT, write=plan.writable)
    return mm


def _touch_all(run: _Run, cpu: Cpu, mm: Mm, touches: Iterable[Touch]) -> Activity:
    for what in touches:
        if what.share == 1 or run.happens(what.share):
            area = mm.area(what.area)
            va = area.start + what.page << PAGE_SHIFT
            yield from touch(cpu, mm, va, write=what.write, user=what.user)


# -- fork, exec ---------------------------------------------------------------------------------


def _prepare_region(run: _Run, cpu: Cpu, mm: Mm) -> Activity:
    """Anonymous memory, every page of it written."""
    plan = run.plan
    if plan.region_pages:
        area = map_area(mm, _region(plan))
        for page in range(area.start, area.end):
            yield from touch(cpu, mm, page << PAGE_SHIFT, write=True)


def _region(plan: Plan) -> Area:
    return Area("region", plan.region_start, plan.region_start + plan.region_pages)


def _fork_and_wait(run: _Run, cpu: Cpu, mm: Mm, body: Callable[[Cpu, Mm], Activity]) -> Activity:
    """fork(), the child's life, waitpid(), and the parent's way to the next fork()."""
    fresh = run.happens(run.plan.fresh_stacks)
    if fresh:
        yield from run.stacks.map(cpu)
    child = yield from fork(cpu, mm, f"child {run.iteration}{run.name}")

    def live(on: Cpu) -> Activity:
        yield from context_switch(on, child)
        yield from body(on, child)

    yield from _elsewhere(run, cpu, live)
    yield from context_switch(cpu, mm)
    if fresh:
        yield from run.stacks.unmap(cpu)
    yield from _touch_all(run, cpu, mm, run.plan.parent)


def _fork(run: _Run, cpu: Cpu, mm: Mm) -> Activity:
    def body(on: Cpu, child: Mm) -> Activity:
        yield from _touch_all(run, on, child, run.plan.child)
        yield from _exit(on, child)

    yield from _fork_and_wait(run, cpu, mm, body)


def _forkexec(run: _Run, cpu: Cpu, mm: Mm) -> Activity:
    def body(on: Cpu, child: Mm) -> Activity:
        yield from _touch_all(run, on, child, run.plan.child)
        yield from _exec_and_exit(run, on, child)

    yield from _fork_and_wait(run, cpu, mm, body)


def _vforkexec(run: _Run, cpu: Cpu, mm: Mm) -> Activity:
    """vfork(): the child uses its parent's address space until it executes a program."""
    fresh = run.happens(run.plan.fresh_stacks)
    if fresh:
        yield from run.stacks.map(cpu)
    mm.users += 1

    def live(on: Cpu) -> Activity:
        yield from context_switch(on, mm)
        yield from _exec_and_exit(run, on, mm)

    yield from _elsewhere(run, cpu, live)
    yield from context_switch(cpu, mm)
    if fresh:
        yield from run.stacks.unmap(cpu)


def _exec_and_exit(run: _Run, cpu: Cpu, old: Mm) -> Activity:
    """execve() of a program, its short life, and exit()."""
    plan = run.plan.executed
    assert plan is not None
    new = yield from begin_exec(cpu, f"program {run.iteration}{run.name}")
    yield from exec_mmap(cpu, old, new)
    top = plan.stack_top
    if run.happens(plan.near_stack_share):
        top = _NEAR_STACK_TOP
    yield from place_stack(cpu, new, top, plan.stack_pages)
    _map_program(cpu.kernel, new, plan.program, above_stack=top - plan.stack_top)
    yield from _touch_all(run, cpu, new, plan.before)
    if plan.read_only is not None:
        name, first, last = plan.read_only
        area = new.area(name)
        yield from protect(cpu, new, area, area.start + first, area.start + last, writable=False)
    yield from _touch_all(run, cpu, new, plan.after)
    yield from _exit(cpu, new)


def _exit(cpu: Cpu, mm: Mm) -> Activity:
    """exit(): the address space goes while its last CPU borrows it (enter_lazy_tlb, mmput)."""
    yield from context_switch(cpu, None)
    yield from exit_mm(cpu, mm)


def _cow(run: _Run, cpu: Cpu, mm: Mm) -> Activity:
    """fork(); the child writes to every page of the region."""

    def body(on: Cpu, child: Mm) -> Activity:
        yield from _touch_all(run, on, child, run.plan.child)
        for page in range(run.plan.region_start, run.plan.region_start + run.plan.region_pages):
            yield from touch(on, child, page << PAGE_SHIFT, write=True)
        yield from _exit(on, child)

    yield from _fork_and_wait(run, cpu, mm, body)


# -- mappings -----------------------------------------------------------------------------------


def _mmap(run: _Run, cpu: Cpu, mm: Mm) -> Activity:
    """mmap(), a byte to each page, munmap()."""
    area = map_area(mm, _region(run.plan))
    for page in range(area.start, area.end):
        yield from touch(cpu, mm, page << PAGE_SHIFT, write=True)
    yield from unmap(cpu, mm, area)


def _mprotect(run: _Run, cpu: Cpu, mm: Mm) -> Activity:  # noqa: ARG001 - as the others
    """mprotect() of the region to read-only, and back."""
    for writable in (False, True):
        area = mm.area("region")
        yield from protect(cpu, mm, area, area.start, area.end, writable=writable)


# -- threads ------------------------------------------------------------------------------------


def _prepare_switches(run: _Run, cpu: Cpu, mm: Mm) -> Activity:
    """A second process, which takes turns with the first."""
    other = yield from fork(cpu, mm, f"partner{run.name}")
    run.partner = other


def _ctxsw(run: _Run, cpu: Cpu, mm: Mm) -> Activity:
    """To the other process and back."""
    other = run.partner
    assert other is not None
    yield from context_switch(cpu, other)
    yield from context_switch(cpu, mm)


def _prepare_thread(run: _Run, cpu: Cpu, mm: Mm) -> Activity:  # noqa: ARG001 - as the others
    """A second thread on the second CPU: it only spins, but for kernel threads' turns."""
    mm.users += 1
    started: list[bool] = []

    def spin(on: Cpu) -> Activity:
        yield from context_switch(on, mm)
        started.append(True)
        while True:
            yield WaitUntil(
                "a kernel thread's turn", lambda: run.over or run.turns > 0, computing=True
            )
            if run.over:
                return
            run.turns -= 1
            yield from context_switch(on, None)
            yield from context_switch(on, mm)

    run.queue.append(spin)
    yield STEP
    yield Block("the second thread", lambda: bool(started))


def _mtspin(run: _Run, cpu: Cpu, mm: Mm) -> Activity:
    """The first thread maps, touches and unmaps while the second spins."""
    yield from _mmap(run, cpu, mm)
    if run.happens(run.plan.kthread_switches):
        run.turns += 1
        yield STEP


# -- the kernel's own mappings ------------------------------------------------------------------


def _vmalloc(run: _Run, cpu: Cpu, mm: Mm) -> Activity:  # noqa: ARG001 - as the others
    """vmalloc() of an area, and vfree() of the oldest one if more are there than are kept.

    Its pages are free when vfree() returns, whenever the mapping of them goes.
    """
    kernel, vmalloc = run.kernel, run.vmalloc
    yield STEP
    pages = [kernel.alloc_page() for _ in range(run.plan.region_pages)]
    run.kept.append((yield from vmalloc.map(cpu, pages)))
    if len(run.kept) > run.plan.kept:
        va = run.kept.pop(0)
        pages = list(vmalloc.mapped[va])
        yield from vmalloc.unmap(cpu, va)
        yield STEP
        for pfn in pages:
            kernel.free_page(pfn)


def _hotplug(run: _Run, cpu: Cpu, mm: Mm) -> Activity:  # noqa: ARG001 - as the others
    """The next block of memory is added."""
    first = run.plan.added_from + run.iteration * run.plan.region_pages
    yield from add_memory(cpu, first, first + run.plan.region_pages)


_Iterate = Callable[[_Run, Cpu, Mm], Activity]
_KINDS: dict[str, tuple[_Iterate, _Iterate | None]] = {
    "fork": (_fork, _prepare_region),
    "forkexec": (_forkexec, _prepare_region),
    "vforkexec": (_vforkexec, _prepare_region),
    "cow": (_cow, _prepare_region),
    "mmap": (_mmap, None),
    "mprotect": (_mprotect, _prepare_region),
    "ctxsw": (_ctxsw, _prepare_switches),
    "mtspin": (_mtspin, _prepare_thread),
    "vmalloc": (_vmalloc, None),
    "hotplug": (_hotplug, None),
}
