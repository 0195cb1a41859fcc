"""What is shown and written of a race's failure, found by orders of steps or on the clock."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from rich.console import Group, RenderableType
from rich.text import Text

from experiments.counterexamples import folder, repro
from experiments.counterexamples.counterexample import Counterexample, counterexample
from experiments.counterexamples.observed import from_lines
from experiments.counterexamples.rows import rows_of
from experiments.counterexamples.svg import picture
from experiments.counterexamples.terminal import diagram, steps_table
from experiments.counterexamples.trace import timed_trace
from experiments.subjects.race_orders import ExploredRace, TimedRace
from experiments.subjects.race_settings import Settings
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
        explored = ExploredRace(race, settings)
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
        self._steps = from_lines(read_lines(self._recording.lines()))
        self._rows = rows_of(self._steps[-_LAST:])
        number = len(self._steps)
        self._said = f"the last {min(_LAST, number)} of {number:,} steps on the clock"

    @property
    def summary(self) -> dict[str, Any]:
        return {"steps": self._recording.steps}

    def diagram(self) -> RenderableType:
        return Group(Text(f"{self._said}:", style="bold"), steps_table(self._rows))

    def write(self, out: Path) -> list[Path]:
        assert self._finding is not None
        kept = repro.of_recording(self._run.document, self._recording, self._finding)
        title = self._run.title
        drawn = timed_trace(title, self._steps, self._finding)
        return folder.write_all(
            out, kept, picture(title, self._said, self._rows, self._finding), drawn
        )
