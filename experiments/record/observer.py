"""What is watched during a run: measured phases, hazard windows, hypercalls."""

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from models.linux.boot.hazard import HazardClosed, HazardOpened
from models.linux.boot.tables import TableFilled
from models.linux.phase import Phase
from models.xen.hypercalls import (
    Called,
    EmulatedStore,
    Emulation,
    MmuextOp,
    MmuUpdate,
    Multicall,
    Unknown,
    UpdateVaMapping,
    Violation,
)
from models.xen.words import MMUEXT_NAMES
from sim.metrics import Accounts

if TYPE_CHECKING:
    from experiments.record.events import TimingLog


class Snapshot(NamedTuple):
    """What has been counted and spent until a moment."""

    counters: Counter[tuple[str, str]]
    """The hypervisor's, by group and name."""
    guest_counts: Counter[str]
    by_vcpu: list[Accounts]
    """Of the guest's vCPUs; each adds up to the time."""
    time_ns: int


class Measurement:
    """Counts and times of the measured phases together."""

    def __init__(self) -> None:
        self.counters: Counter[tuple[str, str]] = Counter()
        self.guest_counts: Counter[str] = Counter()
        self.by_vcpu: list[Accounts] = []
        self.total_ns = 0

    def add(self, began: Snapshot, ended: Snapshot) -> None:
        """Add what lies between two moments."""
        self.counters.update(_grown(ended.counters, began.counters))
        self.guest_counts.update(_grown(ended.guest_counts, began.guest_counts))
        while len(self.by_vcpu) < len(ended.by_vcpu):
            self.by_vcpu.append(Accounts())
        for sum_of, end, begin in zip(self.by_vcpu, ended.by_vcpu, began.by_vcpu, strict=True):
            sum_of.add(end.since(begin))
        self.total_ns += ended.time_ns - began.time_ns

    def by_cost(self) -> dict[str, int]:
        """Time by named cost over all vCPUs, ns."""
        together = Accounts()
        for accounts in self.by_vcpu:
            together.add(accounts)
        return dict(sorted(together.by_cost.items()))


class Observer:
    """A probe that keeps what the run record is made of."""

    def __init__(self, snapshot: Callable[[int], Snapshot], log: "TimingLog | None") -> None:
        """``snapshot(time_ns)`` takes one at a moment that no vCPU has passed unfinished."""
        self.measured = Measurement()
        self.filled_at: dict[int, int] = {}
        """region -> when its leaves were written, ns."""
        self.windows = 0
        self.window_ns: list[int] = []
        self._opened_at: dict[int, int] = {}
        self._snapshot = snapshot
        self._log = log
        self._depth = 0
        self._began: Snapshot | None = None
        self._call_began_ns: dict[int, int] = {}

    def note(self, vcpu: int, time_ns: int, what: object) -> None:
        """Keep what a model reports."""
        kind = what.__class__
        if kind is TableFilled:
            self.filled_at[what.region] = time_ns  # type: ignore[attr-defined]
        elif isinstance(what, Called):
            self._called(vcpu, time_ns, what)
        elif kind is HazardOpened:
            self.windows += 1
            self._opened_at[what.pfn] = time_ns  # type: ignore[attr-defined]
        elif kind is HazardClosed:
            self.window_ns.append(time_ns - self._opened_at.pop(what.pfn))  # type: ignore[attr-defined]
        elif isinstance(what, Phase):
            self._phase(time_ns, begins=what.begins)

    def close(self, time_ns: int) -> None:
        """The run is over: what is still open or measured ends here."""
        if self._depth:
            self._depth = 1
            self._phase(time_ns, begins=False)
        self.window_ns += [time_ns - opened_ns for opened_ns in self._opened_at.values()]
        self._opened_at.clear()

    def _phase(self, time_ns: int, *, begins: bool) -> None:
        """Phases nest; what is measured is the time inside any of them."""
        if begins:
            self._depth += 1
            if self._depth == 1:
                self._began = self._snapshot(time_ns)
            return
        self._depth -= 1
        if self._depth or self._began is None:
            return
        self.measured.add(self._began, self._snapshot(time_ns))
        self._began = None

    def _called(self, vcpu: int, time_ns: int, called: Called) -> None:
        if not called.ended:
            self._call_began_ns[vcpu] = time_ns
            return
        began_ns = self._call_began_ns.pop(vcpu)
        assert self._log is not None
        self._log.append(
            began_ns, time_ns - began_ns, vcpu, *_described(called.call), _result(called.result)
        )


def _grown(now: Counter[Any], before: Counter[Any]) -> dict[Any, int]:
    return {key: value - before[key] for key, value in now.items() if value != before[key]}


def _described(call: object) -> tuple[str, str, int | None, int | None, int]:
    """(kind, op, target, value, entries) of a call, as the log has them."""
    if isinstance(call, UpdateVaMapping):
        return "update_va_mapping", "update_va_mapping", call.va, call.entry, 1
    if isinstance(call, MmuUpdate):
        pointer, value = call.requests[0] if call.requests else (None, None)
        return "mmu_update", "mmu_update", pointer, value, len(call.requests)
    if isinstance(call, MmuextOp):
        if not call.operations:
            return "mmuext_op", "", None, None, 0
        command, argument, _ = call.operations[0]
        name = MMUEXT_NAMES.get(command, str(command))
        return "mmuext_op", name, argument, None, len(call.operations)
    if isinstance(call, EmulatedStore):
        return call.kind, "store", call.va, call.value, 1
    if isinstance(call, Violation):
        return "ept", "populate", call.address, None, 1
    if isinstance(call, Multicall):
        parts = [_described(entry) for entry in call.calls]
        ops = ",".join(op for _, op, *_ in parts)
        target, value = (parts[0][2], parts[0][3]) if parts else (None, None)
        return "multicall", ops, target, value, len(parts)
    assert isinstance(call, Unknown)
    return "unknown", hex(call.number), None, None, 1


def _result(result: object) -> int:
    """The first refusal of a multicall, or the call's own result; 0 is success."""
    if isinstance(result, tuple):
        return next((rc for rc in result if rc), 0)
    if isinstance(result, Emulation):
        return 0 if result is Emulation.FIXED else -14
    assert isinstance(result, int)
    return result
