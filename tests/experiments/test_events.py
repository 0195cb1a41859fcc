"""How many SimPy events a boot takes."""

import pytest

from experiments.scenario.scenario import geometry, load
from models.linux.boot.direct_map_phase import boot
from models.linux.boot.guest import Guest
from models.linux.start_state import build as domain_builder
from models.profiles.catalogue import load_profile
from models.profiles.prices import prices
from models.strategies.catalogue import find_strategy, strategy_names
from models.xen.versions.abi import find_abi
from sim.streams import Streams
from sim.timed import Simulation

# On any guest of 512 MiB the others die of a table that maps itself, or its like.
BOOTING = [
    name
    for name in strategy_names()
    if name not in ("alloc-only", "deferred-ro", "hook-walk-literal")
]


def events_and_traps(strategy: str, *, every_event: bool) -> tuple[int, int]:
    """The events that a boot of 512 MiB posts, and the hypercalls that it makes."""
    plan = find_strategy(strategy)
    memory_map = geometry(load("guest-512M"))
    start = domain_builder.build(
        memory_map, plan.kernel, find_abi("4.2dev"), debug=True, pcpus=1, paging=plan.paging
    )
    simulation = Simulation(
        prices(load_profile("nehalem-2011")), Streams(0), every_event=every_event
    )
    simulation.start(boot(Guest(start, plan)))
    simulation.run()
    return simulation.env.events_posted, start.xen.counters["calls", "traps"]


# A whole tree is handed over at once; and a guest whose tables are its own makes no calls.
CALLS = {"offline-pin": 263, "auto-translated": 0}


@pytest.mark.parametrize("strategy", BOOTING)
def test_boot_alone_on_its_vcpu_posts_a_handful_of_events(strategy: str) -> None:
    """Nobody else has anything to do before its next step."""
    events, traps = events_and_traps(strategy, every_event=False)

    assert 5 >= events
    assert CALLS.get(strategy, 1000) <= traps


@pytest.mark.parametrize("strategy", BOOTING)
def test_every_hypercall_can_be_an_event_of_its_own(strategy: str) -> None:
    """At least one each."""
    events, traps = events_and_traps(strategy, every_event=True)

    assert traps <= events
