"""The record of a run: one family of typed structs, whatever kind of run it is.

JSON, Parquet columns, the lines of tables, the JSON Schema and the reference page are derived from
these structs, so a figure is named here and nowhere else. Null stands where a run has no such
figure, or where nobody measured it; 0 was counted.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from experiments.record.columns import row
from experiments.record.outcome import Outcome
from experiments.record.presenting import as_pandas, as_polars, html_table
from models.linux.crash import CrashKind
from sim.metrics import ACCOUNTS, Accounts

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

RUN_SCHEMA: Literal["pinlab.run/1"] = "pinlab.run/1"

FailureKind = CrashKind | Literal["deadlock", "latent", "crash"]


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong, where and when, in the words of the hypervisor and of the guest."""

    kind: FailureKind
    """Of what kind: a refused pin, hook or remap, an oops, a BUG, a deadlock, or latent damage."""
    vcpu: int = 0
    """The vCPU on which it showed."""
    time_ns: int | None = None
    """When, on the clock; null where the run has none."""
    mfn: str | None = None
    """The machine frame that is to blame, in hexadecimal."""
    pfn: str | None = None
    """The guest's number of that page, in hexadecimal."""
    console: list[str] = []
    """The hypervisor's lines, without the prefix (XEN)."""
    guest_console: list[str] = []
    """The guest kernel's lines."""
    explanation: str
    """What it means."""


class VcpuTimes(msgspec.Struct, frozen=True, kw_only=True):
    """Where the time of one vCPU went, ns. The parts add up to the wall time."""

    guest: int
    """In guest mode, spinning of its own included."""
    hypervisor: int
    """In the hypervisor, for this vCPU."""
    tlb: int
    """On what the latency profile books as work on translations, in either mode."""
    lock_wait: int
    """Spinning: for locks, conditions and acknowledgements."""
    steal: int
    """Without a pCPU although there was something to do."""
    idle: int
    """With nothing to do."""


class Times(msgspec.Struct, frozen=True, kw_only=True):
    """Where the time of the measured phase went, ns.

    ``total`` is wall time. The parts are summed over the guest's vCPUs and add up to the number of
    vCPUs times ``total``.
    """

    total: int
    """Wall time."""
    guest: int
    """In guest mode, spinning of its own included."""
    hypervisor: int
    """In the hypervisor."""
    tlb: int
    """On what the latency profile books as work on translations, in either mode."""
    lock_wait: int
    """Spinning: for locks, conditions and acknowledgements."""
    steal: int
    """Without a pCPU although there was something to do."""
    idle: int
    """With nothing to do."""
    by_vcpu: list[VcpuTimes]
    """The parts of each vCPU, in the order of their numbers."""


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """What was called and done in the measured phase.

    Calls are counted whether they were made directly or as an entry of a multicall.
    """

    traps: int
    """Hypercalls that entered the hypervisor: a multicall once, a continuation again."""
    update_va_mapping: int
    """Calls of update_va_mapping."""
    mmuext_op: int
    """Operations of mmuext_op: pins, unpins, changes of the base, flushes."""
    mmu_update: int
    """Calls of mmu_update."""
    multicall: int
    """Multicalls."""
    multicall_entries: int
    """Entries of all multicalls."""
    mmu_update_requests: int
    """Entries of all mmu_update calls."""
    pin_l1: int
    """Pins of L1 tables."""
    pin_l2: int
    """Pins of L2 tables."""
    pin_l3: int
    """Pins of L3 tables."""
    pin_l4: int
    """Pins of L4 tables."""
    unpin: int
    """Tables that were unpinned."""
    tlb_flush: int
    """Flushes that the guest asked for, of single pages (INVLPG) included."""
    ptwr: int
    """Stores to read-only tables that the hypervisor emulated."""
    plain_stores: int
    """Stores to tables that did not trap; clearing a page counts as 512."""
    validated_entries: int
    """Entries that the hypervisor looked at when pages became tables."""
    mask_lookups: int | None
    """Leaves for which a strategy looked a page up in a range, a set or memblock."""


class Pages(msgspec.Struct, frozen=True, kw_only=True):
    """The pages of the direct map's tables."""

    l1: int
    """Fresh L1 tables."""
    l2: int
    """Fresh L2 tables."""
    l3: int
    """Fresh L3 tables."""
    tables: int
    """Their sum."""
    reserved: int
    """Pages that were set aside for them."""
    left_over: int
    """Those that were set aside and not used."""
    left_read_only: int
    """Pages that are no table and are mapped read-only at the end, p2m pages apart."""


