"""Several CPUs that fork, map and exit at the same time."""

import pytest

from models.linux.run.faults import touch
from models.linux.run.kernel import Cpu
from models.linux.run.mapping import map_area, unmap
from models.linux.run.pinning import pin_mm
from models.linux.run.process import exit_mm, fork, new_mm
from models.linux.run.switching import context_switch
from models.xen.checks.invariants import check, require_at_rest
from sim.effects import Activity
from tests.models.linux.kernels import running_kernel, timed
from tests.models.linux.test_pinning import anonymous


def storm(cpu: Cpu, rounds: int) -> Activity:
    """A process that forks children, which write and exit, and maps memory in between."""
    mm = yield from new_mm(cpu, f"parent {cpu.number}")
    yield from pin_mm(cpu, mm)
    yield from context_switch(cpu, mm)
    map_area(mm, anonymous(0x1000, 4))
    for page in range(0x1000, 0x1004):
        yield from touch(cpu, mm, page << 12, write=True)
    for number in range(rounds):
        child = yield from fork(cpu, mm, f"child {cpu.number}.{number}")
        yield from context_switch(cpu, child)
        yield from touch(cpu, child, 0x1001 << 12, write=True)
        yield from context_switch(cpu, None)
        yield from exit_mm(cpu, child)
        yield from context_switch(cpu, mm)
        area = map_area(mm, anonymous(0x40000, 3))
        for page in range(area.start, area.end):
            yield from touch(cpu, mm, page << 12, write=True)
        yield from unmap(cpu, mm, area)
    yield from context_switch(cpu, None)
    yield from exit_mm(cpu, mm)


@pytest.mark.parametrize("vcpus", [2, 4])
def test_storms_on_several_cpus_leave_nothing_behind(vcpus: int) -> None:
    """Each has its own buffer and its own address spaces; what they share are locks and pages."""
    kernel = running_kernel(vcpus=vcpus)
    pinned = set(kernel.pinned)

    timed(kernel, *(storm(cpu, 4) for cpu in kernel.cpus))

    check(kernel.xen)
    require_at_rest(kernel.xen)
    assert ([], pinned, {}, []) == (
        kernel.refused,
        kernel.pinned,
        kernel.pages,
        kernel.pgd_list,
    )
    assert not any(cpu.buffer.entries or cpu.buffer.callbacks for cpu in kernel.cpus)
