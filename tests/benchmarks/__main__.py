"""``make bench``: print the ratios, each taken in this run.

Every figure is the best of a few repetitions, the two sides of a ratio in turn, so that a busy
machine hits both.
"""

import gc
import resource
import time
from collections.abc import Callable

import numpy as np
import simpy

from experiments import runner
from experiments.scenario import load
from models.machine.frames import FrameTable
from models.xen.abi import FRESH_COUNT_INFO, find_abi
from models.xen.l1_tables import promote_l1
from models.xen.state import Domain, Progress, Xen
from sim.distributions import Lognormal
from sim.effects import DECLINED, STEP, Activity, Bulk, Spend
from sim.instant import drain
from sim.streams import Streams
from sim.timed import Price, Simulation
from tests.benchmarks.entry_by_entry import EntryByEntry

_REPETITIONS = 3
_UNIT = Spend("unit")


def main() -> None:
    """Run all benchmarks."""
    _boot_against_entry_by_entry()
    for processes in (1, 4):
        _effects_against_events(processes)
    _l1_validation()
    _large_boots()


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
    tables = 400

    def machine() -> Xen:
        frames = FrameTable([(0x100000, tables * 513, 0)], fresh=FRESH_COUNT_INFO, owner=1)
        flags = 0x8000_0000_0000_0063
        for number in range(tables):
            run = 0x100000 + number * 512 + np.arange(512, dtype=np.uint64)
            frames.array(0x100000 + tables * 512 + number)[:] = (run << np.uint64(12)) | np.uint64(
                flags
            )
        return Xen(find_abi("4.17"), frames, Domain(1, io_capabilities=False), [])

    def validate(drain_one: Callable[[Activity], object]) -> float:
        xen = machine()
        start = time.perf_counter()
        for number in range(tables):
            mfn = 0x100000 + tables * 512 + number
            xen.progress[mfn] = Progress()
            drain_one(promote_l1(xen, xen.vcpus[0], mfn, xen.frames.index(mfn)))
        return (time.perf_counter() - start) / tables

    at_once = min(validate(drain) for _ in range(_REPETITIONS))
    one_by_one = min(validate(_drain_item_by_item) for _ in range(_REPETITIONS))
    print(
        f"validation of a full L1 of fresh frames: {at_once * 1e6:.0f} us at once, "
        f"{one_by_one * 1e6:.0f} us entry by entry; ratio {one_by_one / at_once:.0f}"
    )


def _drain_item_by_item(activity: Activity) -> None:
    """As sim.instant.drain for validation alone, with every vectorised body declining."""
    answer: object = None
    try:
        while True:
            effect = activity.send(answer)
            answer = DECLINED if isinstance(effect, Bulk) else None
    except StopIteration:
        return


def _large_boots() -> None:
    per_gib = {}
    for gib in (4, 16, 64):
        scenario = load("guest-64G", [f"guest.ram={gib}GiB"])
        seconds = min(
            _best(lambda scenario=scenario: runner.run(scenario, "reserve-hook"))  # type: ignore[misc]
            for _ in range(2 if gib > 4 else _REPETITIONS)
        )
        per_gib[gib] = seconds / gib
        print(
            f"{gib} GiB under reserve-hook: {seconds:.2f} s, {1e3 * seconds / gib:.0f} ms per GiB"
        )
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"time per GiB, 64 GiB to 4 GiB: ratio {per_gib[64] / per_gib[4]:.2f}; "
        f"peak resident {peak_gib:.2f} GiB"
    )


if __name__ == "__main__":
    main()
