"""What a catalogued race is: a record, and a small running kernel in which it may come about."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from models.linux.run.fixes import Fixes
from models.linux.run.kernel import Cpu, RunningKernel
from models.linux.run.mm import Mm
from models.races.seen import Seen
from models.xen.versions.abi import Abi
from sim.effects import STEP, Activity, Spend

Kind = Literal["race", "order", "deadlock", "cost", "checked-not-a-race"]
Search = Literal["orders", "seeds"]
Side = Literal["kernel", "hypervisor"]

GAP = Spend("race_gap")
"""The pause of an actor between two of its attempts: drawn where there is a clock."""


def pause() -> Activity:
    """An actor rests, and what it looks at next is what is there then."""
    yield GAP
    yield STEP


DETECTORS = {
    "D1": "a store hits a page that is read-only, and no L1 for which Xen would make it",
    "D2": "a type that is asked for is refused, since the page is in use as another",
    "D3": "a table is unpinned or made writable while a CPU has it loaded",
    "D4": "leave_mm on a CPU that runs in that address space",
    "D5": "CPUs wait for each other",
    "D6": "an update that is still queued is taken for done",
    "D7": "a page-table page is freed while another CPU walks it",
    "D8": "a call was refused and the kernel went on",
    "D9": "the guest stops: BUG or oops",
    "D10": "a malformed call",
    "D11": "a flag of a page is lost",
    "D12": "the hypervisor's accounts are wrong: words, counts and tables do not agree",
    "D13": "a page is given back while a CPU has a translation of it that no table holds",
}


@dataclass(frozen=True)
class Fix:
    """The historical fix: the field that switches it, what it does, its commits."""

    switch: str
    what: str
    commits: tuple[str, ...]
    side: Side = "kernel"
    """Whose fix it is: ``switch`` is a field of ``Fixes``, or of the hypervisor's ``Abi``."""
    reverse: bool = False
    """The field names what was done before the fix: it is False with the fix."""


@dataclass
class Stage:
    """A small running kernel and what the actors of a race share. Copied for every execution."""

    COUNTED: ClassVar = ("opportunities", "near_misses")
    """Attributes that are only ever counted up while it runs."""
    kernel: RunningKernel
    rounds: int = 1
    """How often each actor tries."""
    mms: dict[str, Mm] = field(default_factory=dict)
    pages: dict[str, int] = field(default_factory=dict)
    """Pages (pfns) or frames that the actors speak of, by a name."""
    parts: dict[str, Any] = field(default_factory=dict)
    """What else of a kernel this race takes, by a name."""
    fix: bool = True
    turn: int = 0
    """Where the actors are in what they do by turns."""
    over: bool = False
    """The actor that sets the pace has ended."""
    opportunities: int = 0
    near_misses: int = 0
    """Opportunities that came while a window was open, whatever held them off."""
    notes: Counter[str] = field(default_factory=Counter)
    """What the actors have counted, by a name."""

    def cpu(self, number: int) -> Cpu:
        """One of the kernel's CPUs."""
        return self.kernel.cpus[number]

    def end_rounds(self) -> None:
        """The actor that sets the pace has ended: whoever goes round and round ends, too.

        Where each tries once only, nobody need know.
        """
        if self.rounds > 1:
            self.over = True

    @property
    def failed(self) -> bool:
        """Has the hypervisor refused something?"""
        return bool(self.kernel.refused_calls)


@dataclass(frozen=True)
class Race:
    """One entry of the catalogue.

    ``prepare`` sets the stage, without a clock; ``actors_on`` makes one activity for each vCPU;
    ``window`` tells whether the window is open at this moment.
    """

    id: str
    title: str
    kind: Kind
    actors: tuple[str, ...]
    fix: Fix
    detectors: tuple[str, ...]
    without_fix: str
    with_fix: str
    story: str
    prepare: Callable[[Stage], Activity]
    actors_on: Callable[[Stage], Sequence[Activity]]
    opportunity: str = ""
    """What counts as an opportunity; empty where odds make no sense."""
    window: Callable[[Stage], bool] | None = None
    window_seen: Callable[[Stage, Seen], bool] | None = None
    """The same for who looks again and again: it reads through ``Seen`` all that may change. None:
    the window is told by a value or two, and comparing these would be no cheaper."""
    rounds: int | None = None
    """How often the actors go round where there is a clock; None: as often as is asked for."""
    gap: str = "20us"
    """The mean pause between two attempts, unless somebody asks for another."""
    vcpus: int = 2
    """How many vCPUs it takes at least."""
    search: Search = "orders"
    """How a failure is looked for: through orders of steps, or with a clock and seeds (where
    interrupts are sent)."""
    switches: int = 2
    """How often an order may take a vCPU off that could go on."""
    bug: str = "D9"
    """Which detector a BUG of the guest is."""
    hypervisor: tuple[tuple[str, int], ...] = ()
    """Fields of the hypervisor's version that are other here, with the fix and without."""
    inspect: Callable[[Stage], tuple[str, str] | None] | None = None
    """Looks at what is left where nobody has noticed a failure: a detector and what it sees."""
    measures: Callable[[Stage], dict[str, Any]] | None = None
    """What is measured where nothing fails."""
    limits: str = ""
    """What the model leaves out."""

    def fixes(self, *, on: bool) -> Fixes:
        """The kernel's fixes: all, or all but this one."""
        return replace(Fixes(), **self._switched("kernel", on=on))

    def abi(self, version: Abi, *, on: bool) -> Abi:
        """The hypervisor: this version, with this fix or without where it is the hypervisor's."""
        fields: dict[str, Any] = dict(self.hypervisor)
        return replace(version, **fields, **self._switched("hypervisor", on=on))

    def _switched(self, side: Side, *, on: bool) -> dict[str, Any]:
        fix = self.fix
        return {fix.switch: on is not fix.reverse} if fix.switch and fix.side == side else {}