class Hazard(msgspec.Struct, frozen=True, kw_only=True):
    """Windows in which a page table had a writable mapping."""

    windows: int
    """How many were opened."""
    unreachable: int
    """Those of which the kernel found no path to the writable mapping."""
    open_ns_total: int
    """How long all stood open, ns."""
    open_ns_max: int
    """How long the longest stood open, ns."""


class BufferRange(msgspec.Struct, frozen=True, kw_only=True):
    """A range of physical addresses that was set aside for tables, in hexadecimal."""

    start: str
    """Its first byte."""
    end: str
    """The end of what was used."""
    top: str
    """Its own end."""


class LockFigures(msgspec.Struct, frozen=True, kw_only=True):
    """How often a lock, or locks of a kind, were taken, and for how long."""

    taken: int
    """How often."""
    waited: int
    """How often it was busy at first."""
    wait_ns: int
    """How long it was waited for in all, ns."""
    hold_ns: int
    """How long it was held in all, ns."""


class Parallel(msgspec.Struct, frozen=True, kw_only=True):
    """How a boot was shared out among several vCPUs."""

    vcpus: int
    """On so many."""
    pieces: int
    """Pieces of the map that were handed out."""
    locks: dict[str, LockFigures]
    """Waits and holds, by the lock's name."""


class RaceSearch(msgspec.Struct, frozen=True, kw_only=True):
    """What was looked for in a race of the catalogue, how, and what was found."""

    id: str
    """Its id, as R1."""
    title: str
    """What it is."""
    kind: str
    """A race, an order, a hypervisor's defect."""
    fix: Literal["on", "off"]
    """Whether what was done about it is in place."""
    vcpus: int
    """vCPUs of the guest."""
    hypervisor: dict[str, Any]
    """What is other than in the Xen of that version."""
    detector: str | None
    """Which of the race's own symptoms showed."""
    detects: str | None
    """What that symptom is."""
    expected: str
    """What is known to come of it, with this fix."""
    measured: dict[str, Any]
    """Figures of the race's own."""
    searched: Literal["orders", "seeds"]
    """Orders of steps without a clock, or runs on the clock with other draws."""
    tried: int
    """So many."""
    all_orders_with_switches: int | None = None
    """All orders with so many forced switches were tried, where nothing was found."""
    runs_beside: int | None = None
    """Runs on the clock beside the orders."""
    switches: int | None = None
    """Forced switches of the order that fails."""
    schedule: list[int] | None = None
    """That order: who makes each step."""
    tape: str | None = None
    """The same with all choices, for a replay."""
    replication: int | None = None
    """The run on the clock that is told."""
    shrunk: dict[str, Any] | None = None
    """The shortest order found that fails alike."""
    cause: str | None = None
    """The two steps whose order matters, in words."""
    steps: int | None = None
    """Steps of the run on the clock that failed."""


class Interval(msgspec.Struct, frozen=True):
    """A mean with its 95 % interval, ns."""

    mean: float
    """The mean."""
    low: float
    """The lower end."""
    high: float
    """The upper end."""


class MeanTimes(msgspec.Struct, frozen=True, kw_only=True):
    """The times of several runs that drew other numbers, as in a record's ``time_ns``."""

    total: Interval
    """Wall time."""
    guest: Interval
    """In guest mode."""
    hypervisor: Interval
    """In the hypervisor."""
    tlb: Interval
    """On translations."""
    lock_wait: Interval
    """Spinning."""
    steal: Interval
    """Without a pCPU."""
    idle: Interval
    """With nothing to do."""


