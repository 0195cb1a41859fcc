"""Windows on the clock: looking when something has changed is looking at each step."""

from collections.abc import Sequence

import pytest

from experiments.subjects.on_clock import Asked
from experiments.subjects.race_settings import race_named, settings_of
from experiments.subjects.trial import Timed
from models.races.catalogue.index import RACES
from models.races.stages.stage import fresh
from models.races.watching import Attempts
from sim.effects import Activity
from sim.stepwise import after_every_step

_WINDOWS = [race.id for race in RACES.values() if race.window is not None]
_SEEN = [race.id for race in RACES.values() if race.window_seen is not None]


class LooksEachTime(Timed):
    """The definition: a generator around each activity looks after each of its steps."""

    def _watched(self, activities: Sequence[Activity]) -> Sequence[Activity]:
        activities = super()._watched(activities)
        windows = self.windows
        assert windows is not None
        self.simulation.look, windows.unchanged = None, bool
        return [after_every_step(activity, windows.look) for activity in activities]


def told(kind: type[Timed], race: str, *written: str) -> list[object]:
    """All that a run tells of its windows, and what came of it."""
    chosen = race_named(race)
    found: list[object] = []
    for replication in range(2):
        settings = settings_of(chosen, ("rounds=4", *written))
        run = kind(chosen, settings, Asked(seed=3, replication=replication), measure=True)
        windows = run.windows
        assert windows is not None
        found += [run.time_ns, run.verdict, windows.lengths_ns, run.stage.near_misses]
        if isinstance(windows, Attempts):
            found += [windows.met, windows.began_before]
        found += [vcpu.local_ns for vcpu in run.simulation.vcpus]
    return found


@pytest.mark.parametrize("fix", ["on", "off"])
@pytest.mark.parametrize("race", _WINDOWS)
def test_windows_are_seen_at_the_same_moments(race: str, fix: str) -> None:
    """To the nanosecond, with all times, outcomes and attempts."""
    assert told(LooksEachTime, race, f"fix={fix}") == told(Timed, race, f"fix={fix}")


@pytest.mark.parametrize("race", _SEEN)
def test_windows_are_seen_at_the_same_moments_on_shared_pcpus(race: str) -> None:
    """Also where vCPUs leave in the middle of a call."""
    settings = ("fix=off", "pcpus=1", "load=1")

    assert told(LooksEachTime, race, *settings) == told(Timed, race, *settings)


@pytest.mark.parametrize("race", _SEEN)
def test_most_looks_find_nothing_changed(race: str) -> None:
    """Else keeping what was read would only cost."""
    looks = walks = 0

    class Counts(Timed):
        def _watched(self, activities: Sequence[Activity]) -> Sequence[Activity]:
            nonlocal looks, walks
            activities = super()._watched(activities)
            assert self.windows is not None
            look, is_open = self.simulation.look, self.windows.is_open
            assert look is not None

            def counted() -> object:
                nonlocal looks
                looks += 1
                return look()

            def walked() -> bool:
                nonlocal walks
                walks += 1
                return is_open()

            self.simulation.look, self.windows.is_open = counted, walked  # type: ignore[assignment]
            return activities

    chosen = race_named(race)
    Counts(chosen, settings_of(chosen, ("fix=off",)), Asked(), measure=True)

    assert 0 < walks < looks / 4


@pytest.mark.parametrize("race", _SEEN)
def test_one_look_is_the_same_through_what_it_keeps(race: str) -> None:
    """On a stage that nothing has happened on, the window is shut, and stays so untouched."""
    stage = fresh(RACES[race], fix=False, vcpus=2, xen="4.17")
    window = RACES[race].window
    assert window is not None

    assert window(stage) is False
