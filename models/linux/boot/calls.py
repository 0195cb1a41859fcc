"""The hypercalls of the boot: each made at once, or put off in lazy MMU mode.

Source: Linux 2.6.39 arch/x86/xen/mmu.c (xen_mc_issue), multicalls.c (xen_mc_flush).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from models.linux.boot.hazard import Hazards
from models.linux.boot.put_off import MulticallBuffer, Queued
from models.linux.crash import CrashKind, GuestCrash
from models.linux.release import Kernel
from models.machine.entries import PAGE_SHIFT
from models.xen.gate import Xen, trap
from models.xen.hypercalls import (
    MmuextOp,
    MmuUpdate,
    Multicall,
    UpdateVaMapping,
)
from models.xen.words import MMUEXT_NAMES
from sim.effects import Activity, Note, Spend

Warn: TypeAlias = Callable[[Queued, int, Sequence[int]], None]
"""The kernel's WARN_ON: told what was refused, Xen's answer, and the tables (pfns) in question."""

_QUEUE = Spend("multicall_queue_entry")


class Calls:
    """How the kernel makes its calls, and what it has put off."""

    def __init__(
        self,
        xen: Xen,
        kernel: Kernel,
        hazards: Hazards,
        batching: int | None,
        warn: Warn,
        vcpu: int = 0,
    ) -> None:
        """``vcpu``: the number of the one that makes the calls."""
        self.lazy: MulticallBuffer | None = None
        """What is put off; None outside lazy MMU mode."""
        self._batching = batching
        self._xen = xen
        self._vcpu = xen.vcpus[vcpu]
        self._single_multicalls = kernel.single_multicalls
        self._hazards = hazards
        self._warn = warn
        self._afterwards: list[Callable[[], None]] = []

    # -- single calls -----------------------------------------------------------------------

    def single(self, call: MmuUpdate | MmuextOp, *pages: int) -> Activity:
        """One operation through the multicall buffer: alone in it, outside lazy mode.

        Returns what Xen answers, or 0 for what is put off. ``pages``: the tables (pfns) that it is
        about. Source: xen_mc_issue; since 3.6 a single entry is made as the bare hypercall.
        """
        if self.lazy is not None:
            yield from self._put_off(self.lazy, call, pages)
            return 0
        yield _QUEUE
        if not self._single_multicalls:
            return (yield trap(self._xen, self._vcpu, call))
        results = yield trap(self._xen, self._vcpu, Multicall((call,)))
        return results[0]

    def direct(self, call: MmuextOp | UpdateVaMapping, kind: CrashKind, pfn: int) -> Activity:
        """A hypercall about a page; a kernel that is refused stops with BUG().

        In lazy mode it is put off like all others, and then its refusal is no BUG.
        """
        if self.lazy is not None:
            yield from self._put_off(self.lazy, call, (pfn,))
            return
        rc: int = yield trap(self._xen, self._vcpu, call)
        if rc:
            raise bug(call, rc, kind, pfn, self._vcpu.number)

    def at_once(self, call: MmuextOp, kind: CrashKind, pfn: int) -> Activity:
        """The same after all that was put off, in lazy mode too."""
        yield from self.flush()
        rc: int = yield trap(self._xen, self._vcpu, call)
        if rc:
            raise bug(call, rc, kind, pfn, self._vcpu.number)

    def update_va_mapping(self, pfn: int, va: int, entry: int, flags: int = 0) -> Activity:
        """Change the leaf of an address to this entry, about a page (pfn)."""
        return self.direct(UpdateVaMapping(va, entry, flags), "remap", pfn)

    def set_entry(
        self, table: int, slot: int, value: int, closes: Iterable[int] = (), page: int | None = None
    ) -> Activity:
        """set_pmd, set_pud, set_pgd of boot: always one mmu_update, by machine address.

        ``closes``: tables that nobody can write to any more once Xen has accepted it. ``page``:
        the one that is entered.
        """
        call = MmuUpdate(((table << PAGE_SHIFT | slot << 3, value),))
        pages = () if page is None else (page,)
        rc: int = yield from self.single(call, *pages)
        if rc:
            # xen_mc_flush only warns: the boot goes on with an entry that was not written.
            self._warn(call, rc, pages)
        else:
            yield from self.closed_by_last(closes)

    def closed_by_last(self, pfns: Iterable[int]) -> Iterable[Note]:
        """These tables cannot be written any more, as soon as the last call has been made."""
        if self.lazy is not None and self.lazy.entries:
            self.lazy.entries[-1].closes.extend(pfns)
            return ()
        return self._hazards.closed(pfns)

    # -- lazy MMU mode ----------------------------------------------------------------------

    def enter_lazy_mmu(self) -> None:
        """Calls are put off from here on, if the strategy wants it."""
        if self._batching is not None:
            self.lazy = MulticallBuffer(self._batching)

    def leave_lazy_mmu(self) -> Activity:
        """What was put off is done, and nothing is put off any more."""
        yield from self.flush()
        self.lazy = None

    def flush(self) -> Activity:
        """Do all that was put off, in one multicall; what is refused is only warned about.

        Source: xen_mc_flush.
        """
        if self.lazy is None or not self.lazy.entries:
            return
        entries = self.lazy.take()
        calls = tuple(entry.call for entry in entries)
        if len(calls) == 1 and not self._single_multicalls:
            results = ((yield trap(self._xen, self._vcpu, calls[0])),)
        else:
            results = yield trap(self._xen, self._vcpu, Multicall(calls))
        for what in self._afterwards:
            what()
        self._afterwards.clear()
        for entry, rc in zip(entries, results, strict=True):
            if rc:
                self._warn(entry.call, rc, entry.pages)
            else:
                yield from self._hazards.closed(entry.closes)

    def afterwards(self, what: Callable[[], None]) -> None:
        """Do this when all that waits has been done; now, if nothing waits."""
        if self.lazy is not None and self.lazy.entries:
            self._afterwards.append(what)
        else:
            what()

    def settle(self, pointers: Iterable[int]) -> Activity:
        """What was put off for one of these addresses, machine or virtual, is done first."""
        if self.lazy is not None and self.lazy.touches(pointers):
            yield from self.flush()

    def _put_off(self, buffer: MulticallBuffer, call: Queued, pages: Iterable[int]) -> Activity:
        """Into the buffer, which is flushed before if it has no room."""
        yield _QUEUE
        if not buffer.fits(call):
            yield from self.flush()
        buffer.add(call, pages)


def bug(call: Queued, rc: int, kind: CrashKind, pfn: int, vcpu: int = 0) -> GuestCrash:
    """The kernel's BUG() after a refusal."""
    return GuestCrash(kind, f"{described(call)} gave {rc}", pfn=pfn, vcpu=vcpu)


def described(call: Queued, pages: Sequence[int] = ()) -> str:
    """What a call asks for, in the kernel's terms: the first of its requests and how many more.

    ``pages``: the tables (pfns) that it is about, if they are not told otherwise.
    """
    if isinstance(call, MmuUpdate):
        pointer, value = call.requests[0]
        more = f" and {len(call.requests) - 1} more" if len(call.requests) > 1 else ""
        return f"mmu_update of {pointer:x} to {value:016x}{more}"
    if isinstance(call, UpdateVaMapping):
        return f"update_va_mapping of {call.va:016x} to {call.entry:016x}"
    name = MMUEXT_NAMES[call.operations[0][0]]
    return f"{name} of pfn {pages[0]:x}" if pages else name
