"""What somebody would write who wants this one boot and nothing else: a loop over its regions.

The work that a boot of ``reserve-hook`` consists of, on columns of numpy, a table of 512 leaves at
a time: fill the table, look at its own frame and map it writable for that time, look at the words
of the 512 frames that it maps, write them, make the table an L1, enter it into its L2, count, and
draw a cost for each leaf that is stored and each that is validated.

It knows beforehand how it will end. It has no events and no effects, nobody else may run, and there
is nothing to be chosen: no versions, strategies, maps with holes, messages, locks, flushes, errors
that unwind, or records. :mod:`tests.benchmarks.boots` sets PinLab beside it and beside
``hand_written.c``, which does the same a word at a time.
"""

import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tests.benchmarks.beside_before import CannotMeasure, Work

_SOURCE = Path(__file__).with_name("hand_written.c")
_ENTRIES = 512
_BLOCK = 16
_PRESENT, _BAD, _TABLE = 1, 0x98, 0x67
_FLAGS, _VALIDATED = np.uint64(1 << 63 | 0x63), np.uint64(0x104)
_FRAME = (1 << 40) - 1
_WRITABLE, _L1 = 7 << 60 | 1 << 58, 1 << 60 | 1 << 58
_COUNT = (1 << 24) - 1
_ONE = np.uint64(1)


class Boot:
    """A guest of so many GiB, all of which is to be mapped; its tables lie above."""

    def __init__(self, gib: int) -> None:
        self.regions = gib << 9
        frames = self.regions * _ENTRIES + self.regions
        # Whole tables through numpy, single words through the memoryviews over the same memory.
        self.type_info = np.zeros(frames, np.uint64)
        self.count_info = np.full(frames, 1 << 63 | 1, np.uint64)
        self.owner = np.ones(frames, np.uint16)
        self.stamp = np.zeros(frames, np.uint32)
        self.tables = np.zeros((self.regions, _ENTRIES), np.uint64)
        self.l2s = np.zeros((-(-self.regions // _ENTRIES), _ENTRIES), np.uint64)
        self.types, self.counts = self.type_info.data, self.count_info.data
        self.owners, self.stamps, self.l2_words = self.owner.data, self.stamp.data, self.l2s.data
        self.counters: Counter[str] = Counter()
        self.time_ns = 0.0
        self._clock = 1
        chance = np.random.Generator(np.random.PCG64(0))
        self._store_ns = _sums(chance, mean=5.8, sigma=0.3)
        self._check_ns = _sums(chance, mean=40.0, sigma=0.42)

    def run(self) -> None:
        """Boot."""
        offsets = np.arange(_ENTRIES, dtype=np.uint64) << np.uint64(12)
        for region in range(self.regions):
            table = self.regions * _ENTRIES + region
            leaves = self.tables[region]
            self._map_early(table)
            np.add(offsets, np.uint64(region * _ENTRIES << 12) | _FLAGS, out=leaves)
            self.time_ns += next(self._store_ns)
            self._unmap_early(table)
            self._pin(region, table)
            self._enter(region, table)
        if self.counters["validated"] != self.regions * _ENTRIES:
            raise AssertionError("not every entry was validated")

    def _map_early(self, table: int) -> None:
        """The table's page becomes writable through a temporary address."""
        if self.owners[table] != 1 or self.types[table] & _COUNT:
            raise AssertionError("the page is in use")
        self.types[table] = _WRITABLE + 1
        self.counts[table] += 1
        self.counters["ptwr"] += 1
        self.counters["invlpg"] += 1

    def _unmap_early(self, table: int) -> None:
        self.types[table] -= 1
        self.counts[table] -= 1
        self.stamps[table] = self._clock
        self.counters["update_va_mapping"] += 1
        self.counters["invlpg"] += 1

    def _pin(self, region: int, table: int) -> None:
        """Check all entries and the frames behind them; count a reference and a use of each."""
        leaves = self.tables[region]
        some, every = int(np.bitwise_or.reduce(leaves)), int(np.bitwise_and.reduce(leaves))
        if some & _BAD or not every & _PRESENT:
            raise AssertionError("flags that no leaf has")
        first = leaves.item(0) >> 12 & _FRAME
        behind = slice(first, first + _ENTRIES)
        owners, types = self.owner[behind], self.type_info[behind]
        if owners.min() != 1 or owners.max() != 1:
            raise AssertionError("a frame is somebody else's")
        least, most = int(types.min()), int(types.max())
        if least == most and not most & _COUNT:
            types.fill(_WRITABLE + 1)
        elif least & ~_COUNT == most & ~_COUNT == _WRITABLE:
            types += _ONE
        else:
            raise AssertionError("a frame has another type")
        references = self.count_info[behind]
        references += _ONE
        leaves |= _VALIDATED
        self.time_ns += next(self._check_ns)
        if self.types[table] & _COUNT:
            raise AssertionError("the table is mapped writable")
        self.types[table] = _L1 + 1
        self.counts[table] += 1
        self._clock += 1
        self.counters["pin"] += 1
        self.counters["validated"] += _ENTRIES

    def _enter(self, region: int, table: int) -> None:
        self.types[table] += 1
        self.counts[table] += 1
        self.l2_words[divmod(region, _ENTRIES)] = table << 12 | _TABLE
        self.counters["mmu_update"] += 1


def _sums(chance: np.random.Generator, *, mean: float, sigma: float) -> Iterator[float]:
    """What 512 lognormal costs come to, again and again; drawn in larger blocks."""
    while True:
        draws = chance.standard_normal((_BLOCK, _ENTRIES), dtype=np.float32)
        draws *= np.float32(sigma)
        draws += np.float32(math.log(mean) - sigma * sigma / 2)
        np.exp(draws, out=draws)
        yield from draws.sum(axis=1, dtype=np.float64).tolist()


def loop(gib: int) -> dict[str, float]:
    """The CPU time of a boot by :class:`Boot`, in a process of its own."""
    made = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.hand_written", str(gib)],
        capture_output=True,
        text=True,
        check=True,
    )
    seconds: dict[str, float] = json.loads(made.stdout)
    return seconds


@contextmanager
def compiled() -> Iterator[Path | None]:
    """The C program, for as long as the context is entered; None without a compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="pinlab-c-") as folder:
        program = Path(folder) / "hand_written"
        command = [compiler, "-O2", "-o", str(program), str(_SOURCE), "-lm"]
        done = subprocess.run(command, capture_output=True, check=False)
        yield None if done.returncode else program


def in_c(program: Path, gib: int) -> dict[str, float]:
    """The CPU time of a boot by the C program.

    Raises:
        CannotMeasure: it has found something wrong, or there is too little memory.
    """
    made = subprocess.run([str(program), str(gib)], capture_output=True, text=True, check=False)
    if made.returncode:
        raise CannotMeasure(made.stderr.strip())
    return {"seconds": float(made.stdout)}


def works(gib: int, program: Path | None) -> dict[str, Work]:
    """What can be set beside a boot of so many GiB."""
    found: dict[str, Work] = {"numpy by hand": lambda: loop(gib)}
    if program is not None:
        found["C by hand"] = lambda: in_c(program, gib)
    return found


def _main(gib: int) -> None:
    start = time.process_time()
    Boot(gib).run()
    print(json.dumps({"seconds": time.process_time() - start}))


if __name__ == "__main__":
    _main(int(sys.argv[1]))
