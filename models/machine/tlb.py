"""What CPUs remember of page tables, and the clock by which a hypervisor keeps track of it.

A translation that a CPU has once loaded stays until it is flushed, whatever becomes of the
tables: it may be stale. Source: AMD64 Architecture Programmer's Manual, volume 2, section 5.5;
Xen 4.1 arch/x86/flushtlb.c and include/asm-x86/flushtlb.h (NEED_FLUSH).
"""

from collections.abc import MutableMapping
from typing import NamedTuple

from models.machine.entries import L2_SHIFT, PAGE_SHIFT
from sim.footprint import RecordedMap, RecordedWords, Recorder


class Translation(NamedTuple):
    """Where a virtual page leads, as a CPU has loaded it."""

    mfn: int
    writable: bool


Translations = MutableMapping[int, Translation]
"""The translations that a CPU holds, by virtual page."""


class FlushClock:
    """A clock that ticks at every full flush of any CPU, and what each CPU has loaded since."""

    def __init__(self, pcpus: int) -> None:
        # After a boot every CPU has flushed; a frame never freed has the stamp 0, so
        # "flushed since" holds for it everywhere.
        self._now = 1
        self._recorded = False
        self.flushed_at: list[int] | RecordedWords = [1] * pcpus
        self.loaded: list[Translations] = [{} for _ in range(pcpus)]
        self.upper: list[Translations] = [{} for _ in range(pcpus)]
        """The L1 (as a translation) that a CPU's walker has found for a piece of 2 MiB: it can go
        on from there without the tables above (Intel SDM, volume 3, section 4.10.3)."""

    @property
    def now(self) -> int:
        """How many full flushes there have been, the one of the boot included.

        Who keeps the number will compare it with the last flush of each CPU: which of them came
        before is all that it tells.
        """
        if self._recorded:
            for pcpu in range(len(self.flushed_at)):
                _ = self.flushed_at[pcpu]
        return self._now

    def record(self, recorder: Recorder) -> None:
        """From here on note who flushes or asks for it, and every translation that is touched."""
        self._recorded = True
        self.flushed_at = RecordedWords(self.flushed_at, "flushed at", recorder)
        self.loaded = [
            RecordedMap(held, f"translations of CPU {pcpu}", recorder, _number)
            for pcpu, held in enumerate(self.loaded)
        ]
        self.upper = [
            RecordedMap(held, f"upper levels of CPU {pcpu}", recorder, _number)
            for pcpu, held in enumerate(self.upper)
        ]

    def flush(self, pcpu: int) -> None:
        """A full flush of one CPU (or a load of its CR3)."""
        self._now += 1
        self.flushed_at[pcpu] = self._now
        self.loaded[pcpu].clear()
        self.upper[pcpu].clear()

    def invalidate(self, pcpu: int, va: int) -> None:
        """INVLPG: one CPU forgets one page. The clock does not tick."""
        self.loaded[pcpu].pop(va >> PAGE_SHIFT, None)
        self.upper[pcpu].pop(va >> L2_SHIFT, None)

    def load(self, pcpu: int, va: int, mfn: int, *, writable: bool) -> None:
        """A CPU has walked the tables for an address and keeps what it found."""
        self.loaded[pcpu][va >> PAGE_SHIFT] = Translation(mfn, writable)

    def needs_flush(self, pcpu: int, stamp: int) -> bool:
        """May this CPU hold a translation of a frame that lost its last type at ``stamp``?"""
        # Of a frame never freed the answer is known, whenever the CPU has flushed.
        return stamp > 0 and self.flushed_at[pcpu] <= stamp <= self._now


def _number(held: Translation | None) -> int:
    return -1 if held is None else held.mfn << 1 | held.writable
