"""``make bench``: print the ratios, each taken in this run.

Every figure is the best of a few repetitions, the two sides of a ratio in turn, so that a busy
machine hits both. ``make bench ONLY="boots odds"`` takes some of them, by their names in
:data:`BENCHMARKS`; ``BEFORE=REVISION`` names the commit that today's tree is held against
(:mod:`tests.benchmarks.beside_before`), which a shallow clone does not have: then times stand
alone.
"""

import gc
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import simpy

from experiments.litmus.report import litmus
from experiments.scenario.scenario import load
from experiments.subjects import kinds as runner
from models.machine.entries import ACCESSED, DIRTY, ENTRIES, NX, PAGE_SHIFT, PRESENT, RW
from models.machine.frames import FrameTable
from models.xen.pages.l1_tables import promote_l1
from models.xen.pages.upper_tables import TABLES
from models.xen.state import Domain, Progress, Xen
from models.xen.versions.abi import find_abi
from models.xen.words import FRESH_COUNT_INFO, VALIDATED
from sim.distributions import Lognormal
from sim.effects import DECLINED, STEP, Activity, Bulk, Spend
from sim.instant import drain
from sim.oracle import ScriptedOracle
from sim.streams import Streams
from sim.timed import Price, Simulation
from tests.benchmarks import boots, busy, classes, commands, large, rates, searches
from tests.benchmarks.beside_before import Trees, trees
from tests.benchmarks.entry_by_entry import EntryByEntry
from tests.litmus.test_recorded_outcomes import DATA as RECORDED

_REPETITIONS = 3
_SHORT_REPETITIONS = 40
_UNIT = Spend("unit")


def main(only: Sequence[str]) -> int:
    """Run these benchmarks, or all; 2 if there is none of that name."""
    unknown = [name for name in only if name not in BENCHMARKS]
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are: {', '.join(BENCHMARKS)}")
        return 2
    print("Only ratios of one run are to be compared: the machine is another one every minute.")
    with trees() as both:
        if both.before is None:
            print(f"Nothing is set beside the commit before: {both.missing}")
        for name in only or BENCHMARKS:
            print(f"-- {name}", flush=True)
            BENCHMARKS[name](both)
    return 0


def _best(work: Callable[[], object]) -> float:
    gc.collect()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _paired(ours: Callable[[], object], theirs: Callable[[], object]) -> tuple[float, float]:
    """The best time of each, measured in turn."""
    times = [(_best(ours), _best(theirs)) for _ in range(_REPETITIONS)]
    return min(time for time, _ in times), min(time for _, time in times)


def _boot_against_entry_by_entry() -> None:
    scenario = load("guest-2G")
    ours, theirs = _paired(
        lambda: runner.run(scenario, "reserve-hook"),
        lambda: EntryByEntry(pages=2 << 18, mapped=30 * 512).run(),
    )
    print(
        f"boot of 2 GiB under reserve-hook: {ours:.2f} s; entry by entry on SimPy {theirs:.2f} s; "
        f"ratio {theirs / ours:.1f}"
    )


