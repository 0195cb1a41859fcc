"""A vCPU as a scheduler sees it, and what a scheduling policy has to answer."""

from dataclasses import dataclass
from typing import Protocol

from sim.vcpu.state import VCpu


@dataclass(slots=True, eq=False)
class Task:
    """One vCPU: where it belongs, since when, and what its policy remembers of it."""

    vcpu: VCpu
    pcpu: int
    """Where it runs, or ran last."""
    runnable: bool = True
    since_ns: int = 0
    """Running, runnable or blocked since then."""
    burned_ns: int = 0
    """Up to then its time on a pCPU was taken off its credit."""
    credit_ns: int = 0
    """What it may run before others come first; below 0 it has run more."""
    priority: int = 0
    active: bool = True
    """It has run lately: it gets a share of new credit (credit1)."""

    def burn(self, now_ns: int) -> None:
        """Take the time that it has run off its credit."""
        self.credit_ns -= now_ns - self.burned_ns
        self.burned_ns = now_ns


Running = list[Task | None]
"""Who runs on each pCPU; None where nobody does."""


class RunQueues(Protocol):
    """The vCPUs that could run, and what to do with them. All times are in whole nanoseconds."""

    @property
    def tick_ns(self) -> int:
        """How often :meth:`tick` wants to be called; 0: never."""

    def add(self, task: Task) -> None:
        """A vCPU that can run from the start."""

    def wake(self, task: Task, now_ns: int) -> int | None:
        """A vCPU can run again; the pCPU that should look for somebody better, if any."""

    def choose(self, pcpu: int, now_ns: int) -> tuple[Task | None, int]:
        """Who runs on this pCPU from now on, and how long until it should look again.

        Whoever runs there now may go on, or is put back among the others.
        """

    def block(self, task: Task, now_ns: int) -> None:
        """A vCPU that was running has nothing to do; it has left its pCPU."""

    def tick(self, number: int, now_ns: int) -> None:
        """The so-manieth period of ``tick_ns`` has ended."""


class Policy(Protocol):
    """The parameters of a scheduler."""

    @property
    def begins(self) -> str:
        """``aligned``: first slices are whole; ``anywhere``: the run begins within some slice."""

    def queues(self, running: Running) -> RunQueues:
        """Empty queues for these pCPUs; ``running`` is kept up to date by the scheduler."""
