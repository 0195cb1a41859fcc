"""Random programs on two busy vCPUs: one record, however far each runs ahead of the clock."""

from collections.abc import Mapping
from typing import Any

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from models.profiles.catalogue import load_profile
from models.profiles.prices import prices, unit_prices
from models.xen.state import Xen
from sim.effects import Activity, Spend
from sim.environment import Deadlock
from sim.streams import Streams
from sim.timed import Price, Simulation
from tests.properties.programs import Program, activity, build, contents, programs

TRIALS = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
_PROFILE = load_profile("modern-2023")
# With all costs alike the vCPUs meet on the same nanosecond all the time.
_PRICES = st.sampled_from([prices(_PROFILE), unit_prices(_PROFILE)])


def _record(
    program: Program, table: Mapping[str, Price], seed: int, *, every_event: bool
) -> dict[str, Any]:
    """All that a run leaves behind; each vCPU makes its operations in turn."""
    xen = build(program)
    simulation = Simulation(table, Streams(seed), every_event=every_event)
    ends: list[tuple[int, object]] = []

    def guest(number: int) -> Activity:
        for op in program.ops:
            if op.vcpu == number:
                yield Spend("hypercall_null")
                answer = yield from activity(xen, op)
                ends.append((number, answer))

    for vcpu in xen.vcpus:
        simulation.start(guest(vcpu.number))
    failure = None
    try:
        simulation.run()
    except Deadlock as deadlock:
        failure = str(deadlock)
    except Exception as error:  # noqa: BLE001 - what a hostile program may come to, in time
        failure = f"{error!r} at {simulation.time_ns}"
    if not every_event and failure is None:
        event(f"{simulation.env.events_posted // max(len(program.ops), 1)} events each")
    return {
        "failure": failure,
        "ends": sorted(ends, key=lambda end: end[0]),
        "machine": contents(xen) if failure is None else None,
        "counters": +xen.counters if failure is None else None,
        "lines": [line.text for line in xen.console.lines],
        "stamps": _stamps(xen) if failure is None else None,
        "accounts": [vcpu.accounts for vcpu in simulation.vcpus] if failure is None else None,
    }


def _stamps(xen: Xen) -> object:
    clock = xen.clock
    stamps = xen.frames.stamp_array[xen.frames.all_indices()].tolist()
    return stamps, clock.now, list(clock.flushed_at), [dict(each) for each in clock.loaded]


@TRIALS
@given(programs(), _PRICES, st.integers(0, 5))
def test_every_event_leaves_the_same_machine(
    program: Program, table: Mapping[str, Price], seed: int
) -> None:
    """Answers, words, tables, lines, counters and costs, of calls made at once among others too."""
    ahead = _record(program, table, seed, every_event=False)

    assert ahead == _record(program, table, seed, every_event=True)