def _effects_against_events(processes: int) -> None:
    events = 60_000

    def work() -> Activity:
        for _ in range(events // processes):
            yield _UNIT
            yield STEP

    def ours() -> None:
        prices = {"unit": Price(Lognormal(100.0, 0.3))}
        simulation = Simulation(prices, Streams(0), every_event=True)
        for _ in range(processes):
            simulation.start(work())
        simulation.run()

    def theirs() -> None:
        env = simpy.Environment()

        def loop() -> simpy.events.ProcessGenerator:
            for _ in range(events // processes):
                yield env.timeout(100)

        for _ in range(processes):
            env.process(loop())
        env.run()

    our_s, their_s = _paired(ours, theirs)
    print(
        f"one Spend and one Step an event, {processes} vCPUs: {events / our_s:,.0f} events/s; "
        f"bare SimPy timeouts {events / their_s:,.0f}/s; ratio {their_s / our_s:.2f}"
    )


def _l1_validation() -> None:
    at_once = partial(drain, oracle=ScriptedOracle())
    for case in _L1_CASES:
        ours = min(_validate_tables(case, at_once) for _ in range(_SHORT_REPETITIONS))
        theirs = min(_validate_tables(case, _drain_item_by_item) for _ in range(_REPETITIONS))
        print(
            f"validation of a full L1, {case.what}: {ours * 1e6:.1f} us of CPU at once, "
            f"{theirs * 1e6:.0f} us entry by entry; ratio {theirs / ours:.0f}"
        )


def _litmus() -> None:
    processes = len(os.sched_getaffinity(0))
    start = time.perf_counter()
    tests = litmus([RECORDED], jobs=processes)
    taken = time.perf_counter() - start
    orders = sum(test.orders for test in tests)
    print(
        f"{len(tests)} litmus tests, {orders} classes of orders in {processes} processes: "
        f"{taken:.1f} s; three minutes are {180 / taken:.0f} times as long"
    )


class _L1Case(NamedTuple):
    what: str
    mapped: bool = False
    """The frames are mapped already, once each."""
    shuffled: bool = False
    """The tables map them in any order, each some of all."""
    read_only: int = 0
    """So many of 100 entries, taken by chance."""


_L1_CASES = [
    _L1Case("fresh frames in a row"),
    _L1Case("frames in a row, mapped before", mapped=True),
    _L1Case("frames in a row, mapped before, half of them read-only", mapped=True, read_only=50),
    _L1Case("shuffled frames, mapped before", mapped=True, shuffled=True),
    _L1Case("shuffled fresh frames", shuffled=True),
]


def _l1_tables(case: _L1Case, tables: int) -> tuple[Xen, range]:
    """A hypervisor with tables to be validated, and which they are."""
    first, pages = 0x100000, tables * ENTRIES
    abi = find_abi("4.17")
    frames = FrameTable([(first, pages + tables, 0)], fresh=FRESH_COUNT_INFO, owner=1)
    chance = np.random.default_rng(1)
    mfns = np.arange(first, first + pages, dtype=np.uint64)
    if case.shuffled:
        chance.shuffle(mfns)
    entries = mfns << np.uint64(PAGE_SHIFT) | np.uint64(NX | DIRTY | ACCESSED | PRESENT)
    entries |= np.where(chance.random(pages) * 100 < case.read_only, 0, RW).astype(np.uint64)
    if case.mapped:
        places = frames.span(first, pages)
        frames.type_array[places] = abi.writable | VALIDATED | 1
        frames.count_array[places] += np.uint64(1)
    numbers = range(first + pages, first + pages + tables)
    for mfn, words in zip(numbers, entries.reshape(tables, ENTRIES), strict=True):
        frames.words(mfn)[:] = words.data
    return Xen(abi, frames, Domain(1, io_capabilities=False), [], TABLES), numbers


def _validate_tables(case: _L1Case, drain_one: Callable[[Activity], object]) -> float:
    """Seconds of CPU for a table: the best of a few batches, since other work disturbs some."""
    batch, batches = 16, 6
    xen, numbers = _l1_tables(case, batch * batches)
    seconds = []
    gc.collect()
    for begin in range(0, len(numbers), batch):
        start = time.process_time()
        for mfn in numbers[begin : begin + batch]:
            xen.progress[mfn] = Progress()
            drain_one(promote_l1(xen, xen.vcpus[0], mfn, xen.frames.index(mfn)))
        seconds.append(time.process_time() - start)
    return min(seconds) / batch


def _drain_item_by_item(activity: Activity) -> None:
    """As sim.instant.drain for validation alone, with every vectorised body declining."""
    answer: object = None
    try:
        while True:
            effect = activity.send(answer)
            answer = DECLINED if isinstance(effect, Bulk) else None
    except StopIteration:
        return


def _alone(work: Callable[[], object]) -> Callable[[Trees], object]:
    """A benchmark that has its own thing to be compared with."""
    return lambda _: work()


def _effects() -> None:
    for processes in (1, 4):
        _effects_against_events(processes)


BENCHMARKS: dict[str, Callable[[Trees], object]] = {
    "boots": boots.large,
    "small-boots": boots.small,
    "compare": boots.compare,
    "commands": commands.usual,
    "entry-by-entry": _alone(_boot_against_entry_by_entry),
    "exploring": rates.exploring,
    "odds": rates.odds,
    "odds-command": commands.odds,
    "busy": rates.busy,
    "effects": _alone(_effects),
    "toy-calls": _alone(busy.main),
    "searches": _alone(searches.main),
    "classes": _alone(classes.main),
    "l1-validation": _alone(_l1_validation),
    "litmus": _alone(_litmus),
    "large-boots": _alone(large.print_flatness),
}
"""By name; those that have the commit before beside them get its tree."""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