class Replications(msgspec.Struct, frozen=True, kw_only=True):
    """What several runs with other draws came to together."""

    n: int
    """So many runs."""
    counts_same: bool
    """Whether all counted the same."""
    time_ns: MeanTimes
    """Their times."""
    baseline: str
    """The strategy to which differences are taken."""
    difference_ns: Interval | None
    """Of the total to the baseline's, between runs that drew the same numbers."""


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """What made a document, so that the same can be made again."""

    pinlab: str
    """Version of PinLab."""
    code: str
    """Hash of the sources that decide the document."""
    settings: Any
    """What was asked for, in its full spelling, with all that ``--set`` changed."""
    seed: int | None = None
    """The seed; null where nothing is drawn."""
    python: str
    """Version of Python."""
    numpy: str
    """Version of numpy."""
    simpy: str
    """Version of SimPy."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One run: what was run, how it came out, and what was measured."""

    schema: Literal["pinlab.run/1"] = RUN_SCHEMA
    """The form of this document."""
    provenance: Provenance | None = None
    """What made it; null where it is a row of a document that says so for all."""
    scenario: str
    """The scenario's name."""
    scenario_hash: str
    """16 digits that tell scenarios apart by all that can influence a run."""
    strategy: str
    """The strategy under which the guest boots."""
    policies: dict[str, Any] | None = None
    """The parts that the strategy is composed of."""
    recombined: dict[str, str | int] = {}
    """Parts that are not the strategy's own."""
    xen: str
    """The hypervisor's version."""
    profile: str
    """The latency profile."""
    seed: int
    """Decides every draw, together with ``replication``."""
    replication: int
    """Which of several runs with the same seed."""
    outcome: Outcome
    """How it came out. Latent: it went on, with damage."""
    failure: Failure | None
    """What went wrong; null: nothing."""
    time_ns: Times | None
    """Where the time went; null where the run has no clock."""
    counts: Counts
    """What was called and done."""
    pages: Pages | None = None
    """The pages of the direct map's tables; null for runs that are not boots."""
    hazard: Hazard | None = None
    """Windows in which a table could be written; null for runs that are not boots."""
    time_by_cost_ns: dict[str, int] | None = None
    """Time by named cost, ns, over both modes; work that straddles the phase's ends is whole."""
    xen_counters: dict[str, dict[str, int]]
    """The hypervisor's and the guest's counters by group, without those that are 0."""
    buffers: list[BufferRange] | None = None
    """What was set aside for tables; null for runs that are not boots."""
    allocations: dict[str, str] | None = None
    """Named allocations of the boot and their addresses; null for runs that are not boots."""
    workload: str
    """The kind of what was run."""
    parallel: Parallel | None = None
    """For boots on several vCPUs."""
    iterations: int | None = None
    """Of a workload of processes: how often, after the warm-up."""
    tasks: int | None = None
    """How many tasks did it at a time."""
    per_iteration: dict[str, dict[str, float]] | None = None
    """Its counters over the number of iterations, under the names of the recordings."""
    race: RaceSearch | None = None
    """For a race of the catalogue."""
    replications: Replications | None = None
    """Where a comparison made several runs: what they came to."""

    @property
    def ok(self) -> bool:
        """Did nothing go wrong?"""
        return self.failure is None

    def row(self) -> dict[str, Any]:
        """Its single values with dotted names, as sweeps have them as columns."""
        return row(self)

    def to_polars(self) -> "pl.DataFrame":
        """The row as a data frame."""
        return as_polars([self.row()])

    def to_pandas(self) -> "pd.DataFrame":
        """The row as a data frame.

        Raises:
            ImportError: pandas is not installed; PinLab does without it.
        """
        return as_pandas([self.row()])

    def __repr__(self) -> str:
        said = f"{self.scenario}, {self.strategy}: {self.outcome}"
        if self.failure is not None:
            said += f" ({self.failure.kind})"
        time = "" if self.time_ns is None else f", {self.time_ns.total / 1e6:,.3f} ms"
        return f"<Record of {said}, {self.counts.traps:,} traps{time}>"

    def _repr_html_(self) -> str:
        return html_table(repr(self).strip("<>"), [self.row()])


def outcome_of(failure: Failure | None) -> Outcome:
    """How a run with this failure, or none, has come out."""
    if failure is None:
        return "ok"
    return failure.kind if failure.kind in ("latent", "deadlock") else "crash"


def times_of(total_ns: int, by_vcpu: Iterable[Accounts]) -> Times:
    """The times of a phase from those of each vCPU."""
    parts = [VcpuTimes(**{name: getattr(one, name) for name in ACCOUNTS}) for one in by_vcpu]
    sums = {name: sum(getattr(part, name) for part in parts) for name in ACCOUNTS}
    return Times(total=total_ns, by_vcpu=parts, **sums)


_DECODER = msgspec.json.Decoder(Record)


def decoded(text: bytes) -> Record:
    """The record that a JSON text holds.

    Raises:
        msgspec.DecodeError: it holds none.
    """
    return _DECODER.decode(text)
