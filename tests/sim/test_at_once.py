"""Work carried out at once where nobody could see its middle, and step by step elsewhere."""

import pytest

from sim.effects import (
    DECLINED,
    PREEMPT_POINT,
    STEP,
    Activity,
    Note,
    Spend,
    Stretch,
    Trap,
    Unbroken,
    WaitUntil,
    Whole,
    in_a_stretch,
)
from sim.explore.execution import InTurn, execute
from sim.instant import drain
from sim.oracle import ScriptedOracle
from sim.recording import Recording
from sim.stepwise import after_every_step
from tests.sim.timed_run import busy, simulate


class Counter:
    """A word in the hypervisor that a trap counts up: in one go, or in a step and a check."""

    def __init__(self) -> None:
        self.value = 0
        self.stepped = 0

    def trap(self, *, at_once: bool = True) -> Trap:
        """The trap of 1 ns, and 5 more for the work."""
        return Trap(self._count(), "ns", self._at_once if at_once else None)

    def _count(self) -> Activity:
        yield PREEMPT_POINT
        yield STEP
        self.value += 1
        self.stepped += 1
        yield busy(5)
        return "counted"

    def _at_once(self) -> Whole | None:
        if self.value == 2:
            return None  # the third is left to the activity
        self.value += 1
        return Whole("counted", (Spend("ns", 5),))


def counting(counter: Counter, times: int, *, at_once: bool = True) -> Activity:
    """Trap so many times; the answers."""
    answers = []
    for _ in range(times):
        answers.append((yield counter.trap(at_once=at_once)))
        yield Note("back")
    return answers


@pytest.mark.parametrize("at_once", [False, True])
def test_trap_takes_the_same_time_however_it_is_made(*, at_once: bool) -> None:
    """Its way in and its work are the hypervisor's; the guest goes on in its own mode."""
    counter = Counter()

    simulation, notes = simulate(counting(counter, 4, at_once=at_once))

    vcpu = simulation.vcpus[0]
    assert ["counted"] * 4 == vcpu.result
    assert (4, 1 if at_once else 4) == (counter.value, counter.stepped)
    assert (24, 0) == (vcpu.accounts.hypervisor, vcpu.accounts.guest)
    assert [6, 12, 18, 24] == notes.times("back")


def test_among_others_every_trap_is_stepped_through() -> None:
    """Another vCPU could come in between."""
    counter = Counter()

    simulate(counting(counter, 3), busy_for(100))

    assert 3 == counter.stepped


def busy_for(ns: int) -> Activity:
    """Work that ends with a step."""
    yield busy(ns)
    yield STEP


class Moment(Counter):
    """A word that a trap counts up: all that it takes is spent before its two steps."""

    lead = (Spend("ns", 5), Spend("ns", 2))

    def trap(self, *, at_once: bool = True) -> Trap:
        """The trap of 1 ns, and 7 more for the work."""
        return Trap(self._count(), "ns", self._at_once if at_once else None, self.lead)

    def _count(self) -> Activity:
        yield from self.lead
        yield STEP
        self.value += 1
        yield STEP
        self.stepped += 1
        return "counted"

    def _at_once(self) -> Whole | None:
        if self.value == 2:
            return None  # the third is left to the activity
        self.value += 1
        return Whole("counted", self.lead)


def test_among_others_a_trap_is_made_in_its_moment() -> None:
    """Others could come in between only at that very time, and it is this vCPU's turn."""
    counter = Moment()

    simulation, notes = simulate(counting(counter, 4), busy_for(10), busy_for(1000))

    assert (4, 1) == (counter.value, counter.stepped)
    assert ["counted"] * 4 == simulation.vcpus[0].result
    assert [8, 16, 24, 32] == notes.times("back")
    assert (32, 0) == (
        simulation.vcpus[0].accounts.hypervisor,
        simulation.vcpus[0].accounts.guest,
    )


def test_others_see_a_trap_at_its_moment_not_before() -> None:
    """A vCPU that is due during the way in finds the word as it was."""
    counter = Moment()
    seen = []

    def looking() -> Activity:
        for _ in range(3):
            yield busy(3)
            yield STEP
            seen.append(counter.value)

    simulate(counting(counter, 1), looking())

    assert [0, 0, 1] == seen


def test_trap_is_stepped_through_while_somebody_waits() -> None:
    """What each of its steps does may be what the other waits for."""
    counter = Moment()

    def waiting() -> Activity:
        yield WaitUntil("one", lambda: counter.value == 1)
        yield Note("one")

    _, notes = simulate(counting(counter, 2), waiting())

    assert (2, 1) == (counter.value, counter.stepped)
    assert [8] == notes.times("one")


def test_trap_costs_one_event_among_others() -> None:
    """The way in is no place to wait at."""
    simulation, _ = simulate(counting(Moment(), 2), counting(Moment(), 2), busy_for(1))

    assert 2 * 2 + 3 + 1 >= simulation.env.events_posted


