"""What is shown and written of a race's failure, found by orders of steps or on the clock."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from rich.console import Group, RenderableType
from rich.text import Text

from experiments.counterexamples import folder
from experiments.counterexamples.counterexample import Counterexample, counterexample
from experiments.counterexamples.observed import from_lines
from experiments.counterexamples.repro import FILE
from experiments.counterexamples.rows import rows_of
from experiments.counterexamples.terminal import diagram, steps_table
from experiments.races import RaceProgram, Settings, TimedRace
from models.races.race import Race
from sim.recording import Recording, read_lines
from sim.tape import parse_tape

_RUNS = 200
"""Executions that shrinking may take: two or three seconds."""
_LAST = 24
"""Steps of a run on the clock that are shown."""


class Shown(Protocol):
    """A failure that can be shown and written."""

    @property
    def summary(self) -> dict[str, Any]:
        """What the record says of it."""

    def diagram(self) -> RenderableType:
        """For a terminal."""

    def write(self, out: Path) -> list[Path]:
        """Into a folder: the files. Raises InputError if that fails."""


def of_race(race: Race, settings: Settings, record: Mapping[str, Any]) -> Shown:
    """The failure of a run record."""
    found = record["race"]
    if found["searched"] == "orders":
        explored = RaceProgram(race, settings, records=True)
        return _Order(counterexample(explored, parse_tape(found["tape"]), at_most=_RUNS))
    replication = found["replication"]
    return _Clock(TimedRace(race, settings, seed=record["seed"], replication=replication))


class _Order:
    """Found by orders of steps: shrunk."""

    def __init__(self, found: Counterexample) -> None:
        self._found = found

    @property
    def summary(self) -> dict[str, Any]:
        found = self._found
        return {
            "shrunk": {
                **found.size._asdict(),
                "before": found.found_size._asdict(),
                "schedule": list(found.tape.schedule),
                "tape": str(found.tape),
            },
            "cause": found.cause,
        }

    def diagram(self) -> RenderableType:
        return diagram(self._found)

    def write(self, out: Path) -> list[Path]:
        return folder.write_counterexample(out, self._found)


class _Clock:
    """Found on the clock: recorded, as it is."""

    def __init__(self, run: TimedRace) -> None:
        self._run = run
        self._recording = Recording()
        self._finding = run.run(self._recording)
        self._lines = self._recording.lines()

    @property
    def summary(self) -> dict[str, Any]:
        return {"steps": self._recording.steps}

    def diagram(self) -> RenderableType:
        steps = from_lines(read_lines(self._lines))
        shown = steps[-_LAST:]
        said = f"the last {len(shown)} of {len(steps):,} steps on the clock:"
        return Group(Text(said, style="bold"), steps_table(rows_of(shown)))

    def write(self, out: Path) -> list[Path]:
        return folder.write_recording(
            out / FILE, self._run.document, self._recording, self._finding
        )
