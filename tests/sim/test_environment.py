"""The clock: whole nanoseconds, and no silence where somebody still waits."""

import subprocess
import sys
from collections.abc import Generator

import pytest
from simpy.events import Event

from sim.environment import Deadlock, Environment


@pytest.mark.parametrize("delay", [1.0, 0.5, float("inf")])
def test_fraction_of_a_nanosecond_is_refused(delay: float) -> None:
    """A float would make the clock inexact after hours."""
    with pytest.raises(TypeError, match=f"whole number of nanoseconds, not {delay!r}"):
        Environment().timeout(delay)


def test_clock_shows_whole_nanoseconds() -> None:
    """It is an int however long the run: 2**60 ns and one more are told apart."""
    env = Environment()
    seen = []

    def process() -> Generator[Event, None, None]:
        yield env.timeout(1 << 60)
        yield env.timeout(1)
        seen.append(env.now_ns)

    env.process(process())
    env.run()

    assert [(1 << 60) + 1] == seen


def test_timeout_carries_its_value() -> None:
    """As in SimPy."""
    env = Environment()
    seen = []

    def process() -> Generator[Event, str, None]:
        seen.append((yield env.timeout(5, "rung")))

    env.process(process())
    env.run()

    assert ["rung"] == seen


def test_posted_events_are_counted() -> None:
    """A process is an event at its start and one at its end; each timeout is one."""
    env = Environment()

    def process() -> Generator[Event, None, None]:
        for _ in range(10):
            yield env.timeout(1)

    env.process(process())
    env.run()

    assert 12 == env.events_posted


def test_counting_events_does_not_count_as_one() -> None:
    """The figure may be asked for at any time."""
    env = Environment()
    env.timeout(1)

    assert [1, 1, 1] == [env.events_posted for _ in range(3)]


def test_counting_events_raises_no_warning() -> None:
    """Also on a Python that deprecates what the count could be read with."""
    program = "from sim.environment import Environment; Environment().events_posted"

    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


def test_run_ends_quietly_when_nobody_waits() -> None:
    """No event left is the normal end."""
    env = Environment()
    env.report_waits(list)
    env.timeout(7)

    env.run_out()

    assert 7 == env.now_ns


def test_run_that_ends_while_somebody_waits_is_a_deadlock() -> None:
    """Every reporter is asked, and every answer is in the report."""
    env = Environment()
    env.report_waits(lambda: ["a waits for b"])
    env.report_waits(lambda: ["b waits for c", "c waits for a"])

    with pytest.raises(Deadlock) as caught:
        env.run_out()

    assert ["a waits for b", "b waits for c", "c waits for a"] == caught.value.waits
    assert str(caught.value) == "a waits for b; b waits for c; c waits for a"


def test_run_up_to_a_time_is_no_deadlock() -> None:
    """Whoever waits then may be served later."""
    env = Environment()
    env.report_waits(lambda: ["a waits for b"])

    env.run(until=10)

    assert 10 == env.now_ns
