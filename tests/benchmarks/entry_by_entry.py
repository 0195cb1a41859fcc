"""The same boot, modelled the obvious way: one SimPy event a leaf store.

A lean but honest model of what ``reserve-hook`` does on a contiguous guest without slack: lists
for owners, types and counts, a list of entries for each table, the mask asked at each leaf, one
timeout for each leaf store and for each hypercall or fault, validation entry by entry, each unit
of work with a cost drawn from its distribution (in blocks). It leaves out everything that does
not decide the boot: versions, messages, walks, locks, counters, leaves beyond the first level.
"""

from collections.abc import Generator, Iterator

import numpy as np
import simpy

_NONE, _WRITABLE, _L1 = range(3)
_PRESENT, _RW = 1, 2
_BAD_FLAGS = 0x98


def _costs(rng: np.random.Generator, mean_ns: float, sigma: float) -> Iterator[float]:
    """Lognormal draws, one by one out of blocks."""
    scale = mean_ns * float(np.exp(-0.5 * sigma * sigma))
    while True:
        yield from (scale * np.exp(sigma * rng.standard_normal(4096))).tolist()


class EntryByEntry:
    """A guest of ``pages`` 4 KiB pages, of which the first ``mapped`` are mapped already."""

    def __init__(self, pages: int, mapped: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.env = simpy.Environment()
        self.pages = pages
        self.owner = [1] * pages
        self.kind = [_NONE] * pages
        self.type_count = [0] * pages
        self.references = [1] * pages
        self.tables: dict[int, list[int]] = {}
        self.hypercalls = 0
        self._leaf_ns = _costs(rng, 5.8, 0.3)
        self._call_ns = _costs(rng, 500.0, 0.2)
        self._entry_ns = _costs(rng, 40.0, 0.42)
        self._next_region = mapped // 512
        regions = -(-pages // 512)
        self._next_table = pages - regions
        self._top = pages

    def run(self) -> int:
        """Boot, and return the simulated time in ns."""
        self.env.process(self._boot())
        self.env.run()
        return int(self.env.now)

    def _boot(self) -> Generator[simpy.Event, None, None]:
        env, leaf_ns = self.env, self._leaf_ns
        low, high = self._next_table, self._top
        for region in range(self._next_region, -(-self.pages // 512)):
            table = self._next_table
            self._next_table += 1
            yield self._call()  # the fault that maps the page temporarily
            self._take(table, _WRITABLE)
            yield self._call()  # INVLPG
            entries = self.tables[table] = [0] * 512
            yield env.timeout(512)
            for slot in range(512):
                page = region * 512 + slot
                entry = page << 12 | _PRESENT
                if not low <= page < high:
                    entry |= _RW
                entries[slot] = entry
                yield env.timeout(next(leaf_ns))
            yield self._call()  # the temporary mapping goes
            self.type_count[table] -= 1
            self.references[table] -= 1
            yield self._call()  # INVLPG
            yield self._call()  # pin
            self._take(table, _L1)
            yield env.timeout(self._validate(entries))
            yield self._call()  # hook
            self._take(table, _L1)
        for page in range(self._next_table, high):
            yield self._call()  # the rest becomes writable again
            self._take(page, _WRITABLE)

    def _call(self) -> simpy.Event:
        self.hypercalls += 1
        return self.env.timeout(next(self._call_ns))

    def _validate(self, entries: list[int]) -> float:
        """Take the references of all entries; what that costs."""
        spent_ns = 0.0
        for entry in entries:
            if entry & _PRESENT:
                if entry & _BAD_FLAGS:
                    raise RuntimeError(f"entry {entry:x} has bad flags")
                if entry & _RW:
                    self._take(entry >> 12, _WRITABLE)
                else:
                    self.references[entry >> 12] += 1
                spent_ns += next(self._entry_ns)
        return spent_ns

    def _take(self, page: int, kind: int) -> None:
        """A reference and a use as this type."""
        if self.owner[page] != 1:
            raise RuntimeError(f"page {page:x} is somebody else's")
        self.references[page] += 1
        if self.kind[page] != kind:
            if self.type_count[page]:
                raise RuntimeError(f"page {page:x} has another type")
            self.kind[page] = kind
        self.type_count[page] += 1