def test_lead_is_what_the_activity_begins_with() -> None:
    """Else it would be spent twice, or never."""
    wrong = Trap(busy_for(5), "ns", lambda: None, (Spend("ns", 5),))

    def guest() -> Activity:
        yield wrong

    with pytest.raises(TypeError, match="does not begin with ns"):
        simulate(guest(), busy_for(100))


def test_event_for_every_step_has_its_steps() -> None:
    """With --every-event nothing is made at once."""
    counter = Counter()

    simulate(counting(counter, 3), every_event=True)

    assert 3 == counter.stepped


def test_trap_that_may_be_preempted_is_stepped_through() -> None:
    """Else the question would not be asked."""
    counter = Counter()

    drain(counting(counter, 2), ScriptedOracle([False, True]))

    assert 2 == counter.stepped


def test_without_a_clock_a_trap_is_made_at_once() -> None:
    """Nobody else is there."""
    counter = Counter()

    assert ["counted"] * 2 == drain(counting(counter, 2))
    assert (2, 0) == (counter.value, counter.stepped)


def test_who_looks_at_steps_sees_them() -> None:
    """A checker, and a search through all orders."""
    counter = Counter()
    looks = 0

    def look() -> None:
        nonlocal looks
        looks += 1

    drain(after_every_step(counting(counter, 2), look))
    execute([counting(counter, 1)], InTurn())

    assert 3 == counter.stepped
    assert 2 <= looks


def stretching(done: list[str], *, declines: bool = False) -> Activity:
    """Three items that each take a nanosecond, or all of them at once."""

    def each(item: int) -> Activity:
        yield STEP
        done.append(f"item {item}")
        yield busy(1)

    def all_at_once() -> object:
        if declines:
            return DECLINED
        done.append("all")
        return "all"

    answer = yield from in_a_stretch(range(3), each, all_at_once)
    if answer == "all":
        yield busy(3)


ONE_BY_ONE = ["item 0", "item 1", "item 2"]


def test_stretch_is_made_at_once_by_a_vcpu_that_is_alone() -> None:
    """It takes the time of its items."""
    done: list[str] = []

    simulation, _ = simulate(stretching(done))

    assert (["all"], 3) == (done, simulation.time_ns)


@pytest.mark.parametrize(("others", "every_event"), [(1, False), (0, True)])
def test_stretch_is_made_item_by_item_where_others_could_look(
    others: int, *, every_event: bool
) -> None:
    """Among other vCPUs, and with an event for every step."""
    done: list[str] = []

    simulate(stretching(done), *(busy_for(9) for _ in range(others)), every_event=every_event)

    assert ONE_BY_ONE == done


def test_stretch_that_declines_is_made_item_by_item() -> None:
    """Also by a vCPU that is alone."""
    done: list[str] = []

    drain(stretching(done, declines=True))

    assert ONE_BY_ONE == done


def test_search_goes_through_the_items_of_a_stretch() -> None:
    """Each has a step of its own."""
    done: list[str] = []

    execution = execute([stretching(done)], InTurn())

    assert (ONE_BY_ONE, 3) == (done, len(execution.schedule))


def test_stretch_is_bulk_work() -> None:
    """So that who knows only bulk work takes it apart, too."""
    assert isinstance(next(stretching([])), Stretch)


# -- work that could be broken off ----------------------------------------------------------------


def unbroken(done: list[str], *, declines: bool = False) -> Activity:
    """Two things to do, with a preempt point between them, or both at once; and 3 ns."""

    def all_at_once() -> object:
        if declines:
            return DECLINED
        done.append("both")
        return "both"

    if (yield Unbroken(all_at_once)) is DECLINED:
        for what in ("one", "other"):
            yield STEP
            done.append(what)
            if (yield PREEMPT_POINT):
                return
    yield busy(3)


def test_unbroken_work_is_done_at_once_by_who_is_alone() -> None:
    """With a clock or without."""
    done: list[str] = []

    simulation, _ = simulate(unbroken(done))
    drain(unbroken(done))

    assert (["both"] * 2, 3) == (done, simulation.time_ns)


@pytest.mark.parametrize(("others", "every_event"), [(1, False), (0, True)])
def test_unbroken_work_is_done_in_steps_where_others_could_look(
    others: int, *, every_event: bool
) -> None:
    """Among other vCPUs, and with an event for every step."""
    done: list[str] = []

    simulate(unbroken(done), *(busy_for(9) for _ in range(others)), every_event=every_event)

    assert ["one", "other"] == done


def test_unbroken_work_is_done_in_steps_where_it_could_be_preempted() -> None:
    """Here it is, in the middle."""
    done: list[str] = []

    drain(unbroken(done), ScriptedOracle([True]))

    assert ["one"] == done


def test_unbroken_work_is_done_in_steps_for_who_looks_at_steps() -> None:
    """A checker, a recording and a search; and where the work itself declines."""
    done: list[str] = []
    recording = Recording()

    drain(after_every_step(unbroken(done), lambda: None))
    drain(recording.activity(unbroken(done)))
    execute([unbroken(done)], InTurn())
    drain(unbroken(done, declines=True))

    assert ["one", "other"] * 4 == done
