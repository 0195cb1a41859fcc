"""The same boot, modelled the obvious way: one SimPy event a leaf store.

A lean model of what ``reserve-hook`` does on a contiguous guest without slack: lists for types
and counts, one timeout for each leaf store and for each hypercall or fault, validation entry by
entry. It keeps what decides the boot (types, counts, entries, the read-only buffer) and leaves
out everything else: versions, messages, walks, counters, random costs.
"""

from collections.abc import Generator

import simpy

_NONE, _WRITABLE, _L1 = range(3)
_PRESENT, _RW = 1, 2
_LEAF_NS, _CALL_NS, _CLEAR_NS = 6, 500, 512


class EntryByEntry:
    """A guest of ``pages`` 4 KiB pages, of which the first ``mapped`` are mapped already."""

    def __init__(self, pages: int, mapped: int) -> None:
        self.env = simpy.Environment()
        self.pages = pages
        self.kind = [_NONE] * pages
        self.type_count = [0] * pages
        self.references = [1] * pages
        self.tables: dict[int, list[int]] = {}
        self.hypercalls = 0
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
        low, high = self._next_table, self._top
        for region in range(self._next_region, -(-self.pages // 512)):
            table = self._next_table
            self._next_table += 1
            yield from self._call()  # the fault that maps the page temporarily
            self._retype(table, _WRITABLE)
            yield from self._call()  # INVLPG
            entries = self.tables[table] = [0] * 512
            yield self.env.timeout(_CLEAR_NS)
            for slot in range(512):
                page = region * 512 + slot
                flags = _PRESENT if low <= page < high else _PRESENT | _RW
                entries[slot] = page << 12 | flags
                yield self.env.timeout(_LEAF_NS)
            yield from self._call()  # the temporary mapping goes
            self.type_count[table] -= 1
            self.references[table] -= 1
            yield from self._call()  # INVLPG
            yield from self._call()  # pin
            self._retype(table, _L1)
            for entry in entries:
                self._take(entry)
            yield from self._call()  # hook
            self.references[table] += 1
            self.type_count[table] += 1
        for _page in range(self._next_table, high):
            yield from self._call()  # the rest becomes writable again
            self._retype(_page, _WRITABLE)

    def _call(self) -> Generator[simpy.Event, None, None]:
        self.hypercalls += 1
        yield self.env.timeout(_CALL_NS)

    def _take(self, entry: int) -> None:
        page = entry >> 12
        self.references[page] += 1
        if entry & _RW:
            self._retype(page, _WRITABLE)
            self.references[page] -= 1

    def _retype(self, page: int, kind: int) -> None:
        if self.type_count[page] and self.kind[page] != kind:
            raise RuntimeError(f"page {page:x} has another type")
        self.kind[page] = kind
        self.type_count[page] += 1
        self.references[page] += 1
