"""How long a vCPU waits for the others to flush, by the guest's interrupts and by the hypervisor's.

Not a measure of speed: it prints simulated times. ``python -m tests.benchmarks.shootdowns``
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from models.profiles.catalogue import load_profile
from models.profiles.prices import prices
from sim.cpus.credit1 import Credit1
from sim.cpus.credit2 import Credit2
from sim.cpus.task import Policy
from sim.distributions import Exponential
from sim.effects import (
    AWAIT_ACKS,
    STEP,
    Acquire,
    Activity,
    Note,
    Release,
    Send,
    Spend,
    Trap,
)
from sim.locks import Lock, SpinLock
from sim.streams import Streams
from sim.timed import Price, Simulation

VCPUS = 4
_WORK = Spend("work")
_PERCENTILES = (50, 90, 99, 100)


def main() -> None:
    """Print the waits of both kinds at three loads under both schedulers."""
    print(f"simulated time until {VCPUS - 1} others have flushed, percentiles {_PERCENTILES}, us")
    for policy in (Credit1(), Credit2()):
        for pcpus in (4, 2, 1):
            for hypervisor in (False, True):
                waits = shootdown_waits_ns(
                    hypervisor=hypervisor, pcpus=pcpus, policy=policy, rounds=200
                )
                figures = np.percentile(waits, _PERCENTILES) / 1000
                print(
                    f"{type(policy).__name__.lower()}, {VCPUS} vCPUs on {pcpus} pCPUs, "
                    f"{'hypervisor flush' if hypervisor else 'guest interrupt '}: "
                    + " ".join(f"{us:10,.1f}" for us in figures)
                )


class _Waits:
    """A probe that keeps the time between the two notes of each shootdown."""

    def __init__(self) -> None:
        self.all_ns: list[int] = []
        self._begun_ns: dict[int, int] = {}

    def note(self, vcpu: int, time_ns: int, what: object) -> None:
        """It has begun, or it has ended."""
        if what == "begins":
            self._begun_ns[vcpu] = time_ns
        else:
            self.all_ns.append(time_ns - self._begun_ns.pop(vcpu))


def shootdown_waits_ns(
    *, hypervisor: bool, pcpus: int, policy: Policy, rounds: int, seed: int = 0
) -> list[int]:
    """Four busy vCPUs, each of which flushes all others every 2 ms or so: what each flush took."""
    table = prices(load_profile("modern-2023"))
    table["work"] = Price(Exponential(2_000_000.0))
    waits = _Waits()
    simulation = Simulation(table, Streams(seed), probe=waits, pcpus=pcpus, scheduler=policy)
    flush_lock = SpinLock("flush_lock")
    for number in range(VCPUS):
        if hypervisor:
            flush = partial(_flush_by_hypervisor, flush_lock, tuple(range(pcpus)))
        else:
            others = tuple(other for other in range(VCPUS) if other != number)
            flush = partial(_flush_by_guest, others)
        simulation.start(_working(flush, rounds))
    simulation.run()
    return waits.all_ns


def _working(flush: Callable[[], Activity], rounds: int) -> Activity:
    for _ in range(rounds):
        yield _WORK
        yield STEP
        yield from flush()


def _flush_by_guest(others: tuple[int, ...]) -> Activity:
    """Linux' smp_call_function: an interrupt for each vCPU, and spinning until all are done."""
    yield Note("begins")
    yield Send("call function", others, partial(_handle, "guest_ipi_handler"), latency="guest_ipi")
    yield AWAIT_ACKS
    yield Note("ends")


def _flush_by_hypervisor(lock: Lock, pcpus: tuple[int, ...]) -> Activity:
    """A hypercall that flushes every pCPU on which the domain may have translations."""
    yield Trap(_flush_pcpus(lock, pcpus), "hypercall_null")


def _flush_pcpus(lock: Lock, pcpus: tuple[int, ...]) -> Activity:
    """Xen's flush_area_mask: one machine-wide lock from the interrupts to the last answer."""
    yield STEP
    yield Note("begins")
    yield Acquire(lock)
    yield Send(
        "flush",
        pcpus,
        partial(_handle, "flush_ipi_target"),
        latency="shootdown_base",
        hypervisor=True,
    )
    yield AWAIT_ACKS
    yield Release(lock)
    yield Note("ends")


def _handle(cost: str) -> Activity:
    yield Spend(cost)
    yield STEP


if __name__ == "__main__":
    main()
