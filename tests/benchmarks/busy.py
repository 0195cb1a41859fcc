"""Several busy vCPUs that make hypercalls: how many a second, and events for each.

Beside it the same calls drained without a clock, and a bare SimPy loop with as many events. The toy
call costs the engine's own time and nothing else; the others are the hypervisor's.
``python -m tests.benchmarks.busy``
"""

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import simpy

from sim.cpus.credit1 import Credit1
from sim.distributions import Lognormal
from sim.effects import STEP, Acquire, Activity, Release, Spend, Trap
from sim.instant import run_in_order
from sim.locks import SpinLock
from sim.streams import Streams
from sim.timed import Price, Simulation
from tests.benchmarks import busy_hypervisor

VCPUS = 4
_CALLS = 3_000
_REPETITIONS = 10
_PRICES = {
    "guest": Price(Lognormal(300.0, 0.3)),
    "entry": Price(Lognormal(300.0, 0.12)),
    "check": Price(Lognormal(40.0, 0.42)),
    "vcpu_context_switch": Price(Lognormal(3000.0, 0.35)),
}
_GUEST, _CHECK = Spend("guest"), Spend("check")


@dataclass(frozen=True)
class Load:
    """What the vCPUs do."""

    name: str
    prices: Mapping[str, Price]
    guests: Callable[[], list[Activity]]
    """Makes a machine, and an activity for each of its vCPUs."""
    calls: int
    """How many hypercalls a vCPU makes."""
    pcpus: int = VCPUS


class _PageLock(SpinLock):
    """Held for a moment, as the page lock of a table."""

    brief = True


def main() -> None:
    """Print the rates of toy calls, also with half as many pCPUs, and of the hypervisor's own."""
    toy = Load("toy calls", _PRICES, _toys, _CALLS)
    measure(toy)
    measure(replace(toy, pcpus=VCPUS // 2))
    prices, calls = busy_hypervisor.guest_prices(), busy_hypervisor.CALLS
    for name, guests in busy_hypervisor.LOADS.items():
        measure(Load(name, prices, lambda guests=guests: guests(VCPUS), calls))  # type: ignore[misc]


def measure(load: Load) -> None:
    """Print what a load comes to."""
    events = 0

    def ours(guests: list[Activity]) -> None:
        nonlocal events
        simulation = Simulation(load.prices, Streams(0), pcpus=load.pcpus, scheduler=Credit1())
        for activity in guests:
            simulation.start(activity)
        simulation.run()
        events = simulation.env.events_posted

    our_s, drained_s, bare_s = _best(load.guests, ours, run_in_order, lambda _: _bare(events))
    calls = VCPUS * load.calls
    print(
        f"{load.name}, {VCPUS} busy vCPUs on {load.pcpus} pCPUs: {calls / our_s:,.0f} hypercalls/s "
        f"of CPU, {events / calls:.1f} events each; {drained_s / our_s:.2f} of the rate without a "
        f"clock; bare SimPy, with as many events: {calls / bare_s:,.0f}/s, ratio "
        f"{bare_s / our_s:.2f}"
    )


def _toys() -> list[Activity]:
    return [_toy(_PageLock(f"table {number}"), [0]) for number in range(VCPUS)]


def _toy(lock: SpinLock, words: list[int]) -> Activity:
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


def _best(
    guests: Callable[[], list[Activity]], *works: Callable[[list[Activity]], object]
) -> list[float]:
    """The best time of each on fresh guests, in seconds of CPU, measured in turn.

    Short and often: on a machine that others use, too, some of it falls into a quiet moment.
    """
    times: list[list[float]] = [[] for _ in works]
    for _ in range(_REPETITIONS):
        for work, seconds in zip(works, times, strict=True):
            activities = guests()
            gc.collect()
            start = time.process_time()
            work(activities)
            seconds.append(time.process_time() - start)
    return [min(seconds) for seconds in times]


if __name__ == "__main__":
    main()
