"""The flush clock, by which a hypervisor knows which CPUs may hold an old translation.

Source: Xen 4.1 arch/x86/flushtlb.c and include/asm-x86/flushtlb.h (NEED_FLUSH).
"""


class FlushClock:
    """A clock that ticks at every full flush of any CPU, and when each CPU last flushed."""

    def __init__(self, pcpus: int) -> None:
        # After a boot every CPU has flushed; a frame never freed has the stamp 0, so
        # "flushed since" holds for it everywhere.
        self.now = 1
        self.flushed_at = [1] * pcpus

    def flush(self, pcpu: int) -> None:
        """A full flush of one CPU (or a load of its CR3)."""
        self.now += 1
        self.flushed_at[pcpu] = self.now

    def needs_flush(self, pcpu: int, stamp: int) -> bool:
        """May this CPU hold a translation of a frame that lost its last type at ``stamp``?"""
        return self.flushed_at[pcpu] <= stamp <= self.now
