"""R14: execve() fails early, and unpins what was never pinned."""

from collections.abc import Sequence

from models.linux.run.process import begin_exec, exit_mm
from models.races.race import Fix, Race, Stage
from sim.effects import Activity


def prepare(stage: Stage) -> Activity:  # noqa: ARG001 - nothing is there beforehand
    """A kernel that has just booted."""
    yield from ()


def actors_on(stage: Stage) -> Sequence[Activity]:
    """A program is executed that turns out not to be one."""
    return [_fails(stage)]


def _fails(stage: Stage) -> Activity:
    cpu = stage.cpu(0)
    mm = yield from begin_exec(cpu, "no program")
    yield from exit_mm(cpu, mm)


RACE = Race(
    id="R14",
    title="unpinning an address space that was never pinned",
    kind="order",
    actors=("execve: gives up before it pins",),
    fix=Fix(
        "exit_tests_pinned",
        "exit_mmap() asks whether the pgd is pinned",
        ("df912ea4ae72",),
    ),
    detectors=("D8",),
    without_fix="latent: Xen refuses the unpin (kernels of 2007 stop there with a BUG)",
    with_fix="ok: nothing is unpinned",
    story=(
        "exec prepares a new address space and pins it when it is about to be used. If the file "
        "cannot be executed, the address space is given up before that. exit_mmap() unpinned it "
        "all the same, and Xen answers that the page is not pinned."
    ),
    prepare=prepare,
    actors_on=actors_on,
    vcpus=1,
)
