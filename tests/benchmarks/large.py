"""``make bench-large``: boots of up to 1 TiB, in time, memory and exactness.

Each boot runs in a process of its own; times are of CPU. What is counted is compared with
arithmetic that knows the algorithm and not the model, and every leaf of the direct map is looked
at. The aims: 1 TiB in 20 s of CPU and 3 GiB under ``reserve-hook`` and ``mapped-only-6.1``, and a
time per GiB that is flat within 30 % from 16 GiB to 1 TiB. ``make bench`` does the same up to
256 GiB.
"""

import multiprocessing
import resource
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

import msgspec
import numpy as np

from experiments.scenario.scenario import load
from experiments.subjects import kinds as runner
from models.linux.boot.guest import Guest
from models.machine.entries import ADDRESS_MASK, ENTRIES, PAGE_SHIFT, PRESENT, RW
from tests.golden.large_boots import expected_counts

SIZES_GIB = (16, 64, 256, 1024)
SMALLER_GIB = (16, 64, 256)
"""Up to what ``make bench`` has time for."""
FLAT = ("reserve-hook", "mapped-only-6.1")
"""Those that have the aims."""
STRATEGIES = (*FLAT, "mapped-only-5.10")


class Boot(NamedTuple):
    """What one boot took and whether it was right."""

    seconds: float
    """Of CPU, for the run without the start of Python."""
    grown_mib: float
    """How much the process has grown by it."""
    peak_mib: float
    differences: list[str]


def main(arguments: list[str]) -> int:
    """Boot everything; 1 if a count or a leaf is wrong. Arguments: sizes in GiB."""
    sizes = tuple(int(size) for size in arguments) or SIZES_GIB
    right = [print_sizes(strategy, sizes) for strategy in STRATEGIES]
    return 0 if all(right) else 1


def print_sizes(strategy: str, sizes: Sequence[int]) -> bool:
    """Boot guests of so many GiB and print what a GiB takes in each; is every count right?"""
    smallest: Boot | None = None
    right = True
    for size in sorted(sizes):
        boot = _apart(strategy, size)
        smallest = smallest or boot
        right &= not boot.differences
        scale = min(sizes) / size
        print(
            f"{strategy}, {size} GiB: {boot.seconds:.1f} s of CPU, peak {boot.peak_mib / 1024:.2f} "
            f"GiB; per GiB {1e3 * boot.seconds / size:.1f} ms and {boot.grown_mib / size:.2f} MiB, "
            f"against {min(sizes)} GiB {scale * boot.seconds / smallest.seconds:.2f} and "
            f"{scale * boot.grown_mib / max(smallest.grown_mib, 1):.2f} times as much; "
            f"{'; '.join(boot.differences) or 'every count and leaf as expected'}",
            flush=True,
        )
    return right


def print_flatness() -> None:
    """What ``make bench`` prints of it."""
    for strategy in FLAT:
        print_sizes(strategy, SMALLER_GIB)


def _apart(strategy: str, size_gib: int) -> Boot:
    """A boot in a fresh process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(_boot, strategy, size_gib).result()


def _boot(strategy: str, size_gib: int) -> Boot:
    differences: list[str] = []
    seconds = 0.0
    peak_mib = before_mib = 0.0

    def at_end(guest: Guest) -> None:
        nonlocal seconds, peak_mib
        seconds = time.process_time() - start
        peak_mib = _peak_mib()
        differences.extend(_wrong_leaves(guest))

    runner.run(load("guest-512M"), strategy)  # whatever is imported late is there now
    settings = [f"guest.ram={size_gib}GiB", "machine.xen=4.17"]
    scenario = load("guest-64G", settings)
    before_mib = _peak_mib()
    start = time.process_time()
    record = msgspec.to_builtins(runner.run(scenario, strategy, at_end=at_end))
    if record["outcome"] != "ok":
        differences.append(f"the boot ends with {record['outcome']}")
    for key, expected in expected_counts(strategy, size_gib).items():
        found = record["pages"].get(key, record["counts"].get(key))
        if found != expected:
            differences.append(f"{key} is {found}, expected {expected}")
    return Boot(seconds, peak_mib - before_mib, peak_mib, differences)


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _wrong_leaves(guest: Guest) -> list[str]:
    """Leaves that are not those of their pages, or not read-only exactly for tables."""
    first = guest.mfn(0)
    tables = guest.hazards.tables | set(guest.start.builder_l1s) | set(guest.start.static_pfns)
    read_only = np.zeros(guest.e820.max_pfn, bool)
    read_only[sorted(tables)] = True
    if guest.kernel.p2m_read_only:
        for low, high in guest.start.layout.p2m_pages:
            read_only[low:high] = True
    kept = np.uint64(ADDRESS_MASK | PRESENT | RW)
    for region in range(guest.e820.max_pfn // ENTRIES):
        table = guest.hazards.leaf_tables.get(region)
        if table is None:
            return [f"region {region} has no table"]
        pfns = np.arange(region * ENTRIES, (region + 1) * ENTRIES, dtype=np.uint64)
        expected = pfns + np.uint64(first) << np.uint64(PAGE_SHIFT) | np.uint64(PRESENT)
        expected |= np.where(read_only[pfns.astype(np.int64)], 0, RW).astype(np.uint64)
        if not np.array_equal(guest.frames.array(table) & kept, expected):
            return [f"the leaves of region {region} are wrong"]
    return []


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
