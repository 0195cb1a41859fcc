"""Boots for tests: whole runs, each made once, and boots without a clock."""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import msgspec

from experiments.scenario.scenario import Scenario, load
from experiments.subjects import kinds
from models.linux.boot.direct_map_phase import boot
from models.linux.boot.guest import Guest
from models.linux.boot.strategy import Strategy
from models.linux.crash import GuestCrash
from models.linux.start_state import build as domain_builder
from models.linux.start_state.geometry import Geometry
from models.strategies.catalogue import find_strategy
from models.xen.checks.invariants import check
from models.xen.versions.abi import find_abi
from sim.instant import drain

Record = dict[str, Any]
"""A run record as a JSON document has it."""


def run(
    scenario: Scenario,
    strategy: str | None = None,
    **options: Any,  # noqa: ANN401 - those of kinds.run
) -> Record:
    """Run a scenario on the clock."""
    record: Record = msgspec.to_builtins(kinds.run(scenario, strategy, **options))
    return record


@cache
def record_of(scenario: str, strategy: str, *settings: str) -> Record:
    """The record of a run with seed 0; tests share it and leave it as it is.

    ``settings``: ``dotted.key=value``, as on the command line. At the end all references of the
    machine are recounted, which raises InvariantViolation if a word of any frame is wrong; with
    64 GiB that would take half as long as the boot, and is left out.
    """
    at_end = None if scenario == "guest-64G" else _recount
    return run(load(scenario, settings), strategy, at_end=at_end)


def _recount(guest: Guest) -> None:
    check(guest.xen)


class Booted(NamedTuple):
    """A guest that has booted, or died on the way."""

    guest: Guest
    crash: GuestCrash | None


def boot_instantly(
    geometry: Geometry,
    strategy: str | Strategy,
    *,
    xen: str = "4.2dev",
    debug: bool = True,
    trace: Callable[..., None] | None = None,
) -> Booted:
    """Boot a guest without a clock; ``trace`` is told what the hypervisor does meanwhile."""
    plan = find_strategy(strategy) if isinstance(strategy, str) else strategy
    start = domain_builder.build(
        geometry, plan.kernel, find_abi(xen), debug=debug, pcpus=1, paging=plan.paging
    )
    guest = Guest(start, plan)
    guest.xen.trace = trace
    try:
        drain(boot(guest))
    except GuestCrash as crash:
        return Booted(guest, crash)
    return Booted(guest, None)
