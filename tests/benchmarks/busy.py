"""Several busy vCPUs that make small hypercalls: how many a second, and events for each.

Beside it the same calls drained without a clock, and a bare SimPy loop with as many events.
``python -m tests.benchmarks.busy``
"""

import gc
import time
from collections.abc import Callable

import simpy

from sim.cpus.credit1 import Credit1
from sim.distributions import Lognormal
from sim.effects import STEP, Acquire, Activity, Release, Spend, Trap
from sim.instant import run_in_order
from sim.locks import SpinLock
from sim.streams import Streams
from sim.timed import Price, Simulation

VCPUS = 4
_CALLS = 20_000
_REPETITIONS = 3
_PRICES = {
    "guest": Price(Lognormal(300.0, 0.3)),
    "entry": Price(Lognormal(300.0, 0.12)),
    "check": Price(Lognormal(40.0, 0.42)),
    "vcpu_context_switch": Price(Lognormal(3000.0, 0.35)),
}
_GUEST, _CHECK = Spend("guest"), Spend("check")


class _PageLock(SpinLock):
    """Held for a moment, as the page lock of a table."""

    brief = True


def main() -> None:
    """Print the rates with a pCPU for each vCPU, and with half as many."""
    for pcpus in (VCPUS, VCPUS // 2):
        busy(pcpus)


def busy(pcpus: int) -> None:
    """Print what this many pCPUs come to."""
    events = 0

    def ours() -> None:
        nonlocal events
        simulation = Simulation(_PRICES, Streams(0), pcpus=pcpus, scheduler=Credit1())
        for activity in _guests():
            simulation.start(activity)
        simulation.run()
        events = simulation.env.events_posted

    def drained() -> None:
        run_in_order(_guests())

    our_s, drained_s, bare_s = _best(ours, drained, lambda: _bare(events))
    calls = VCPUS * _CALLS
    print(
        f"{VCPUS} busy vCPUs on {pcpus} pCPUs: {calls / our_s:,.0f} hypercalls/s of CPU, "
        f"{events / calls:.1f} events each; {drained_s / our_s:.2f} of the rate without a clock; "
        f"bare SimPy, with as many events: {calls / bare_s:,.0f}/s, ratio {bare_s / our_s:.2f}"
    )


def _guests() -> list[Activity]:
    return [_guest(_PageLock(f"table {number}"), [0]) for number in range(VCPUS)]


def _guest(lock: SpinLock, words: list[int]) -> Activity:
    for _ in range(_CALLS):
        yield _GUEST
        yield Trap(_call(lock, words), "entry")


def _call(lock: SpinLock, words: list[int]) -> Activity:
    """As an mmu_update of one entry: look, lock, check and count twice, write, unlock."""
    yield STEP
    yield Acquire(lock)
    yield _CHECK
    yield STEP
    words[0] += 1
    yield _CHECK
    yield STEP
    words[0] -= 1
    yield Release(lock)
    return 0


def _bare(events: int) -> None:
    env = simpy.Environment()

    def loop() -> simpy.events.ProcessGenerator:
        for _ in range(events // VCPUS):
            yield env.timeout(100)

    for _ in range(VCPUS):
        env.process(loop())
    env.run()


def _best(*works: Callable[[], None]) -> list[float]:
    """The best time of each, in seconds of CPU, measured in turn."""
    times: list[list[float]] = [[] for _ in works]
    for _ in range(_REPETITIONS):
        for work, seconds in zip(works, times, strict=True):
            gc.collect()
            start = time.process_time()
            work()
            seconds.append(time.process_time() - start)
    return [min(seconds) for seconds in times]


if __name__ == "__main__":
    main()
