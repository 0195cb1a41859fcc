"""Races as programs: explored, or run on the clock and recorded."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Annotated, Any

import msgspec

from experiments.errors import InputError
from experiments.subjects.on_clock import Asked
from experiments.subjects.race_settings import Settings, checked, race_named
from experiments.subjects.trial import Timed
from models.races.in_orders import RaceProgram
from models.races.race import Race
from models.races.verdict import OK, Verdict
from models.xen.checks import naming
from sim.explore.execution import Execution
from sim.explore.program import Finding
from sim.footprint import Access
from sim.recording import Follower


class ExploredRace:
    """A race's actors, once round, as a program whose orders can be tried."""

    def __init__(self, race: Race, settings: Settings) -> None:
        self.race = race
        self.settings = settings
        vcpus = race.vcpus if settings.vcpus is None else settings.vcpus
        self._made = RaceProgram(
            race,
            fix=settings.fix == "on",
            vcpus=vcpus,
            xen=settings.xen,
            batch=settings.batch,
        )
        self.program = self._made.program
        self.stage = self._made.stage

    def verdict(self, execution: Execution) -> Verdict:
        """What came of the last execution."""
        return self._made.verdict(execution)

    @property
    def title(self) -> str:
        """What is explored, for people."""
        return f"{self.race.id}: {self.race.title}; the fix is {self.settings.fix}"

    @property
    def document(self) -> dict[str, Any]:
        """What a file says of it, so that it can be made again."""
        return _document(self.race, self.settings)

    def told(self, access: Access) -> str:
        """What a step of the last execution did to a word."""
        return naming.told(self.stage.kernel.xen, access)

    def operation(self, routines: Sequence[str]) -> str:
        """What the hypervisor does, by its routines, the outermost first."""
        return naming.operation(routines)

    def matters(self, word: Hashable) -> bool:
        """Is it an entry or a type, of which people want to hear?"""
        return naming.says_what_a_page_is(word)

    def window_open(self) -> bool | None:
        """Is the race's window open at this moment? None: it has none."""
        return None if self.race.window is None else self.race.window(self.stage)


def race_program(document: Mapping[str, Any]) -> ExploredRace:
    """The program that a file speaks of.

    Raises:
        InputError: it has no such race or setting.
    """
    return ExploredRace(*_race_of(document))


def _race_of(document: Mapping[str, Any]) -> tuple[Race, Settings]:
    race = race_named(str(document.get("race")))
    try:
        settings = msgspec.convert(document.get("settings", {}), Settings)
    except msgspec.ValidationError as error:
        raise InputError(f"{race.id}: {error}") from error
    return race, checked(race, settings)


class TimedRace:
    """One execution of a race on the clock, to be recorded and replayed."""

    def __init__(
        self,
        race: Race,
        settings: Settings,
        *,
        seed: int,
        replication: int,
        every_event: bool = False,
    ) -> None:
        self.race = race
        self.settings = settings
        self.seed = seed
        self.replication = replication
        self.every_event = every_event

    @property
    def title(self) -> str:
        """What is run, for people."""
        return (
            f"{self.race.id}: {self.race.title}; the fix is {self.settings.fix}; seed {self.seed}, "
            f"replication {self.replication}"
        )

    @property
    def document(self) -> dict[str, Any]:
        """What a file says of it, so that it can be made again."""
        draws = {
            "seed": self.seed,
            "replication": self.replication,
            "every_event": self.every_event,
        }
        return _document(self.race, self.settings) | draws

    def run(self, follower: Follower) -> Finding | None:
        """Run it with a follower; what went wrong."""
        asked = Asked(
            seed=self.seed,
            replication=self.replication,
            every_event=self.every_event,
            follower=follower,
        )
        run = Timed(self.race, self.settings, asked)
        return _finding(run.verdict)


def timed_race(document: Mapping[str, Any]) -> TimedRace:
    """The execution on the clock that a file speaks of.

    Raises:
        InputError: it has no such race or setting.
    """
    try:
        seed, replication = (
            msgspec.convert(document.get(key, 0), Annotated[int, msgspec.Meta(ge=0)])
            for key in ("seed", "replication")
        )
        every_event = msgspec.convert(document.get("every_event", False), bool)
    except msgspec.ValidationError as error:
        raise InputError(f"program: {error}") from error
    return TimedRace(
        *_race_of(document), seed=seed, replication=replication, every_event=every_event
    )


def _document(race: Race, settings: Settings) -> dict[str, Any]:
    return {"kind": "race", "race": race.id, "settings": msgspec.to_builtins(settings)}


def _finding(verdict: Verdict) -> Finding | None:
    return None if verdict is OK else Finding(f"{verdict.detector}", verdict.explanation)
